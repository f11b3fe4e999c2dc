"""What a drill acts on: a stack under load, with everything that happens written into one timeline."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from spokectl.drills.evidence import Check, Mark, Moment
from spokectl.drills.faults import Fault, FaultJournal, Left, Undo, heal_one
from spokectl.drills.figures import POSTGRES, REDIS
from spokectl.drills.history import Clock
from spokectl.drills.leftovers import Slots, left
from spokectl.drills.links import Link
from spokectl.drills.witnesses import Operation
from spokectl.drills.workload import Workload
from spokectl.errors import Failed, OutcomeUnknown, SpokectlError
from spokectl.model import Kind
from spokectl.operations.context import Context
from spokectl.operations.health import ServiceStatus, observe, probe
from spokectl.result import Report, Result
from spokectl.wait import Deadline, wait_until

FAULT_TIMEOUT_S = 60.0
SERVED_WITHIN_S = 120.0
SOAK_S = 300.0
"""How long a soak goes on when nobody says otherwise."""
_WELL_WITHIN_S = 180.0
_HOLDER_WITHIN_S = 60.0
_LEFT_FOR_S = 60.0
# Which step of a move is which moment of the timeline, by the database: PostgreSQL's `follow` is about the Spokes.
_MOMENTS = {
    POSTGRES: {"promote": Mark.PROMOTED, "rejoin": Mark.REJOINED},
    REDIS: {"promote": Mark.PROMOTED, "follow": Mark.REJOINED},
}
Told = Callable[[Moment], None]


class Notebook:
    """The timeline of one trial; whoever watches is told of each moment."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._clock = Clock()
        self._lock = threading.Lock()
        self.moments: list[Moment] = []
        self.operations: list[Operation] = []
        self.checks: list[Check] = []

    def mark(self, mark: Mark, sentence: str, subject: str = "") -> Moment:
        moment = Moment(self._clock.now_s(), mark, sentence, subject)
        with self._lock:
            self.moments.append(moment)
        self._told(moment)
        return moment

    def check(self, name: str, found: str, *, ok: bool) -> None:
        self.checks.append(Check(name, ok, found))

    @contextmanager
    def operation(self, database: str) -> Iterator[None]:
        """The time in which a command moves the role of a database."""
        began_s = self._clock.now_s()
        try:
            yield
        finally:
            self.operations.append(Operation(database, began_s, self._clock.now_s()))

    def first(self, *marks: Mark) -> float | None:
        """When the first moment of these kinds was."""
        with self._lock:
            return next((each.at_s for each in self.moments if each.mark in marks), None)


class CannotBreak(Failed):
    """A fault did not happen: nothing can be said of what would have come of it."""


