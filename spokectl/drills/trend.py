"""What all runs together say of each drill, and what has changed between two of them. Pure.

A change is named only where it is none of the usual scatter: at least three values to go by, the new one beyond all of them,
and by half as much again. Three values are few: by chance alone every fourth run is beyond the three before it, but hardly
ever by that much.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spokectl.drills.evidence import Run, Trial, Verdict, worst
from spokectl.drills.objective import FIGURES, finite
from spokectl.drills.summary import by_drill, figures_of, headline_figure, spread, value

if TYPE_CHECKING:
    from spokectl.drills.drill import Drill, Need

FEWEST = 3
_FACTOR = 1.5
_LEAST_S = 0.2  # about what the clients' pace and the machine's moods add up to
_LEAST_COUNT = 1.0
_RUNS_BEFORE = 10


@dataclass(frozen=True)
class Past:
    """One drill in one runtime, over all runs. `median` and `worst` are of `figure`, over all trials that measured it.

    None: a time without an end, and where nothing was measured (`trials` is 0). `trend` says what is different in the last
    run; empty where nothing is.
    """

    drill: str
    runtime: str
    runs: int
    trials: int
    held: int
    missed: int
    broken: int
    last_run: str
    last_verdict: Verdict
    figure: str
    last: float | None
    median: float | None
    worst: float | None
    trend: str


@dataclass(frozen=True)
class Listed:
    """A drill of the catalog with its past, the runtime of its last run first."""

    drill: str
    group: str
    breaks: str
    holds: str
    objective: str
    runtimes: list[str]
    needs: list[str]
    seed_test: int | None
    in_ci: bool
    past: list[Past]


@dataclass(frozen=True)
class Compared:
    """One figure of one drill in two runs: median and worst of each, and how many times the median has become.

    `ratio` is None where there is none: of nothing, or of a time without an end.
    """

    figure: str
    median_a: float | None
    worst_a: float | None
    median_b: float | None
    worst_b: float | None
    ratio: float | None
    said: str


@dataclass(frozen=True)
class DrillCompared:
    drill: str
    trials_a: int
    trials_b: int
    verdict_a: Verdict
    verdict_b: Verdict
    figures: list[Compared]


@dataclass(frozen=True)
class Comparison:
    """Two runs. `said`: what must be known to read it, above all why there is nothing to compare."""

    run_a: str
    run_b: str
    drills: list[DrillCompared]
    said: list[str]


def listed(drills: Iterable["Drill"], runs: Sequence[Run]) -> list[Listed]:
    """Every drill as `drill list` shows it. `runs`: oldest first."""
    past = pasts(runs)
    return [
        Listed(
            each.name,
            each.group,
            each.breaks,
            each.holds,
            each.objective.text,
            _runtimes(each.needs),
            sorted(map(str, each.needs)),
            each.seed_test,
            each.in_ci,
            sorted((one for one in past if one.drill == each.name), key=lambda one: one.last_run, reverse=True),
        )
        for each in drills
    ]


def _runtimes(needs: "frozenset[Need]") -> list[str]:
    # With the drills come all clients of a stack, which `drill show` and `compare` have no need of.
    from spokectl.drills.drill import Need

    cannot = {"docker": {Need.NATIVE}, "local": {Need.NETWORK, Need.ENGINE}}
    return [runtime for runtime, lacks in cannot.items() if not needs & lacks]


def pasts(runs: Sequence[Run]) -> list[Past]:
    """Each drill's past in each runtime, by name. `runs`: oldest first. What was skipped only is no past."""
    found: dict[tuple[str, str], list[tuple[str, list[Trial]]]] = {}
    for run in runs:
        for drill, trials in by_drill(run).items():
            done = [each for each in trials if each.verdict is not Verdict.SKIPPED]
            if done:
                found.setdefault((drill, run.runtime), []).append((run.id, done))
    return [_past(drill, runtime, done) for (drill, runtime), done in sorted(found.items())]


def _past(drill: str, runtime: str, done: Sequence[tuple[str, list[Trial]]]) -> Past:
    trials = [trial for _, own in done for trial in own]
    last_run, last = done[-1]
    figure = headline_figure(last)
    measured = figures_of(trials, figure)
    all_of, now = spread(measured), spread(figures_of(last, figure))
    count = {each: sum(trial.verdict is each for trial in trials) for each in Verdict}
    return Past(
        drill,
        runtime,
        len(done),
        len(measured),
        count[Verdict.HELD],
        count[Verdict.MISSED],
        count[Verdict.BROKEN],
        last_run,
        worst(each.verdict for each in last),
        figure,
        now.median if now else None,
        all_of.median if all_of else None,
        all_of.worst if all_of else None,
        trend([own for _, own in done], figure),
    )


