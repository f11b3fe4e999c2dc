"""What is promised, as it is typed, and whether it was kept."""

import math

import pytest

from spokectl.drills.objective import FIGURES, Objective, parse_bounds
from spokectl.errors import UsageError


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("rto=1s,lost=0,failed=0", {"rto": 1.0, "lost": 0.0, "failed": 0.0}),
        ("rto=500ms", {"rto": 0.5}),
        (" rto = 1m30s , stale = 3 ", {"rto": 90.0, "stale": 3.0}),
        ("redis_gap=2", {"redis_gap": 2.0}),
    ],
)
def test_bounds_are_read_as_they_are_typed(text: str, bounds: dict[str, float]) -> None:
    assert parse_bounds(text) == bounds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "''"),
        ("rto", "'rto'"),
        ("rto=", "rto is a time"),
        ("rto=fast", "rto is a time"),
        ("rto=-1s", "rto is a time"),
        ("speed=1", "'speed=1'"),
        ("lost=0.5", "lost is a count"),
        ("lost=-1", "lost is a count"),
        ("lost=²", "lost is a count"),
        ("lost=0,lost=1", "twice"),
        ("rto=1s,,lost=0", "''"),
    ],
)
def test_what_is_no_bound_is_refused_with_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_bounds(text)
    assert refused.value.code == "bad_objective"
    assert said in refused.value.message


def test_a_bound_is_kept_up_to_itself() -> None:
    [measure] = Objective({"rto": 2.0}).judge({"rto": 2.0})
    assert measure.held
    [measure] = Objective({"rto": 2.0}).judge({"rto": 2.01})
    assert not measure.held


def test_a_time_without_an_end_keeps_no_bound_and_is_no_number() -> None:
    [measure] = Objective({"rto": 2.0}).judge({"rto": math.inf})
    assert measure.found is None
    assert not measure.held
    [measure] = Objective().judge({"rto": math.inf})
    assert measure.held


@pytest.mark.parametrize("figure", ["lost", "duplicated", "wrong", "unwanted", "foreign", "stale"])
def test_what_no_fault_excuses_is_promised_by_every_drill(figure: str) -> None:
    [measure] = Objective().judge({figure: 1.0})
    assert not measure.held
    [measure] = Objective({figure: 1.0}).judge({figure: 1.0})
    assert measure.held


def test_other_bounds_take_the_place_of_the_drills_own_and_leave_the_rest() -> None:
    objective = Objective({"rto": 2.0, "failed": 0.0}).with_bounds({"rto": 1.0})
    assert objective.bounds == {"rto": 1.0, "failed": 0.0}
    assert objective.text == "rto=1s,failed=0,lost=0"


def test_an_objective_reads_back_as_it_is_told() -> None:
    objective = Objective({"rto": 2.5, "failed": 0.0, "lost": 3.0})
    assert parse_bounds(objective.text) == objective.bounds


def test_figures_are_measured_in_one_order() -> None:
    found = dict.fromkeys(reversed(FIGURES), 0.0)
    assert [each.name for each in Objective().judge(found)] == list(FIGURES)


def test_what_no_fault_excuses_has_to_be_measured_and_anything_else_may_not_be_there() -> None:
    measures = {each.name: each for each in Objective({"redis_gap": 1.0}).judge({"failed": 0.0}, {"lost"})}
    assert not measures["lost"].measured
    assert not measures["lost"].held
    assert (measures["redis_gap"].measured, measures["redis_gap"].held) == (False, True)
    assert measures["failed"].held
