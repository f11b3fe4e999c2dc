"""What drills have left behind, for people: their list with its history, one run, two runs side by side."""

import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby

from spokectl.drills.drawing import LINES, binned
from spokectl.drills.evidence import TICK_S, Mark, Run, Tick, Trial
from spokectl.drills.objective import Measure
from spokectl.drills.summary import (
    SIGNS,
    by_drill,
    facts,
    figures_of,
    headline,
    loudest,
    promised,
    shown,
    signed,
    spread,
    timeline,
    title,
    value,
    verdict_counts,
    zero_s,
)
from spokectl.drills.trend import Compared, Comparison, Listed, Past
from spokectl.output.streams import bold, columns_of, print_table
from spokectl.printable import printable

_BARS = " ▁▂▃▄▅▆▇█"
_NARROWEST_DRAWING = 40
_WITHOUT_TERMINAL = 100  # columns of a drawing that goes to a file or a pipe
_LETTERS = {
    Mark.FAULT: "F",
    Mark.COMMAND: "C",
    Mark.DETECTED: "D",
    Mark.PROMOTED: "P",
    Mark.FIRST_GOOD_WRITE: "W",
    Mark.REJOINED: "R",
    Mark.HEALED: "H",
}
_IDS_SHOWN = 5
_COLUMNS = ["OBJECTIVE", "RUNTIME", "LAST", "MEDIAN", "WORST", "TREND"]


def print_list(drills: Sequence[Listed]) -> None:
    """All drills by group, with what became of them so far: on a terminal some lines each, elsewhere a table's line."""
    width = columns_of(sys.stdout)
    for number, (group, own) in enumerate(groupby(drills, key=lambda each: each.group)):
        if number:
            _say()
        _say(strong=group)
        if width is None:
            print_table(["DRILL", "BREAKS", "MUST HOLD", *_COLUMNS], [_row(each) for each in own])
            continue
        for each in own:
            for line in entry(each, width):
                _say(line)


def _row(each: Listed) -> list[str]:
    runtimes = "both" if len(each.runtimes) > 1 else f"{each.runtimes[0]} only"
    past = _past(each.past[0] if each.past else None, several=len(each.past) > 1)
    return [each.drill, each.breaks, each.holds, each.objective, runtimes, *past]


def entry(each: Listed, width: int) -> list[str]:
    """A drill as it is read: its name, and below it each thing that is known, folded to `width` columns."""
    name, breaks, holds, *values = _row(each)
    parts = [("BREAKS", breaks), ("MUST HOLD", holds), *zip(_COLUMNS, values, strict=True)]
    lines = [f"  {name}"]
    for head, text in parts:
        if text:
            indent = f"    {head.lower():<11}"
            lines += textwrap.wrap(
                text, width, initial_indent=indent, subsequent_indent=" " * len(indent), break_on_hyphens=False
            )
    return lines


def _past(past: Past | None, *, several: bool) -> list[str]:
    if past is None:
        return [""] * 4
    last = f"{SIGNS[past.last_verdict]} {past.last_verdict}" + (f" ({past.runtime})" if several else "")
    if not past.trials:
        return [last, "", "", past.trend]
    return [last, f"{past.figure} {value(past.figure, past.median)}", value(past.figure, past.worst), past.trend]


def print_runs(runs: Sequence[Run], unreadable: dict[str, str]) -> None:
    """Every run there is, oldest first."""
    rows = [[each.id, _when(each), each.runtime, verdict_counts(each.trials), " ".join(each.words)] for each in runs]
    rows += [[run_id, "", "", "", f"({why})"] for run_id, why in unreadable.items()]
    print_table(["RUN", "BEGAN", "RUNTIME", "VERDICT", "DRILLS"], sorted(rows))


def print_shown(run: Run) -> None:
    """The verdict, then every trial with its timeline; of several trials of a drill also their median and worst."""
    _say(f": {verdict_counts(run.trials)}", sign=SIGNS[loudest(run)], strong=headline(run))
    for fact in facts(run):
        _say(f"  {fact}")
    _say(f"  run {run.id}, {_when(run)}, {run.ended_s - run.began_s:.0f} s, {run.runtime} runtime, stack {run.stack}")
    for drill, trials in by_drill(run).items():
        for trial in trials:
            _say()
            _print_trial(trial, title(trial, len(trials)))
        if len(trials) > 1:
            _say()
            _print_spread(drill, trials)


def _print_spread(drill: str, trials: Sequence[Trial]) -> None:
    names = dict.fromkeys(each.name for trial in trials for each in trial.measures)
    rows = []
    for name in names:
        found = spread(figures_of(trials, name))
        if found is not None and found.worst != 0:
            rows.append([name, found.count, value(name, found.median), value(name, found.worst)])
    print_table([f"ALL OF {drill}", "TRIALS", "MEDIAN", "WORST"], rows)


