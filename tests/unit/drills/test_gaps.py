"""What is reckoned from the times of requests: gaps, the first good answer again, who had to wait longest."""

import pytest

from spokectl.drills.gaps import Gap, failed, first_after_s, longest_gap
from spokectl.drills.history import Outcome, Read, Request, Write


def acknowledged(*ended_s: float, client: str = "") -> list[Request]:
    return [
        Write(f"key-{client}-{time_s}", time_s - 0.05, time_s, Outcome.ACKNOWLEDGED, client=client) for time_s in ended_s
    ]


OTHERS: list[Request] = [
    Write("a", 10.3, 10.4, Outcome.REFUSED),
    Write("b", 10.4, 10.5, Outcome.IN_DOUBT),
    Read("c", 10.5, 10.6, found=None),
]


def test_the_gap_is_the_longest_time_without_a_good_answer_to_any_client() -> None:
    assert longest_gap(acknowledged(10.0, 10.2, 11.0, 11.1), since_s=10.0) == Gap(10.2, 11.0)


def test_the_order_in_which_clients_tell_of_their_requests_does_not_matter() -> None:
    assert longest_gap(acknowledged(11.0, 10.0, 11.1, 10.2), since_s=10.0) == Gap(10.2, 11.0)


def test_the_gap_begins_no_earlier_than_what_is_measured() -> None:
    assert longest_gap(acknowledged(1.0, 10.5, 10.6), since_s=10.1).seconds == pytest.approx(0.4)


def test_requests_that_did_not_go_well_end_no_gap() -> None:
    assert longest_gap([*acknowledged(10.0, 11.0), *OTHERS], since_s=10.0).seconds == pytest.approx(1.0)
    assert first_after_s([*acknowledged(11.0), *OTHERS], since_s=10.0) == pytest.approx(1.0)
    assert [each.key for each in failed([*OTHERS[::-1], *acknowledged(10.0)])] == ["a", "b", "c"]


def test_a_read_that_finds_nothing_is_an_answer() -> None:
    assert first_after_s([Read("a", 10.1, 10.2, found=False)], since_s=10.0) == pytest.approx(0.2)


def test_when_nothing_goes_through_any_more_the_gap_has_no_end() -> None:
    assert longest_gap(acknowledged(9.0), since_s=10.0) == Gap(10.0, float("inf"))
    assert first_after_s(acknowledged(9.0), since_s=10.0) == float("inf")


def test_the_first_is_the_earliest_one_after_what_is_measured_began() -> None:
    assert first_after_s(acknowledged(12.0, 9.0, 10.7), since_s=10.0) == pytest.approx(0.7)