def trend(runs: Sequence[Sequence[Trial]], figure: str) -> str:
    """What is different in the last run of a drill, by the runs before; empty where nothing is. `runs`: oldest first."""
    if len(runs) < 2:
        return ""
    *before, last = runs
    said = []
    verdicts = [worst(each.verdict for each in own) for own in before]
    now = worst(each.verdict for each in last)
    if now is not Verdict.HELD and set(verdicts) == {Verdict.HELD}:
        said.append(f"{now}, held in all {len(before)} before" if len(before) > 1 else f"{now}, held the time before")
    elif now is Verdict.HELD and verdicts[-1] is not Verdict.HELD:
        said.append(f"held, {verdicts[-1]} the time before")
    medians = [statistics.median(found) for own in before if (found := figures_of(own, figure))][-_RUNS_BEFORE:]
    measured = figures_of(last, figure)
    if measured and len(medians) >= FEWEST and (word := changed(medians, statistics.median(measured), figure)):
        usual, came = (value(figure, each) for each in (statistics.median(medians), statistics.median(measured)))
        said.append(f"{figure} {word} than in the {len(medians)} runs before: {usual} → {came}")
    return "; ".join(said)


def changed(before: Sequence[float], now: float, figure: str) -> str:
    """`slower`, `faster`, `more` or `less`; empty for what is within, or not far beyond, what it was `before`."""
    seconds = FIGURES[figure].seconds if figure in FIGURES else False
    least = _LEAST_S if seconds else _LEAST_COUNT
    usual = statistics.median(before)
    if now > max(before) and now >= usual * _FACTOR and now - usual >= least:
        return "slower" if seconds else "more"
    if now < min(before) and now * _FACTOR <= usual and usual - now >= least:
        return "faster" if seconds else "less"
    return ""


def compare(run_a: Run, run_b: Run) -> Comparison:
    """What both have measured, a drill at a time."""
    in_a, in_b = _done(run_a), _done(run_b)
    both = [_compared(name, in_a[name], in_b[name]) for name in in_a if name in in_b]
    said = []
    if not both:
        said.append(
            f"Nothing can be compared: no drill was carried out in both. {run_a.id}: {', '.join(in_a) or 'none'}; "
            f"{run_b.id}: {', '.join(in_b) or 'none'}."
        )
    else:
        for run, own, other in ((run_a, in_a, in_b), (run_b, in_b, in_a)):
            if alone := [name for name in own if name not in other]:
                said.append(f"Only in {run.id}: {', '.join(alone)}.")
        if run_a.runtime != run_b.runtime:
            said.append(f"{run_a.id} is of the {run_a.runtime} runtime, {run_b.id} of the {run_b.runtime} one.")
        if any(min(each.trials_a, each.trials_b) < FEWEST for each in both):
            said.append(f"Fewer than {FEWEST} trials on a side tell no change from scatter: read those ratios with care.")
    return Comparison(run_a.id, run_b.id, both, said)


def _done(run: Run) -> dict[str, list[Trial]]:
    found = {
        name: [each for each in trials if each.verdict is not Verdict.SKIPPED] for name, trials in by_drill(run).items()
    }
    return {name: trials for name, trials in found.items() if trials}


def _compared(name: str, in_a: Sequence[Trial], in_b: Sequence[Trial]) -> DrillCompared:
    figures = []
    for figure in FIGURES:
        a, b = figures_of(in_a, figure), figures_of(in_b, figure)
        if a and b and (any(a) or any(b)):
            figures.append(_figure(figure, a, b))
    verdict_a, verdict_b = (worst(each.verdict for each in own) for own in (in_a, in_b))
    return DrillCompared(name, len(in_a), len(in_b), verdict_a, verdict_b, figures)


def _figure(figure: str, a: Sequence[float], b: Sequence[float]) -> Compared:
    median_a, median_b = statistics.median(a), statistics.median(b)
    ratio = median_b / median_a if median_a and math.isfinite(median_a) and math.isfinite(median_b) else None
    said = changed(a, median_b, figure) if min(len(a), len(b)) >= FEWEST else ""
    return Compared(figure, finite(median_a), finite(max(a)), finite(median_b), finite(max(b)), ratio, said)
