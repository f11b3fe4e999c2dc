"""Carries drills out: load, fault, heal, look, verdict. What it leaves behind is evidence."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from spokectl import __version__
from spokectl.drills.drill import Drill, lacking
from spokectl.drills.evidence import Mark, Moment, Run, Trial, Verdict
from spokectl.drills.faults import FaultJournal
from spokectl.drills.figures import Seen, seen
from spokectl.drills.healing import drill_lock, heal_all
from spokectl.drills.history import Ledger
from spokectl.drills.links import Link
from spokectl.drills.objective import Measure
from spokectl.drills.stage import SOAK_S, Notebook, Stage
from spokectl.drills.store import Store
from spokectl.drills.ways import Ways, balancer_of
from spokectl.drills.workload import Saw, Snapshot, under_load
from spokectl.errors import Interrupted, Refused, SpokectlError
from spokectl.operations.context import Context, running_context
from spokectl.operations.health import observe
from spokectl.operations.lifecycle import UpRequest, up
from spokectl.runtime.base import unsaid
from spokectl.settings import command_line

_REPAIR_TIMEOUT_S = 300.0


class Watcher:
    """Whoever watches a run: told of each trial and each moment. It says nothing itself."""

    def begins(self, drill: Drill, number: int, snapshot: Callable[[], Snapshot]) -> None:
        """A trial begins; `snapshot` gives what its clients have seen so far, at any time."""

    def moment(self, moment: Moment) -> None:
        """Something has happened."""

    def ended(self, trial: Trial) -> None:
        """A trial has ended, or was skipped."""


@dataclass(frozen=True)
class RunRequest:
    """`words`: what was typed. `bounds`: in place of what a drill promises itself.

    `seed`: what a soak of `soak_s` is made from; the second trial takes the next number. None for some number.
    """

    name: str
    file: Path | None
    words: list[str]
    drills: Sequence[Drill]
    repeat: int = 1
    bounds: dict[str, float] | None = None
    keep: bool = False
    seed: int | None = None
    soak_s: float = SOAK_S


def run(request: RunRequest, watcher: Watcher) -> Run:
    """Every drill, `repeat` times; one after the other, each on a stack that is well.

    Refused (`not_well`) when it is not at the beginning; `locked` when another drill is under way. When it cannot be made
    well after a drill, the rest is skipped. Ctrl-C heals, and what was carried out until then is kept.
    """
    context = running_context(request.name, request.file)
    with drill_lock(context.state):
        heal_all(context, lambda sentence: watcher.moment(Moment(time.time(), Mark.NOTE, sentence)))
        _require_well(context)
        store = Store(context.state)
        begun = store.begin()
        seed = request.seed if request.seed is not None else random.SystemRandom().randrange(1_000_000)
        rehearsal = _Rehearsal(context, request, begun.folder, seed, watcher)
        trials: list[Trial] = []
        interrupted = False
        try:
            for drill in request.drills:
                for number in range(1, request.repeat + 1):
                    trials.append(replace(rehearsal.trial(drill, number), breaks=drill.breaks, holds=drill.holds))
                    watcher.ended(trials[-1])
        except KeyboardInterrupt:
            interrupted = True
        ended = Run(
            begun.id,
            context.stack.name,
            context.runtime.name,
            __version__,
            request.words,
            begun.began_s,
            time.time(),
            trials,
            seed,
        )
        store.keep(ended)
    if interrupted:
        look = command_line(context.stack.name, f"drill show {ended.id}")
        raise Interrupted(f"interrupted after {len(trials)} trials; what was broken is healed", [look])
    return ended


class _Rehearsal:
    """Carries out single trials of one run."""

    def __init__(self, context: Context, request: RunRequest, folder: Path, seed: int, watcher: Watcher) -> None:
        self._context, self._request, self._folder = context, request, folder
        self._seed, self._watcher = seed, watcher
        self._lost = ""

    def trial(self, drill: Drill, number: int) -> Trial:
        began_s = time.time()
        why = self._lost or lacking(drill, self._context)
        if why:
            return Trial(drill.name, number, Verdict.SKIPPED, began_s, began_s, why)
        name = f"drill-{time.strftime('%H%M%S', time.gmtime(began_s))}-{number}-{drill.name}"
        ledger = f"{drill.name}-{number}.ledger.jsonl"
        notebook = Notebook(self._watcher.moment)
        with self._context.journal.operation(f"drill {drill.name}") as ending:
            trial = self._carried_out(drill, number, name, self._folder / ledger, notebook, began_s)
            ending["message"] = trial.verdict
        trial = replace(trial, ledger=ledger)
        if not self._request.keep:
            self._make_well()
        return trial

    def _carried_out(self, drill: Drill, number: int, name: str, ledger: Path, notebook: Notebook, began_s: float) -> Trial:
        why = ""
        figures: Seen | None = None
        with Ledger(ledger) as kept_on_disk, ExitStack() as linking:
            links = (linking.enter_context(Link(balancer_of(self._context.stack))),) if drill.linked else ()
            ways = Ways(self._context, name, direct=drill.direct, links=links)
            saw = Saw(kept_on_disk)
            self._watcher.begins(drill, number, lambda: saw.snapshot)
            try:
                with self._written(ways) as written:
                    with under_load(ways.clients(saw), saw, at_the_end=False) as load:
                        stage = Stage(
                            self._context,
                            load,
                            notebook,
                            self._seed + number - 1,
                            soak_s=self._request.soak_s,
                            links=links,
                        )
                        self._break(drill, stage, notebook, written)
                        stuck_s = None if stage.until_served() else time.time()
                    kept = ways.kept(saw.requests)
                    figures = seen(saw.requests, kept, _since_s(notebook, began_s), stuck_s)
            except SpokectlError as error:
                why = f"{error.code}: {error.message}"
        ended_s = time.time()
        objective = drill.objective.with_bounds(self._request.bounds or {})
        measures = objective.judge(figures.figures) if figures else []
        verdict = _verdict(measures, all(each.ok for each in notebook.checks), why)
        trial = Trial(
            drill.name, number, verdict, began_s, ended_s, why, measures, notebook.checks, moments=notebook.moments
        )
        if figures is None:
            return trial
        trial = replace(trial, layers=figures.layers, ticks=figures.ticks, ids=figures.ids)
        return replace(trial, moments=_with_first_good_write(trial))

    @contextmanager
    def _written(self, ways: Ways) -> Iterator[int]:
        """What the clients write, from its preparation to its removal; gives its number in the journal of faults."""
        journal = FaultJournal(self._context.state.faults_file)
        number = journal.began("what the clients of a drill wrote", ways.written)
        try:
            ways.prepare()
            yield number
        finally:
            if self._request.keep:
                journal.healed(number)
            else:
                heal_all(self._context, unsaid, beyond=number - 1)

    def _break(self, drill: Drill, stage: Stage, notebook: Notebook, written: int) -> None:
        try:
            drill.script(stage)
        finally:
            heal_all(self._context, lambda sentence: _noted(notebook, sentence), beyond=written)
        stage.phase("all is healed; the stack has to be well again")
        stage.until_well()

    def _make_well(self) -> None:
        """Repairs what a drill has left; where that is in vain the drills that are left cannot tell anything."""
        if all(each.ok for each in observe(self._context, self._context.stack.services)):
            return
        request = UpRequest(self._request.name, self._request.file, timeout_s=_REPAIR_TIMEOUT_S)
        with suppress(SpokectlError):
            if not up(request, _unheard).exit_code:
                return
        self._lost = "the drill before it has left a stack that `up` does not mend"


def _noted(notebook: Notebook, sentence: str) -> None:
    notebook.mark(Mark.NOTE, sentence)


def _unheard(subject: str, state: str, detail: str = "") -> None:
    """Nobody listens to a repair between two drills."""


def _require_well(context: Context) -> None:
    bad = [each for each in observe(context, context.stack.services) if not each.ok]
    if bad:
        said = "; ".join(f"{each.service}: {each.reason or each.health}" for each in bad)
        raise Refused(
            "not_well",
            f"nothing was broken: a drill wants a stack that is well, and {said}",
            actions=[command_line(context.stack.name, words) for words in ("up", "status")],
        )


def _since_s(notebook: Notebook, began_s: float) -> float:
    """When the first thing was done to the stack."""
    first = notebook.first(Mark.FAULT, Mark.COMMAND)
    return began_s if first is None else first


def _verdict(measures: Sequence[Measure], checks_hold: bool, why: str) -> Verdict:
    if why:
        return Verdict.BROKEN
    return Verdict.HELD if checks_hold and all(each.held for each in measures) else Verdict.MISSED


def _with_first_good_write(trial: Trial) -> list[Moment]:
    """The same moments, with the end of the longest time without an acknowledged write."""
    gap = next((layer.write_gap for layer in trial.layers if layer.name == "api"), None)
    if gap is None or gap.until_s is None:
        return trial.moments
    sentence = f"a write is acknowledged again, {gap.until_s - gap.since_s:.2f} s after the last one"
    return sorted([*trial.moments, Moment(gap.until_s, Mark.FIRST_GOOD_WRITE, sentence)], key=lambda each: each.at_s)
