"""What is reckoned from what clients wrote: gaps, the first write again, what was lost."""

import pytest

from benchmarks.ledger import Outcome, Write, first_after_s, longest_gap_s, lost


def acknowledged(*answered_s: float) -> list[Write]:
    return [Write(f"key-{time_s}", time_s, Outcome.ACKNOWLEDGED) for time_s in answered_s]


def test_the_gap_is_the_longest_time_without_an_acknowledged_write_of_any_client() -> None:
    assert longest_gap_s(acknowledged(10.0, 10.2, 11.0, 11.1), since_s=10.0) == pytest.approx(0.8)


def test_the_order_in_which_clients_tell_of_their_writes_does_not_matter() -> None:
    assert longest_gap_s(acknowledged(11.0, 10.0, 11.1, 10.2), since_s=10.0) == pytest.approx(0.8)


def test_the_gap_begins_no_earlier_than_the_operation() -> None:
    assert longest_gap_s(acknowledged(1.0, 10.5, 10.6), since_s=10.1) == pytest.approx(0.4)


def test_writes_that_were_not_acknowledged_end_no_gap() -> None:
    others = [Write("a", 10.4, Outcome.REFUSED), Write("b", 10.5, Outcome.IN_DOUBT)]
    assert longest_gap_s([*acknowledged(10.0, 11.0), *others], since_s=10.0) == pytest.approx(1.0)
    assert first_after_s([*acknowledged(11.0), *others], since_s=10.0) == pytest.approx(1.0)


def test_when_no_write_goes_through_any_more_the_gap_has_no_end() -> None:
    assert longest_gap_s(acknowledged(9.0), since_s=10.0) == float("inf")
    assert first_after_s(acknowledged(9.0), since_s=10.0) == float("inf")


def test_the_first_write_is_the_earliest_one_after_the_operation_began() -> None:
    assert first_after_s(acknowledged(12.0, 9.0, 10.7), since_s=10.0) == pytest.approx(0.7)


def test_lost_is_what_was_acknowledged_and_is_not_there() -> None:
    writes = [
        Write("kept", 1.0, Outcome.ACKNOWLEDGED),
        Write("gone", 2.0, Outcome.ACKNOWLEDGED),
        Write("refused", 3.0, Outcome.REFUSED),
        Write("in doubt", 4.0, Outcome.IN_DOUBT),
    ]
    assert lost(writes, ["kept", "another's"]) == ["gone"]
