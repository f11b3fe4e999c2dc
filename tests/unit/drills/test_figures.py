"""From requests to what a drill is judged by."""

import math

from spokectl.drills.checker import Kept
from spokectl.drills.evidence import IDS_KEPT, Stretch
from spokectl.drills.figures import seen, ticks
from spokectl.drills.history import Outcome, Read, Request, Write


def write(key: str, ended_s: float, outcome: Outcome = Outcome.ACKNOWLEDGED, **more: str) -> Write:
    return Write(key, ended_s - 0.01, ended_s, outcome, **more)


def read(key: str, ended_s: float, **more: object) -> Read:
    return Read(key, ended_s - 0.01, ended_s, **{"found": True, **more})  # type: ignore[arg-type]


def kept_of(requests: list[Request], layer: str) -> list[Kept]:
    return [Kept(each.key) for each in requests if isinstance(each, Write) and each.ok and each.layer == layer]


def test_a_gap_spans_the_fault_from_the_last_good_answer_before_it() -> None:
    requests: list[Request] = [write(str(second), float(second)) for second in (1, 2, 3, 7, 8)]
    found = seen(requests, {"api": kept_of(requests, "api")}, since_s=3.5)
    assert found.figures["rto"] == 4.0
    assert found.layers[0].write_gap == Stretch(3.0, 7.0)


def test_a_longer_wait_before_the_fault_does_not_count() -> None:
    requests: list[Request] = [write(str(second), float(second)) for second in (1, 20, 21, 22)]
    assert seen(requests, {"api": kept_of(requests, "api")}, since_s=20.5).figures["rto"] == 1.0


def test_clients_that_were_given_up_make_the_gap_endless() -> None:
    requests: list[Request] = [write("a", 1.0), write("b", 5.0, Outcome.IN_DOUBT)]
    found = seen(requests, {"api": [Kept("a")]}, since_s=2.0, stuck_s=6.0)
    assert math.isinf(found.figures["rto"])
    assert found.layers[0].write_gap == Stretch(1.0, None)


def test_clients_that_were_given_up_for_another_way_change_no_gap_that_has_an_end() -> None:
    requests: list[Request] = [write("a", 1.0), write("b", 8.0), write("c", 9.0)]
    found = seen(requests, {"api": kept_of(requests, "api")}, since_s=2.0, stuck_s=9.5)
    assert found.figures["rto"] == 7.0


def test_without_a_single_good_answer_the_gap_is_endless() -> None:
    requests: list[Request] = [write("b", 5.0, Outcome.IN_DOUBT)]
    found = seen(requests, {"api": []}, since_s=2.0)
    assert math.isinf(found.figures["rto"])
    assert found.layers[0].write_gap == Stretch(2.0, None)


def test_every_layer_has_its_own_gaps_and_only_the_registry_fails_requests() -> None:
    requests: list[Request] = [
        *[write(f"a{n}", float(n)) for n in range(1, 9)],
        *[write(f"s{n}", float(n), layer="postgres") for n in (1, 2, 8)],
        *[write(f"r{n}", float(n), layer="redis") for n in (1, 5, 8)],
        write("s-bad", 4.0, Outcome.REFUSED, layer="postgres"),
        write("a-bad", 4.0, Outcome.IN_DOUBT, why="reset"),
    ]
    kept = {layer: kept_of(requests, layer) for layer in ("api", "postgres", "redis")}
    figures = seen(requests, kept, since_s=2.5).figures
    assert (figures["rto"], figures["postgres_gap"], figures["redis_gap"]) == (1.0, 6.0, 4.0)
    assert (figures["failed"], figures["in_doubt"]) == (1.0, 1.0)


def test_a_write_that_redis_has_lost_is_counted_apart() -> None:
    requests: list[Request] = [write("a", 1.0), write("s", 1.0, layer="postgres"), write("r", 1.0, layer="redis")]
    found = seen(requests, {"api": [Kept("a")], "postgres": [], "redis": []}, since_s=0.5)
    assert (found.figures["lost"], found.figures["redis_lost"]) == (1.0, 1.0)
    assert found.ids == {"lost": ["s"], "redis_lost": ["r"]}


