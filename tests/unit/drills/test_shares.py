"""How requests are spread, by who answered and by the load balancer's own log and status page."""

from collections import Counter

from spokectl.drills.shares import counted, logged, most_of_one, told, uneven

SPOKES = ["spoke-1", "spoke-2", "spoke-3"]
LINE = (
    '2026-11-28T10:00:00.123+00:00 127.0.0.1 "GET /modules HTTP/1.1" 200 3 bytes 0.002 s '
    'id={id} instance="{instances}" upstream="127.0.0.1:8081" upstream_status="200" upstream_s="0.002" "curl"'
)


def test_requests_that_all_instances_share_are_spread() -> None:
    assert uneven(["spoke-1"] * 30 + ["spoke-2"] * 20 + ["spoke-3"] * 10, SPOKES) == []


def test_an_instance_that_is_never_asked_is_named() -> None:
    assert uneven(["spoke-1", "spoke-2"] * 10, SPOKES) == ["spoke-3 was not used"]


def test_an_instance_with_nearly_all_of_it_is_named_with_its_share() -> None:
    [said] = uneven(["spoke-1"] * 8 + ["spoke-2", "spoke-3"], SPOKES)
    assert said == "spoke-1 had 80%, more than 67%"


def test_whoever_answers_and_is_no_instance_of_the_stack_is_named() -> None:
    assert uneven([*SPOKES, "spoke-9", ""], SPOKES) == ["spoke-9 answered", "nobody by name answered"]


def test_without_any_answer_nobody_was_used() -> None:
    assert uneven([], ["spoke-1"]) == ["spoke-1 was not used"]


def test_the_only_instance_may_have_everything() -> None:
    assert most_of_one(1) == 1.0
    assert uneven(["spoke-1"] * 5, ["spoke-1"]) == []


def test_counts_are_told_by_name() -> None:
    assert told(Counter({"spoke-2": 1, "spoke-1": 2, "": 3})) == "? 3, spoke-1 2, spoke-2 1"


def test_the_log_is_counted_by_whoever_answered_in_the_end_and_only_for_the_requests_meant() -> None:
    lines = [
        LINE.format(id="drill-1-0", instances="spoke-1"),
        LINE.format(id="drill-1-1", instances="spoke-1, spoke-2"),
        LINE.format(id="other-1", instances="spoke-3"),
        "2026/11/28 10:00:00 [error] connect() failed",
    ]
    assert logged(lines, "drill-1-") == {"spoke-1": 1, "spoke-2": 1}


def test_the_status_page_gives_requests_and_failed_tries_of_each() -> None:
    page = "Active connections: 1\n 5 5 5\nupstream spoke-1 requests 7 failed 2\nupstream spoke-2 requests 4 failed 0\n"
    assert counted(page) == {"spoke-1": (7, 2), "spoke-2": (4, 0)}
