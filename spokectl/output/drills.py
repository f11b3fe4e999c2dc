"""Drills for people while they go on: a live view on a terminal, a line a moment elsewhere; the verdicts at the end."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spokectl.drills.drill import Drill
from spokectl.drills.evidence import Mark, Moment, Run, Trial, Verdict
from spokectl.drills.figures import API
from spokectl.drills.history import Clock
from spokectl.drills.objective import Measure, as_typed
from spokectl.drills.runner import Watcher
from spokectl.drills.summary import SIGNS, shown, signed, telling
from spokectl.drills.workload import Snapshot
from spokectl.output.streams import print_table, stderr
from spokectl.output.terminal import without_echo
from spokectl.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

_MOMENTS_SHOWN = 6
_REDRAWN_EVERY_S = 0.125
_STYLES = {Verdict.HELD: "green", Verdict.MISSED: "red", Verdict.BROKEN: "yellow", Verdict.SKIPPED: "dim"}


@contextmanager
def watched(trials: int, *, silent: bool) -> Iterator[Watcher]:
    """Shows a run of so many trials while it goes on: in place on a terminal, in lines elsewhere, not at all when silent."""
    console = stderr()
    if silent:
        yield Watcher()
    elif console.is_terminal and not console.is_dumb_terminal:
        with _live(console, trials) as watcher:
            yield watcher
    else:
        yield _Lines()


class _Lines(Watcher):
    """One line for each moment."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def begins(self, drill: Drill, number: int, snapshot: Callable[[], Snapshot]) -> None:  # noqa: ARG002 - a watcher's signature
        self._say(f"{drill.name}: {drill.breaks}")

    def moment(self, moment: Moment) -> None:
        self._say(f"  {moment.mark}: {moment.sentence.removeprefix(f'{moment.mark}: ')}")

    def ended(self, trial: Trial) -> None:
        self._say(f"{trial.drill}: {trial.verdict}" + (f" ({trial.why})" if trial.why else ""))

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - self._began:6.1f}s  {printable(text)}\n")
        sys.stderr.flush()


class Scene:
    """The trial under way as the live view shows it. Told from any thread."""

    def __init__(self, trials: int, now_s: Callable[[], float]) -> None:
        self._trials, self._now_s = trials, now_s
        self._lock = threading.Lock()
        self._count = 0
        self._clear()

    def _clear(self) -> None:
        self._drill: Drill | None = None
        self._snapshot: Callable[[], Snapshot] = lambda: Snapshot(0, 0, {})
        self._number, self._began_s, self._longest_s = 1, self._now_s(), 0.0
        self._zero_s: float | None = None
        self._phase = ""
        self._moments: deque[Moment] = deque(maxlen=_MOMENTS_SHOWN)

    def begins(self, drill: Drill, number: int, snapshot: Callable[[], Snapshot]) -> None:
        with self._lock:
            self._clear()
            self._drill, self._number, self._snapshot = drill, number, snapshot

    def moment(self, moment: Moment) -> None:
        with self._lock:
            if moment.mark is Mark.PHASE:
                self._phase = moment.sentence
            elif self._zero_s is None and moment.mark in {Mark.FAULT, Mark.COMMAND}:
                self._zero_s, self._phase = moment.at_s, ""
            self._moments.append(moment)

    def ended(self) -> None:
        with self._lock:
            self._count += 1
            self._clear()

    def lines(self) -> list[str]:
        """What is shown now: which trial, what its clients see, and the last moments."""
        with self._lock:
            now_s = self._now_s()
            if self._drill is None:
                return [*map(self._told, self._moments), "the stack is looked at"]
            again = f" ({self._number})" if self._number > 1 else ""
            place = f"{min(self._count + 1, self._trials)} of {self._trials}"
            head = f"{place}  {self._drill.name}{again}  {now_s - self._began_s:.1f} s  {self._phase or self._usual_phase()}"
            return [head, f"  {self._drill.breaks}", f"  {self._clients(now_s)}", *map(self._told, self._moments)]

    def _usual_phase(self) -> str:
        return "clients begin" if self._zero_s is None else "broken"

    def _clients(self, now_s: float) -> str:
        seen = self._snapshot()
        said = f"{seen.acknowledged} writes acknowledged, {seen.failed} requests failed"
        last_s = seen.last_good_s.get(API)
        if last_s is None:
            return said
        gap_s = max(0.0, now_s - last_s)
        if self._zero_s is None:
            return said
        # The one before the fault is no gap of the fault's, unless it goes on.
        self._longest_s = max(self._longest_s, gap_s)
        return f"{said}; no write for {gap_s:.1f} s, at most {self._longest_s:.1f} s"

    def _told(self, moment: Moment) -> str:
        since = f"{signed(moment.at_s - self._zero_s):>9}" if self._zero_s is not None else f"{'':9}"
        return f"  {since}  {moment.mark}: {moment.sentence.removeprefix(f'{moment.mark}: ')}"


