"""Drills for people: what happens while it does, the verdict of each, the timeline of one."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spokectl.drills.drill import Drill
from spokectl.drills.evidence import Moment, Run, Trial, Verdict
from spokectl.drills.objective import as_typed
from spokectl.drills.runner import Watcher
from spokectl.drills.workload import Snapshot
from spokectl.output.streams import print_table
from spokectl.printable import printable


@contextmanager
def watched(*, silent: bool) -> Iterator[Watcher]:
    """Shows a run while it goes on; nothing when silent."""
    yield Watcher() if silent else _Lines()


class _Lines(Watcher):
    """One line for each moment."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def begins(self, drill: Drill, number: int, snapshot: Callable[[], Snapshot]) -> None:  # noqa: ARG002 - a watcher's signature
        self._say(f"{drill.name}: {drill.breaks}")

    def moment(self, moment: Moment) -> None:
        self._say(f"  {moment.mark}: {moment.sentence}")

    def ended(self, trial: Trial) -> None:
        self._say(f"{trial.drill}: {trial.verdict}" + (f" ({trial.why})" if trial.why else ""))

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - self._began:6.1f}s  {printable(text)}\n")
        sys.stderr.flush()


def print_run(run: Run) -> None:
    """The verdicts of a run, a row a trial."""
    rows = [[each.drill, each.verdict, _figures(each), "; ".join(each.missed) or each.why] for each in run.trials]
    print_table(["DRILL", "VERDICT", "FIGURES", "WHY"], rows)


def _figures(trial: Trial) -> str:
    if trial.verdict is Verdict.SKIPPED:
        return ""
    shown = [each for each in trial.measures if each.bound is not None or each.found]
    return " ".join(
        f"{each.name}={'∞' if each.found is None else as_typed(each.name, round(each.found, 2))}" for each in shown
    )