class Stage:
    """The hands of a drill's script. What it breaks is healed at the end, whatever happens.

    `links`: the one link that half of the clients go through, for a drill that is `linked`.
    """

    def __init__(
        self,
        context: Context,
        load: Workload,
        notebook: Notebook,
        seed: int,
        *,
        soak_s: float = SOAK_S,
        links: tuple[Link, ...] = (),
    ) -> None:
        self.context, self.load, self.notebook, self.seed = context, load, notebook, seed
        self.soak_s, self.links = soak_s, links
        self._faults = FaultJournal(context.state.faults_file)

    # What is.

    def holder(self, role: str) -> str:
        """The service that says it has the role (`primary`, `master`). OutcomeUnknown (`timeout`) when none does."""
        kind = Kind.POSTGRES if role == "primary" else Kind.REDIS
        found: list[str] = []

        def blocker() -> str | None:
            nodes = self.context.stack.of_kind(kind)
            found[:] = [each.name for each in nodes if probe(each).role == role]
            return None if len(found) == 1 else f"{' and '.join(found) or 'nobody'} says {role}"

        wait_until(blocker, Deadline(_HOLDER_WITHIN_S), what=f"one {role}")
        return found[0]

    def other(self, name: str) -> str:
        """The other node of a pair."""
        kind = self.context.stack.services[name].kind
        return next(each.name for each in self.context.stack.of_kind(kind) if each.name != name)

    def names(self, kind: Kind) -> list[str]:
        """The services of a kind that this runtime runs."""
        left_out = self.context.runtime.left_out()
        return [each.name for each in self.context.stack.of_kind(kind) if each.name not in left_out]

    # What is done.

    def phase(self, sentence: str) -> None:
        """Says what comes now."""
        self.notebook.mark(Mark.PHASE, sentence)

    def note(self, sentence: str, subject: str = "") -> None:
        self.notebook.mark(Mark.NOTE, sentence, subject)

    @contextmanager
    def broken(self, fault: Fault) -> Iterator[None]:
        """Breaks, and heals at the end."""
        left = self.inject(fault)
        try:
            yield
        finally:
            self.heal(left)

    @contextmanager
    def ours(self, sentence: str, subject: str = "") -> Iterator[None]:
        """A fault that lives in this process alone and ends with it: nobody else has to undo it."""
        self.notebook.mark(Mark.FAULT, sentence, subject)
        try:
            yield
        finally:
            self.notebook.mark(Mark.HEALED, f"healed: {sentence}", subject)

    @contextmanager
    def beside(self, sentence: str, undo: Undo) -> Iterator[None]:
        """For what a script makes besides and has to remove at the end: its removal is journaled as that of a fault."""
        number = self._faults.began(sentence, undo)
        try:
            yield
        finally:
            heal_one(self.context, self._faults, Left(number, sentence, undo))

    def hold(self, seconds: float) -> None:
        """Leaves all as it is: for a fault of which the length is what breaks something."""
        end = Deadline(seconds)
        wait_until(lambda: None if end.passed else "not yet", Deadline(seconds + 1.0), what=f"{seconds:g} s are over")

    def inject(self, fault: Fault) -> Left:
        """Breaks; what is not healed by `heal` is healed when the script has ended."""
        number = self._faults.began(fault.sentence, fault.undo)
        self.notebook.mark(Mark.FAULT, fault.sentence, fault.subject)
        try:
            fault.inject(self.context, Deadline(FAULT_TIMEOUT_S))
        except SpokectlError as error:
            raise CannotBreak(error.code, f"{fault.sentence}: {error.message}", actions=error.actions) from error
        return Left(number, fault.sentence, fault.undo)

    def heal(self, left: Left) -> None:
        heal_one(self.context, self._faults, left)
        self.notebook.mark(Mark.HEALED, f"healed: {left.sentence}", ", ".join(left.undo.services))

    def operate(self, words: str, act: Callable[[Report], Result]) -> Result:
        """Does what the command `spokectl WORDS` does, with its steps on the timeline; its errors are the caller's."""
        self.notebook.mark(Mark.COMMAND, f"spokectl {words}")
        # A move that is broken off with this process is ended by whoever heals.
        number = self._faults.began(f"spokectl {words} broken off", Undo("end_move"))
        database = REDIS if REDIS in words.split() else POSTGRES
        try:
            with self.notebook.operation(database):
                result = act(lambda subject, state, detail="": self._report(database, subject, state, detail))
        except SpokectlError as error:
            self.note(f"{words}: {error.code}: {error.message}")
            if not self.context.state.underway_file.exists():
                self._faults.healed(number)
            raise
        self._faults.healed(number)
        self.note(f"{words}: done")
        return result

    def _report(self, database: str, subject: str, state: str, detail: str) -> None:
        if (subject, state) == ("fence", "doing"):
            self.notebook.mark(Mark.DETECTED, detail)
        elif state == "done" and (mark := _MOMENTS[database].get(subject)):
            self.notebook.mark(mark, f"{subject}: {detail}")

    def refused(self, words: str, act: Callable[[Report], Result], *codes: str) -> SpokectlError | None:
        """Does it, and holds the drill to its being refused with one of the error codes; gives the error."""
        try:
            self.operate(words, act)
        except SpokectlError as error:
            self.expect(f"{words} is refused", error.code in codes, f"{error.code}: {error.message}")
            return error
        self.expect(f"{words} is refused", ok=False, found="it was done")
        return None

    # What must be.

    def expect(self, name: str, ok: bool, found: str) -> None:
        """Holds the drill to something that is no figure; `found` says how it was."""
        self.notebook.check(name, found, ok=ok)

    def go_on(self, within_s: float = 120.0, but: Collection[str] = ()) -> None:
        """Waits until every client, `but` for those named, has had some more writes acknowledged."""
        self.load.go_on(within_s=within_s, but=but)

    def go_on_without(self, layer: str) -> None:
        """As `go_on`, for all clients but those of one layer, which cannot."""
        self.go_on(but=[each.name for each in self.load.clients if each.layer == layer])

    def until(
        self, what: str, blocker: Callable[[], str | None], within_s: float = 120.0, found: Callable[[], str] | None = None
    ) -> bool:
        """Waits; in vain, the drill has missed its objective, and goes on. `blocker` gives the reason why not yet.

        `found` says how it was in the end, beside how long it took.
        """
        deadline = Deadline(within_s)
        try:
            wait_until(blocker, deadline, what=what)
        except OutcomeUnknown as late:
            self.expect(what, ok=False, found=late.message.removeprefix(f"{what}: "))
            return False
        took = f"after {within_s - deadline.remaining_s:.1f} s"
        self.expect(what, ok=True, found=f"{found()}, {took}" if found else took)
        return True

    def until_served(self) -> bool:
        """Waits until every client is answered again; in vain, that is what the drill has found."""
        try:
            self.go_on(SERVED_WITHIN_S)
        except OutcomeUnknown as stuck:
            self.expect("every client is served again", ok=False, found=stuck.message)
            return False
        return True

    def expect_ended(self) -> None:
        """Looked at when the load is over: a client that still waits for an answer has none to tell."""
        waiting = [client.name for client in self.load.clients if client.is_alive()]
        if waiting:
            self.expect("every client has ended", ok=False, found=f"{', '.join(waiting)} still wait for an answer")

    def statuses(self) -> list[ServiceStatus]:
        return observe(self.context, self.context.stack.services)

    def until_well(self, within_s: float = _WELL_WITHIN_S) -> bool:
        """Waits until every service is well and nobody contradicts the others."""

        def blocker() -> str | None:
            bad = [f"{each.service}: {each.reason or each.health}" for each in self.statuses() if not each.ok]
            return "; ".join(bad) or None

        return self.until("all is well again", blocker, within_s)

    def until_nothing_is_left(self, before: Slots) -> bool:
        """Waits until there is nothing that was not there before: a guard drops slots a moment after it has joined."""
        return self.until("nothing is left behind", lambda: left(self.context, before), _LEFT_FOR_S)
