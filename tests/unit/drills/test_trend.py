"""What many runs say together: the usual scatter is no news, a change is named, and unlike things are not compared."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spokectl.drills.catalog import all_drills
from spokectl.drills.evidence import Run, Verdict
from spokectl.drills.trend import changed, compare, listed, pasts
from tests.unit.drills.made_up import broken, run, skipped, trial


def history(*rtos: float, runtime: str = "local") -> list[Run]:
    return [run(trial(rto=rto), run_id=f"2026092{number}-120000", runtime=runtime) for number, rto in enumerate(rtos)]


def test_without_any_run_every_drill_is_listed_all_the_same() -> None:
    rows = listed(all_drills().values(), [])
    assert [each.drill for each in rows] == list(all_drills())
    assert all(each.breaks and each.holds and "lost=" in each.objective and not each.past for each in rows)


def test_median_and_worst_are_over_every_trial_of_every_run() -> None:
    (past,) = pasts([run(trial(rto=1.0), trial(rto=2.0, number=2)), run(trial(rto=6.0), run_id="20260924-120000")])
    assert (past.runs, past.trials, past.median, past.worst, past.last) == (2, 3, 2.0, 6.0, 6.0)
    assert (past.held, past.last_run, past.last_verdict) == (3, "20260924-120000", Verdict.HELD)


def test_a_drill_is_told_by_the_time_that_it_bounds_else_by_rto() -> None:
    redis = trial("redis-kill", rto=0.3, redis_gap=3.4, bounds={"redis_gap": 5.0, "failed": 0.0})
    spoke = trial("spoke-kill", rto=0.4, bounds={"failed": 0.0})
    assert [(each.figure, each.median) for each in pasts([run(redis, spoke)])] == [("redis_gap", 3.4), ("rto", 0.4)]


def test_runtimes_have_a_past_each() -> None:
    found = pasts([*history(1.0, runtime="docker"), *history(2.0)])
    assert [(each.runtime, each.median) for each in found] == [("docker", 1.0), ("local", 2.0)]


def test_a_run_much_slower_than_all_before_it_is_named() -> None:
    (past,) = pasts(history(1.2, 1.1, 1.4, 2.9))
    assert past.trend == "rto slower than in the 3 runs before: 1.20 s → 2.90 s"
    (past,) = pasts(history(2.9, 2.8, 3.0, 1.1))
    assert past.trend == "rto faster than in the 3 runs before: 2.90 s → 1.10 s"


@pytest.mark.parametrize(
    "rtos",
    [
        (1.2, 2.9),  # one run before tells nothing
        (1.2, 1.1, 2.9),
        (1.2, 3.0, 1.1, 2.9),  # it was as slow before
        (1.2, 1.1, 1.3, 1.7),  # slower than all, but not by half
        (0.1, 0.1, 0.1, 0.25),  # within what clients can tell
    ],
)
def test_the_usual_scatter_is_no_trend(rtos: tuple[float, ...]) -> None:
    (past,) = pasts(history(*rtos))
    assert past.trend == ""


def test_a_trial_without_an_end_is_the_worst_and_slower() -> None:
    (past,) = pasts(history(1.2, 1.1, 1.3, float("inf")))
    assert (past.worst, past.last) == (None, None)
    assert past.trend == "missed, held in all 3 before; rto slower than in the 3 runs before: 1.20 s → without an end"


def test_a_changed_verdict_is_named() -> None:
    (past,) = pasts([*history(1.0), run(trial(rto=1.0, lost=1), run_id="20260925-120000")])
    assert past.trend == "missed, held the time before"
    (past,) = pasts([run(trial(rto=9.0)), *history(1.0)])
    assert past.trend == "held, missed the time before"


def test_what_was_skipped_is_no_past_and_what_broke_has_no_figures() -> None:
    assert pasts([run(skipped())]) == []
    (past,) = pasts([run(broken())])
    assert (past.trials, past.median, past.last_verdict) == (0, None, Verdict.BROKEN)


@given(st.lists(st.floats(0, 100), min_size=3, max_size=10), st.data())
def test_what_has_been_seen_before_is_never_a_change(before: list[float], data: st.DataObject) -> None:
    assert changed(before, data.draw(st.floats(min(before), max(before))), "rto") == ""


def test_two_runs_are_compared_by_drill_and_figure() -> None:
    a = run(*(trial(number=each, rto=rto) for each, rto in enumerate((1.0, 1.1, 1.2))), run_id="A")
    b = run(*(trial(number=each, rto=rto) for each, rto in enumerate((2.0, 2.2, 9.0))), run_id="B")
    found = compare(a, b)
    (drill,) = found.drills
    assert (drill.trials_a, drill.trials_b, drill.verdict_a, drill.verdict_b) == (3, 3, Verdict.HELD, Verdict.MISSED)
    (rto,) = drill.figures
    assert (rto.figure, rto.median_a, rto.median_b, rto.worst_a, rto.worst_b) == ("rto", 1.1, 2.2, 1.2, 9.0)
    assert rto.ratio == pytest.approx(2.0)
    assert rto.said == "slower"
    assert found.said == []


def test_a_single_trial_has_a_ratio_and_no_verdict_on_it() -> None:
    found = compare(run(trial(rto=1.0)), run(trial(rto=4.0)))
    (rto,) = found.drills[0].figures
    assert (rto.ratio, rto.said) == (4.0, "")
    assert found.said == ["Fewer than 3 trials on a side tell no change from scatter: read those ratios with care."]


def test_there_is_no_ratio_of_nothing_or_of_what_has_no_end() -> None:
    found = compare(run(trial(rto=float("inf"), lost=0)), run(trial(rto=1.0, lost=2)))
    assert [(each.figure, each.ratio) for each in found.drills[0].figures] == [("rto", None), ("lost", None)]


def test_runs_that_have_no_drill_in_common_are_told_apart_in_a_sentence() -> None:
    found = compare(run(trial(), run_id="A"), run(trial("redis-kill"), skipped("postgres-kill"), run_id="B"))
    assert found.drills == []
    assert found.said == ["Nothing can be compared: no drill was carried out in both. A: postgres-kill; B: redis-kill."]


def test_what_differs_between_the_runs_is_said() -> None:
    a = run(trial(), trial("redis-kill"), run_id="A", runtime="docker")
    said = compare(a, replace(run(trial(), run_id="B"))).said
    assert said[:2] == ["Only in A: redis-kill.", "A is of the docker runtime, B of the local one."]
