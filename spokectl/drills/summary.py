"""What was promised and what was found, in the words that page, JUnit file and terminal have in common. Pure."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spokectl.drills.evidence import Mark, Moment, Run, Trial, Verdict
from spokectl.drills.objective import FIGURES, NEVER, Measure, finite

# A sign beside the word, for those who see no colour.
SIGNS = {Verdict.HELD: "✓", Verdict.MISSED: "✗", Verdict.SKIPPED: "–", Verdict.BROKEN: "!"}
_ORDER = (Verdict.HELD, Verdict.MISSED, Verdict.BROKEN, Verdict.SKIPPED)


@dataclass(frozen=True)
class Spread:
    """How one figure came out in several trials. None: a time without an end."""

    count: int
    median: float | None
    worst: float | None


@dataclass(frozen=True)
class Told:
    """A moment with its number in the trial, and the seconds from the time that the trial's clock starts at."""

    number: int
    at_s: float
    moment: Moment

    @property
    def sentence(self) -> str:
        """What the moment says besides its mark."""
        return self.moment.sentence.removeprefix(f"{self.moment.mark}: ")


def verdict_counts(trials: Iterable[Trial]) -> str:
    """`5 held, 1 missed`; `nothing was carried out` without any."""
    counts = Counter(trial.verdict for trial in trials)
    return ", ".join(f"{counts[each]} {each}" for each in _ORDER if counts[each]) or "nothing was carried out"


def headline(run: Run) -> str:
    """The verdict of a run in one sentence."""
    done = [each for each in run.trials if each.verdict is not Verdict.SKIPPED]
    if not done:
        return "Nothing was carried out"
    kept = sum(each.verdict is Verdict.HELD for each in done)
    if kept == len(done):
        return "What was promised was held" if kept == 1 else f"What was promised was held in all {kept} trials"
    broken = sum(each.verdict is Verdict.BROKEN for each in done)
    missed = len(done) - kept - broken
    if len(done) == 1:
        return f"What was promised {'was missed' if missed else 'could not be tried'}"
    parts = [f"was missed in {missed}"] * bool(missed) + [f"could not be tried in {broken}"] * bool(broken)
    return f"What was promised {' and '.join(parts)} of {len(done)} trials"


def loudest(run: Run) -> Verdict:
    """What a run is shown as: what was missed is told also where something else could not be tried."""
    return Verdict.MISSED if any(each.verdict is Verdict.MISSED for each in run.trials) else run.verdict


def facts(run: Run) -> list[str]:
    """What a manager asks first, a sentence each: what was lost, and how long clients waited."""
    judged = [each for each in run.trials if each.measures]
    if not judged:
        return []
    lost = int(sum(found(each, "lost") or 0 for each in judged))
    unknown = sum(not each.measured for trial in judged for each in trial.measures if each.name == "lost")
    if lost:
        said = [f"{_counted(lost, 'acknowledged write')} lost."]
    else:
        said = ["No acknowledged write was lost."] if not unknown else []
    if unknown:
        said.append(f"What was lost could not be looked at in {unknown} of {len(judged)} trials.")
    waits = [(found(each, "rto"), each) for each in judged if any(one.name == "rto" for one in each.measures)]
    if waits:
        longest, trial = max(waits, key=lambda pair: math.inf if pair[0] is None else pair[0])
        if longest is None:
            said.append(f"Once no write was acknowledged any more ({trial.drill}).")
        else:
            said.append(f"Clients waited at most {value('rto', longest)} for a write to be acknowledged ({trial.drill}).")
    failed = int(sum(found(each, "failed") or 0 for each in judged))
    said.append("No request failed." if not failed else f"{_counted(failed, 'request')} failed.")
    return said


def found(trial: Trial, name: str) -> float | None:
    """What the trial has measured; None for a time without an end, and where it has not measured that."""
    return next((each.found for each in trial.measures if each.name == name), None)


def title(trial: Trial, of: int) -> str:
    """`postgres-kill`, or `postgres-kill (2 of 5)` where there are several."""
    return trial.drill if of == 1 else f"{trial.drill} ({trial.number} of {of})"


def by_drill(run: Run) -> dict[str, list[Trial]]:
    """The trials of each drill, in the order in which they were carried out."""
    grouped: dict[str, list[Trial]] = {}
    for each in run.trials:
        grouped.setdefault(each.drill, []).append(each)
    return grouped


def value(name: str, measured: float | None) -> str:
    """A figure for people: `1.99 s`, `3`."""
    if measured is None or not math.isfinite(measured):
        return "without an end"
    return f"{measured:.2f} s" if name in FIGURES and FIGURES[name].seconds else f"{measured:g}"


def shown(measure: Measure) -> str:
    """What a measure has found, for people."""
    return value(measure.name, measure.found) if measure.measured else "not measured"


def promised(measure: Measure) -> str:
    """`at most 8 s`, `0`; empty where nothing was promised."""
    if measure.bound is None:
        return ""
    said = f"{measure.bound:g} s" if measure.name in FIGURES and FIGURES[measure.name].seconds else f"{measure.bound:g}"
    return said if measure.bound == 0 else f"at most {said}"


def telling(trial: Trial) -> list[Measure]:
    """The figures that tell most: what the drill promises of its own, what it missed, lost writes, how long they stood."""
    return [each for each in trial.measures if not each.held or each.name in {"rto", "lost"} or is_own(each)]


def is_own(measure: Measure) -> bool:
    """Whether the drill promises it of its own, beyond what no fault excuses."""
    return measure.bound is not None and (measure.name not in NEVER or measure.bound > 0)


def zero_s(trial: Trial) -> float:
    """Where the trial's clock starts: its first fault, else the first command, else its begin."""
    for mark in (Mark.FAULT, Mark.COMMAND):
        for each in trial.moments:
            if each.mark is mark:
                return each.at_s
    return trial.began_s


def timeline(trial: Trial) -> list[Told]:
    """The trial's moments in order of time."""
    zero = zero_s(trial)
    moments = sorted(trial.moments, key=lambda each: each.at_s)
    return [Told(number, each.at_s - zero, each) for number, each in enumerate(moments, 1)]


def headline_figure(trials: Iterable[Trial]) -> str:
    """The figure that a drill is told by: the first time that it bounds, else how long writes stood still."""
    for trial in trials:
        for each in trial.measures:
            if each.bound is not None and each.name in FIGURES and FIGURES[each.name].seconds:
                return each.name
    return "rto"


def figures_of(trials: Iterable[Trial], name: str) -> list[float]:
    """What each trial that measured the figure has found, a time without an end as infinite."""
    return [
        math.inf if each.found is None else each.found for trial in trials for each in trial.measures if each.name == name
    ]


def spread(measured: Sequence[float]) -> Spread | None:
    """None without any."""
    if not measured:
        return None
    return Spread(len(measured), finite(statistics.median(measured)), finite(max(measured)))


def signed(seconds: float) -> str:
    """`+1.99 s`, `−0.20 s`, as a place on a timeline."""
    return f"{'−' if seconds < -0.004 else '+'}{abs(seconds):.2f} s"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
