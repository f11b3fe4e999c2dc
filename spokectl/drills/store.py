"""Runs on disk: a folder each, with the run as JSON and the ledgers of its trials."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spokectl.drills.evidence import Check, Layer, Mark, Moment, Run, Stretch, Tick, Trial, Verdict
from spokectl.drills.objective import Measure
from spokectl.errors import NotFound
from spokectl.result import plain
from spokectl.settings import StackState, command_line, write_privately

RUN_FILE = "run.json"


@dataclass(frozen=True)
class Begun:
    """A run that has a folder and no end yet."""

    id: str
    folder: Path
    began_s: float


class Store:
    """All runs of one stack, in the stack's state folder: they outlive `down --volumes`."""

    def __init__(self, state: StackState) -> None:
        self._stack, self._folder = state.name, state.drills

    def begin(self) -> Begun:
        """A folder of its own for a run that begins now: its name sorts by time."""
        now_s = time.time()
        stem = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_s))
        for number in range(1, 1000):
            run_id = stem if number == 1 else f"{stem}-{number}"
            folder = self.folder_of(run_id)
            try:
                folder.mkdir(parents=True, mode=0o700)
            except FileExistsError:
                continue
            return Begun(run_id, folder, now_s)
        raise AssertionError("a thousand runs within a second")

    def keep(self, run: Run) -> None:
        """Writes what the run has found; its ledgers are there already."""
        write_privately(self.folder_of(run.id) / RUN_FILE, json.dumps(plain(run), indent=1) + "\n")

    def runs(self) -> list[Run]:
        """Every run that came to an end, oldest first; one that was killed, or cannot be read, is left out."""
        found = []
        for path in sorted(self._folder.glob(f"*/{RUN_FILE}")):
            try:
                found.append(run_of(json.loads(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return found

    def run(self, run_id: str | None) -> Run:
        """The run, or the last one. NotFound (`no_run`) names those that there are."""
        runs = self.runs()
        found = [each for each in runs if run_id in (None, each.id)]
        if not found:
            said = "no drill has been run" if not runs else f"there is no run {run_id!r}"
            raise NotFound(
                "no_run",
                said,
                details={"runs": [each.id for each in runs]},
                actions=[command_line(self._stack, "drill show --list" if runs else "drill run --seed-tests")],
            )
        return found[-1]

    def folder_of(self, run_id: str) -> Path:
        return self._folder / run_id


def run_of(kept: Mapping[str, Any]) -> Run:
    """A run from its JSON. KeyError, TypeError or ValueError for what is none."""
    return Run(**{**kept, "trials": [_trial(each) for each in kept["trials"]]})


def _trial(kept: Mapping[str, Any]) -> Trial:
    return Trial(
        **{
            **kept,
            "verdict": Verdict(kept["verdict"]),
            "measures": [Measure(**each) for each in kept["measures"]],
            "checks": [Check(**each) for each in kept["checks"]],
            "layers": [_layer(each) for each in kept["layers"]],
            "moments": [Moment(**{**each, "mark": Mark(each["mark"])}) for each in kept["moments"]],
            "ticks": [Tick(**each) for each in kept["ticks"]],
        }
    )


def _layer(kept: Mapping[str, Any]) -> Layer:
    gaps = {name: Stretch(**kept[name]) if kept[name] else None for name in ("write_gap", "read_gap")}
    return Layer(**{**kept, **gaps})
