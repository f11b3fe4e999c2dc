"""Carries drills out: load, fault, heal, look, verdict. What it leaves behind is evidence."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from spokectl import __version__
from spokectl.drills.checker import Kept
from spokectl.drills.drill import Drill, lacking
from spokectl.drills.evidence import Mark, Moment, Run, Trial, Verdict
from spokectl.drills.faults import FaultJournal
from spokectl.drills.figures import Seen, seen
from spokectl.drills.healing import drill_lock, heal_all
from spokectl.drills.history import Ledger, Request
from spokectl.drills.leftovers import slots_of
from spokectl.drills.links import Link
from spokectl.drills.objective import Measure
from spokectl.drills.stage import SOAK_S, CannotBreak, Notebook, Stage
from spokectl.drills.store import Store
from spokectl.drills.ways import Ways, balancer_of
from spokectl.drills.witnesses import told, with_their_moments
from spokectl.drills.workload import Saw, Snapshot, under_load
from spokectl.errors import Interrupted, Refused, SpokectlError
from spokectl.operations.context import Context, running_context
from spokectl.operations.event_lines import Event
from spokectl.operations.health import observe
from spokectl.operations.lifecycle import UpRequest, up
from spokectl.result import unheard
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
    allow_data_loss: bool = False
    """Whether drills may be carried out that give up acknowledged writes."""
    at_the_end: Callable[[Run], object] = lambda _: None
    """Called with all that was found out, also when Ctrl-C is the end."""


def run(request: RunRequest, watcher: Watcher) -> Run:
    """Every drill, `repeat` times; one after the other, each on a stack that is well.

    Refused (`not_well`) when it is not at the beginning; `locked` when another drill is under way. When it cannot be made
    well after a drill, the rest is skipped. Interrupted by Ctrl-C: it heals, and what was found out until then is kept.
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

        def so_far() -> Run:
            names = (begun.id, context.stack.name, context.runtime.name, __version__, request.words)
            return Run(*names, begun.began_s, time.time(), trials, seed)

        ended = so_far()
        for drill, number in ((drill, number) for drill in request.drills for number in range(1, request.repeat + 1)):
            trials.append(replace(rehearsal.trial(drill, number), breaks=drill.breaks, holds=drill.holds))
            watcher.ended(trials[-1])
            # Whatever ends this process later, what was found out until now is there.
            ended = so_far()
            store.keep(ended)
            if rehearsal.interrupted:
                break
        store.draw(ended)
        request.at_the_end(ended)
        if rehearsal.interrupted:
            raise _interrupted(context, ended)
        return ended


def _interrupted(context: Context, run: Run) -> Interrupted:
    left = [each.sentence for each in FaultJournal(context.state.faults_file).left()]
    state = f"still to be healed: {', '.join(left)}" if left else "what was broken is healed"
    words = [*(["drill heal"] if left else []), f"drill show {run.id}"]
    said = f"interrupted in {run.trials[-1].drill}, trial {len(run.trials)}; {state}"
    return Interrupted(said, [command_line(context.stack.name, each) for each in words])


@dataclass
class _Outcome:
    """What came of one trial, before it is judged. `why`: what kept it from its end."""

    number: int
    began_s: float
    ledger: str
    figures: Seen | None = None
    why: str = ""
    events: Sequence[Event] = ()
    """What guards and Sentinels did meanwhile."""