class _Live(Watcher):
    """The view on a terminal: the trial under way in place, those that have ended above it.

    Everything is drawn under one lock: two threads that draw at once would lose count of the lines to draw over.
    """

    def __init__(self, live: "Live", scene: Scene) -> None:
        self._live, self._scene = live, scene
        self._lock = threading.Lock()

    def begins(self, drill: Drill, number: int, snapshot: Callable[[], Snapshot]) -> None:
        self._scene.begins(drill, number, snapshot)

    def moment(self, moment: Moment) -> None:
        self._scene.moment(moment)

    def ended(self, trial: Trial) -> None:
        self._scene.ended()
        with self._lock:
            self._live.console.print(ended_line(trial), style=_STYLES[trial.verdict])
        self.draw()

    def draw(self) -> None:
        from rich.text import Text

        frame = Text("\n".join(map(printable, self._scene.lines())), no_wrap=True, overflow="ellipsis")
        with self._lock:
            self._live.update(frame, refresh=True)

    def draw_until(self, over: threading.Event) -> None:
        while not over.wait(_REDRAWN_EVERY_S):
            self.draw()


@contextmanager
def _live(console: "Console", trials: int) -> Iterator[Watcher]:
    from rich.live import Live

    over = threading.Event()
    with without_echo(), Live(console=console, auto_refresh=False, transient=True) as live:
        watcher = _Live(live, Scene(trials, Clock().now_s))
        drawing = threading.Thread(target=watcher.draw_until, args=(over,), name="drill-view", daemon=True)
        drawing.start()
        try:
            yield watcher
        finally:
            over.set()
            drawing.join()


def ended_line(trial: Trial) -> str:
    """What became of a trial, in a line."""
    figures = ", ".join(f"{each.name} {shown(each)}" for each in telling(trial))
    rest = "; ".join(each for each in (figures, *trial.missed, trial.why) if each)
    seconds = f" in {trial.ended_s - trial.began_s:.0f} s" if trial.verdict is not Verdict.SKIPPED else ""
    return printable(f"{SIGNS[trial.verdict]} {trial.drill}: {trial.verdict}{seconds}" + (f": {rest}" if rest else ""))


def print_run(run: Run) -> None:
    """The verdicts of a run, a row a trial."""
    rows = [[each.drill, each.verdict, _figures(each), "; ".join(each.missed) or each.why] for each in run.trials]
    print_table(["DRILL", "VERDICT", "FIGURES", "WHY"], rows)


def _figures(trial: Trial) -> str:
    if trial.verdict is Verdict.SKIPPED:
        return ""
    return " ".join(f"{each.name}={_found(each)}" for each in trial.measures if each.bound is not None or each.found)


def _found(measure: Measure) -> str:
    if not measure.measured:
        return "?"
    return "∞" if measure.found is None else as_typed(measure.name, round(measure.found, 2))
