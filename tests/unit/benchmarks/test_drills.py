"""The table of all drills says what was promised and what was measured."""

from typing import Any

from benchmarks.drills import table


def trial(
    name: str, verdict: str, why: str = "", missed: tuple[str, ...] = (), **found: tuple[float | None, float | None]
) -> dict[str, Any]:
    measures = [{"name": figure, "found": seen, "bound": bound, "measured": True} for figure, (seen, bound) in found.items()]
    return {"drill": name, "verdict": verdict, "why": why, "missed": list(missed), "measures": measures}


def test_repeats_are_one_row_with_median_and_worst() -> None:
    trials = [trial("kill", "held", rto=(measured, 8.0), lost=(0, 0), stale=(0, 0)) for measured in (1.0, 3.0, 1.5)]
    assert list(table(trials))[2:] == ["| `kill` | held | rto 8s, lost 0 | rto 1.5s, 3s, lost 0 |"]


def test_what_was_skipped_says_why_and_what_has_no_end_says_so() -> None:
    trials = [
        trial("cut", "skipped", "it needs containers"),
        trial("kill", "missed", missed=("2 stale",), rto=(None, 8.0), stale=(2, 0)),
    ]
    assert list(table(trials))[2:] == [
        "| `cut` | skipped (it needs containers) |  |  |",
        "| `kill` | missed (2 stale) | rto 8s, stale 0 | rto without an end, stale 2 |",
    ]