class _Rehearsal:
    """Carries out single trials of one run."""

    def __init__(self, context: Context, request: RunRequest, folder: Path, seed: int, watcher: Watcher) -> None:
        self._context, self._request, self._folder = context, request, folder
        self._seed, self._watcher = seed, watcher
        self.interrupted = False
        self._lost = ""

    def trial(self, drill: Drill, number: int) -> Trial:
        """Never an error: what kept it from its end, Ctrl-C too (`interrupted`), is in the trial."""
        began_s = time.time()
        why = self._lost or lacking(drill, self._context, allow_data_loss=self._request.allow_data_loss)
        if why:
            return Trial(drill.name, number, Verdict.SKIPPED, began_s, began_s, why)
        notebook = Notebook(self._watcher.moment)
        with self._context.journal.operation(f"drill {drill.name}") as ending:
            trial = self._judged(drill, self._carried_out(drill, number, notebook, began_s), notebook)
            ending["message"] = trial.verdict
        if not self.interrupted:
            try:
                self._make_well()
            except KeyboardInterrupt:
                self.interrupted = True
        return trial

    def _carried_out(self, drill: Drill, number: int, notebook: Notebook, began_s: float) -> _Outcome:
        name = f"drill-{time.strftime('%H%M%S', time.gmtime(began_s))}-{number}-{drill.name}"
        outcome = _Outcome(number, began_s, f"{drill.name}-{number}.ledger.jsonl")
        try:
            with Ledger(self._folder / outcome.ledger) as kept_on_disk, ExitStack() as linking:
                links = (linking.enter_context(Link(balancer_of(self._context.stack))),) if drill.linked else ()
                lasts_s = self._request.soak_s
                ways = Ways(self._context, name, direct=drill.direct, links=links, lasts_s=lasts_s)
                saw = Saw(kept_on_disk)
                self._watcher.begins(drill, number, lambda: saw.snapshot)
                with self._written(ways) as written:
                    with under_load(ways.clients(saw), saw, at_the_end=False) as load:
                        seed = self._seed + number - 1
                        stage = Stage(self._context, load, notebook, seed, soak_s=lasts_s, links=links)
                        self._break(drill, stage, notebook, written)
                        stuck_s = None if stage.until_served() else time.time()
                    stage.expect_ended()
                    requests = saw.end()
                    outcome.figures = seen(requests, _kept(ways, requests, stage), _since_s(notebook, began_s), stuck_s)
                    outcome.why = f"ledger_failed: the ledger could not be written: {saw.trouble}" if saw.trouble else ""
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - what was found out until now is kept whatever comes
            self.interrupted = _was_interrupted(error)
            outcome.why = "interrupted" if self.interrupted else _told(error)
        try:
            outcome.events = told(self._context, began_s)
        except KeyboardInterrupt:
            self.interrupted, outcome.why = True, "interrupted"
        return outcome

    def _judged(self, drill: Drill, outcome: _Outcome, notebook: Notebook) -> Trial:
        figures = outcome.figures
        objective = drill.objective.with_bounds(self._request.bounds or {})
        measures = objective.judge(figures.figures, figures.unmeasured) if figures else []
        trial = Trial(
            drill.name,
            outcome.number,
            _verdict(measures, all(each.ok for each in notebook.checks), outcome.why),
            outcome.began_s,
            time.time(),
            outcome.why,
            measures,
            notebook.checks,
            moments=with_their_moments(notebook.moments, outcome.events, notebook.operations),
            ledger=outcome.ledger,
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
        before = slots_of(self._context)
        try:
            drill.script(stage)
        except CannotBreak:
            raise
        except SpokectlError as error:
            if _was_interrupted(error):
                raise
            # What a script does is what an operator may do: that it fails is what the drill has found.
            stage.expect("all that the drill does goes well", ok=False, found=f"{error.code}: {error.message}")
        finally:
            heal_all(self._context, lambda sentence: _noted(notebook, sentence), beyond=written)
        stage.phase("all is healed; the stack has to be well again")
        stage.until_well()
        stage.until_nothing_is_left(before)

    def _make_well(self) -> None:
        """Repairs what a drill has left; where that is in vain the drills that are left cannot tell anything.

        With --keep it is left as it is.
        """
        try:
            heal_all(self._context, unsaid)
            if all(each.ok for each in observe(self._context, self._context.stack.services)):
                return
            request = UpRequest(self._request.name, self._request.file, timeout_s=_REPAIR_TIMEOUT_S)
            if not self._request.keep and not up(request, unheard).exit_code:
                return
        except SpokectlError as error:
            self._lost = f"the drill before it has left a stack that is not well: {error.message}"
            return
        self._lost = "the drill before it has left a stack that is not well"


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether it is Ctrl-C, or came while something was healed because of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def _told(error: BaseException) -> str:
    if isinstance(error, SpokectlError):
        return f"{error.code}: {error.message}"
    return f"{type(error).__name__}: {error}"


def _kept(ways: Ways, requests: list[Request], stage: Stage) -> dict[str, list[Kept]] | None:
    """What is there at the end; None, and that counts against the stack, when nobody tells."""
    try:
        return ways.kept(requests)
    except SpokectlError as error:
        stage.expect("what was written can be read afterwards", ok=False, found=f"{error.code}: {error.message}")
        return None


def _noted(notebook: Notebook, sentence: str) -> None:
    notebook.mark(Mark.NOTE, sentence)


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
