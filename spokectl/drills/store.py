"""Runs on disk: a folder each, with the run as JSON and the ledgers of its trials."""

import difflib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from spokectl.drills.evidence import Check, Layer, Mark, Moment, Run, Stretch, Tick, Trial, Verdict
from spokectl.drills.junit import junit
from spokectl.drills.objective import Measure
from spokectl.drills.page import page
from spokectl.errors import Failed, NotFound
from spokectl.result import plain
from spokectl.settings import StackState, command_line, write_privately

RUN_FILE, JUNIT_FILE, PAGE_FILE = "run.json", "junit.xml", "report.html"
_RUN_ID = re.compile(r"\d{8}-\d{6}(-\d+)?\Z", re.ASCII)


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
        self._folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        stem = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_s))
        for number in range(1, 1000):
            run_id = stem if number == 1 else f"{stem}-{number}"
            folder = self.folder_of(run_id)
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return Begun(run_id, folder, now_s)
        raise AssertionError("a thousand runs within a second")

    def keep(self, run: Run) -> None:
        """Writes what the run has found so far; its ledgers are there already."""
        write_privately(self.folder_of(run.id) / RUN_FILE, json.dumps(plain(run), indent=1) + "\n")

    def draw(self, run: Run) -> None:
        """Writes the same for CI and for people, when the run has come to its end."""
        folder = self.folder_of(run.id)
        write_privately(folder / JUNIT_FILE, junit(run))
        write_privately(folder / PAGE_FILE, page(run))

    def runs(self) -> list[Run]:
        """Every run that came to an end, oldest first; one that was killed, or cannot be read, is left out."""
        return [found for each in self._ids() if isinstance(found := self._read(each), Run)]

    def unreadable(self) -> dict[str, str]:
        """Those that `runs` leaves out, by their id, with the reason."""
        return {each: found for each in self._ids() if isinstance(found := self._read(each), str)}

    def run(self, run_id: str | None) -> Run:
        """The run, or the last one. NotFound (`no_run`) names the nearest; Failed (`run_damaged`): it cannot be read."""
        ids = self._ids()
        if run_id in ids:
            found = self._read(str(run_id))
            if isinstance(found, Run):
                return found
            raise Failed(
                "run_damaged",
                f"the run {run_id} cannot be shown: {found}",
                details={"folder": str(self.folder_of(str(run_id)))},
                actions=[command_line(self._stack, "drill show --list")],
            )
        runs = self.runs()
        if run_id is None and runs:
            return runs[-1]
        said = "no drill has been run" if not runs else f"there is no run {run_id!r}"
        near = difflib.get_close_matches(run_id or "", [each.id for each in runs], n=1)
        raise NotFound(
            "no_run",
            f"{said}: did you mean {near[0]}?" if near else said,
            details={"runs": [each.id for each in runs]},
            actions=[command_line(self._stack, "drill show --list" if runs else "drill run --seed-tests")],
        )

    def _ids(self) -> list[str]:
        """The folders of runs, oldest first; nothing where no drill has ever been run."""
        if not self._folder.is_dir():
            return []
        found = [each.name for each in self._folder.iterdir() if _RUN_ID.match(each.name) and each.is_dir()]
        # The eleventh run of a second comes after the second one.
        return sorted(found, key=lambda each: (each[:15], int(each[16:] or 0)))

    def _read(self, run_id: str) -> Run | str:
        """The run, or why it cannot be read."""
        path = self.folder_of(run_id) / RUN_FILE
        try:
            return run_of(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return "it has not come to its end"
        except OSError as error:
            return f"{path}: {error.strerror}"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return f"{path} is no run that this version can read"

    def folder_of(self, run_id: str) -> Path:
        return self._folder / run_id


def run_of(kept: Mapping[str, Any]) -> Run:
    """A run from its JSON, without what other versions have added. KeyError, TypeError or ValueError for what is none."""
    return Run(**{**_known(Run, kept), "trials": [_trial(each) for each in kept["trials"]]})


def _trial(kept: Mapping[str, Any]) -> Trial:
    return Trial(
        **{
            **_known(Trial, kept),
            "verdict": Verdict(kept["verdict"]),
            "measures": [Measure(**_known(Measure, each)) for each in kept.get("measures", ())],
            "checks": [Check(**_known(Check, each)) for each in kept.get("checks", ())],
            "layers": [_layer(each) for each in kept.get("layers", ())],
            "moments": [_moment(each) for each in kept.get("moments", ())],
            "ticks": [Tick(**_known(Tick, each)) for each in kept.get("ticks", ())],
        }
    )


def _layer(kept: Mapping[str, Any]) -> Layer:
    gaps = {name: Stretch(**kept[name]) if kept[name] else None for name in ("write_gap", "read_gap")}
    return Layer(**{**_known(Layer, kept), **gaps})


def _moment(kept: Mapping[str, Any]) -> Moment:
    """A mark of another version is a note: its sentence says what it was."""
    mark = Mark(kept["mark"]) if kept["mark"] in list(Mark) else Mark.NOTE
    return Moment(**{**_known(Moment, kept), "mark": mark})


def _known(kind: type[Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in kept.items() if name in names}