def _print_trial(trial: Trial, name: str) -> None:
    _say(f": {trial.verdict}" + (f": {trial.why}" if trial.why else ""), sign=SIGNS[trial.verdict], strong=name)
    for label, text in (("breaks", trial.breaks), ("must hold", trial.holds)):
        if text:
            _say(f"  {label}: {text}")
    for each in trial.missed:
        _say(f"  missed: {each}")
    if trial.moments:
        _say()
        told = timeline(trial)
        rows = [[_LETTERS.get(each.moment.mark, ""), signed(each.at_s), each.moment.mark, each.sentence] for each in told]
        print_table(["", "SECONDS", "WHAT", "WHICH"], rows)
    width = columns_of(sys.stdout) or _WITHOUT_TERMINAL
    if trial.ticks and width >= _NARROWEST_DRAWING:
        _say()
        for line in drawn(trial, width):
            _say(line)
    if trial.measures:
        _say()
        figures = [
            [each.name, shown(each), promised(each), _kept(each)]
            for each in trial.measures
            if each.bound is not None or each.found != 0
        ]
        print_table(["FIGURE", "FOUND", "PROMISED", ""], figures)
    for figure, ids in trial.ids.items():
        more = len(ids) - _IDS_SHOWN
        _say(f"  {figure}: {'; '.join(ids[:_IDS_SHOWN])}" + (f" … and {more} more" if more > 0 else ""))


def _kept(measure: Measure) -> str:
    return "" if measure.bound is None else "✓ held" if measure.held else "✗ missed"


def drawn(trial: Trial, width: int) -> list[str]:
    """Requests over time in bars no wider than `width`: good writes, good reads, failed, and the moments below them."""
    bars, size = binned(trial.ticks, width - 10)
    rows = [("writes", [each.writes for each in bars]), ("reads", [each.reads for each in bars])]
    rows.append(("failed", [each.failed for each in bars]))
    lines = [f"{name:>8}  {_bar(counts)}".rstrip() for name, counts in rows]
    return [*lines, f"{'':10}{_letters(trial, bars, size)}", f"{'':10}{_scale(trial, bars, size)}"]


def _bar(counts: Sequence[int]) -> str:
    most = max(counts, default=0)
    return "".join(_BARS[0 if not count else max(1, round(count / most * 8))] for count in counts) if most else "none"


def _letters(trial: Trial, bars: Sequence[Tick], size: int) -> str:
    """A letter below the bar in which something happened, `*` where that was more than one thing."""
    row = [" "] * len(bars)
    for each in timeline(trial):
        if each.moment.mark in LINES:
            place = _place(each.moment.at_s, bars, size)
            row[place] = _LETTERS[each.moment.mark] if row[place] == " " else "*"
    return "".join(row).rstrip()


def _scale(trial: Trial, bars: Sequence[Tick], size: int) -> str:
    zero = zero_s(trial)
    begin, end = signed(bars[0].at_s - zero), signed(bars[-1].at_s + size * TICK_S - zero)
    place = _place(zero, bars, size)
    row = f"{begin:<{len(bars)}}"
    if place > len(begin) and place + 3 + len(end) < len(bars):
        row = row[:place] + "0" + row[place + 1 :]
    return (row[: max(len(begin) + 1, len(bars) - len(end))] + end).rstrip()


def _place(at_s: float, bars: Sequence[Tick], size: int) -> int:
    return min(len(bars) - 1, max(0, int((at_s - bars[0].at_s) / (size * TICK_S))))


def print_comparison(found: Comparison) -> None:
    """A table for each drill that both runs have carried out; then what must be known to read them."""
    for each in found.drills:
        verdicts = str(each.verdict_a) if each.verdict_a is each.verdict_b else f"{each.verdict_a} → {each.verdict_b}"
        _say(f": {verdicts} ({each.trials_a} and {each.trials_b} trials)", strong=each.drill)
        print_table(
            ["FIGURE", "MEDIAN A", "MEDIAN B", "TIMES", "WORST A", "WORST B", ""], [_compared(one) for one in each.figures]
        )
        _say()
    if found.drills:
        _say(f"A: {found.run_a}, B: {found.run_b}")
    for said in found.said:
        _say(said)


def _compared(each: Compared) -> list[str]:
    medians = [value(each.figure, median) for median in (each.median_a, each.median_b)]
    worst = [value(each.figure, one) for one in (each.worst_a, each.worst_b)]
    return [each.figure, *medians, "" if each.ratio is None else f"{each.ratio:.2f}", *worst, each.said]


def _when(run: Run) -> str:
    return datetime.fromtimestamp(run.began_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _say(text: str = "", *, sign: str = "", strong: str = "") -> None:
    """One line: a sign of our own, what stands out, and the rest, both of which may come from outside."""
    sys.stdout.write(f"{sign} " * bool(sign) + (bold(printable(strong)) if strong else "") + printable(text) + "\n")