def test_a_lying_history_is_convicted_figure_by_figure() -> None:
    requests: list[Request] = [
        write("kept", 1.0),
        write("lost", 1.0),
        write("twice", 1.0),
        write("wrong", 1.0),
        write("refused", 1.0, Outcome.REFUSED),
        read("kept", 3.0, found=False),
    ]
    kept = [Kept("kept"), Kept("twice"), Kept("twice"), Kept("wrong", whole=False), Kept("refused"), Kept("nobody's")]
    figures = seen(requests, {"api": kept}, since_s=0.5).figures
    named = {name: figures[name] for name in ("lost", "duplicated", "wrong", "unwanted", "foreign", "stale")}
    assert named == dict.fromkeys(named, 1.0)


def test_only_so_many_ids_are_kept_but_all_are_counted() -> None:
    requests: list[Request] = [write(f"k{n}", 1.0 + n / 1000) for n in range(IDS_KEPT + 5)]
    found = seen(requests, {"api": []}, since_s=0.5)
    assert found.figures["lost"] == IDS_KEPT + 5
    assert len(found.ids["lost"]) == IDS_KEPT


def test_ticks_also_show_when_nothing_was_answered() -> None:
    requests: list[Request] = [write("a", 10.01), read("a", 10.05), write("b", 10.31, Outcome.IN_DOUBT)]
    assert [(each.at_s, each.writes, each.reads, each.failed) for each in ticks(requests)] == [
        (10.0, 1, 1, 0),
        (10.1, 0, 0, 0),
        (10.2, 0, 0, 0),
        (10.3, 0, 0, 1),
    ]
    assert ticks([]) == []


def test_one_client_can_wait_longer_than_all_together_and_from_its_own_last_answer_on() -> None:
    patient: list[Request] = [write(f"p{n}", ended_s, client="patient") for n, ended_s in enumerate((1.0, 6.0))]
    lucky: list[Request] = [write(f"l{n}", ended_s, client="lucky") for n, ended_s in enumerate((2.0, 3.0, 4.0, 5.0, 6.0))]
    both = [*patient, *lucky]
    figures = seen(both, {"api": kept_of(both, "api")}, since_s=2.5).figures
    assert (figures["rto"], figures["client_gap"]) == (1.0, 5.0)
    assert math.isinf(seen(both, {"api": []}, since_s=2.5, stuck_s=60.0).figures["client_gap"])


def test_p99_leaves_out_one_slow_answer_of_a_hundred_and_what_was_before_or_failed() -> None:
    quick: list[Request] = [write(f"q{n}", 10.0 + n / 100) for n in range(98)]
    slow: list[Request] = [Write("s1", 10.0, 10.5, Outcome.ACKNOWLEDGED), Write("s2", 10.0, 13.0, Outcome.ACKNOWLEDGED)]
    apart: list[Request] = [Write("early", 1.0, 9.0, Outcome.ACKNOWLEDGED), Write("bad", 10.0, 40.0, Outcome.REFUSED)]
    everyone = [*quick, *slow, *apart]
    assert seen(everyone, {"api": kept_of(everyone, "api")}, since_s=9.5).figures["p99"] == 0.5
    assert "p99" not in seen(apart, {"api": []}, since_s=9.5).figures


def test_where_nobody_could_look_what_was_lost_is_not_measured() -> None:
    requests: list[Request] = [write("a", 1.0), write("b", 2.0, Outcome.IN_DOUBT, why="reset")]
    figures = seen(requests, None, since_s=0.5).figures
    assert not {"lost", "duplicated", "wrong", "unwanted", "foreign"} & figures.keys()
    assert (figures["failed"], figures["in_doubt"]) == (1.0, 1.0)


def test_without_a_read_there_is_no_time_without_one() -> None:
    assert "read_gap" not in seen([write("a", 1.0)], {"api": [Kept("a")]}, since_s=0.5).figures
