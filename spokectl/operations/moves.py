"""Moves of a role as commands: what PostgreSQL's and Redis's have in common, and the end of one that was broken off."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from spokectl.errors import OutcomeUnknown, Refused, SpokectlError
from spokectl.journal import Underway, Unfinished
from spokectl.model import DOWN, Service
from spokectl.operations.context import Context, exclusive
from spokectl.operations.postgres.guard import DivergentWal
from spokectl.operations.steps import Table, Taken, settle
from spokectl.result import Report, Result
from spokectl.settings import command_line, for_stack
from spokectl.wait import Deadline, wait_until

# Who can go on with an operation that was broken off: its last word, and a module with `reopened`.
_OWNERS = {"postgres": "spokectl.operations.postgres.moves", "redis": "spokectl.operations.redis.moves"}
_CALM_WITHIN_S = 30.0


@dataclass(frozen=True)
class Check:
    """One thing that must hold: `found` says what was measured, `remedy` what to type when it is not `ok`."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class MoveRequest:
    """`to`: the node that shall have the role; None for the one that has not. `allow_data_loss`: PostgreSQL's failover.

    `timeout_s` bounds all steps together; None: each has its own time alone.
    """

    to: str | None = None
    dry_run: bool = False
    allow_data_loss: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True)
class Planned:
    """A step as --dry-run shows it."""

    step: str
    sentence: str
    commands: tuple[str, ...]
    point_of_no_return: bool
    undone: bool


@dataclass(frozen=True)
class MoveData:
    """`outcome`: moved, finished (an earlier one that was broken off), or planned (--dry-run).

    `because`: why another operation was chosen than the one that was asked for.
    `write_gap_s`: from the moment the old node was told to stop writes, or seen to be down, until the new one had the role
    and, for PostgreSQL, every Spoke had followed.
    """

    operation: str
    outcome: str
    old: str
    new: str
    checks: list[Check] = field(default_factory=list)
    plan: list[Planned] = field(default_factory=list)
    steps: list[Taken] = field(default_factory=list)
    write_gap_s: float | None = None
    bytes_at_risk: int | None = 0
    signs_of_death: list[str] = field(default_factory=list)
    because: str = ""
    divergent: DivergentWal | None = None
    """What only the old node had, where that was given up when it joined again."""


@dataclass(frozen=True)
class Settled:
    """How a move that had been broken off was ended: finished, or everything put back."""

    operation: str
    old: str
    new: str
    finished: bool

    @property
    def sentence(self) -> str:
        return f"finished: {self.new} has the role" if self.finished else f"put back: {self.old} has the role"

    def is_what_is_meant(self, operation: str, request: MoveRequest) -> bool:
        """Whether the role that `operation` moves is now where it shall be."""
        return self.finished and _role_of(self.operation) == _role_of(operation) and request.to in {None, self.new}


class Moving(Protocol):
    """The world of a move: between two services, closed at the end."""

    @property
    def old(self) -> Service: ...

    @property
    def new(self) -> Service: ...

    def committed(self) -> bool: ...

    def close(self) -> None: ...


M = TypeVar("M", bound=Moving)


@dataclass(frozen=True)
class Operation(Generic[M]):
    """A command that moves a role: `choose` says from where to where, `check` what a planned move wants, `act` does it."""

    name: str
    choose: Callable[[Context, MoveRequest, str], M]
    check: Callable[[Context, M], list[Check]]
    act: Callable[[Context, M, MoveRequest, Report], MoveData]


def planned(table: Table[M]) -> list[Planned]:
    return [
        Planned(step.id, step.sentence, step.commands, step.id == table.point_of_no_return, step.undo is not None)
        for step in table.steps
    ]


def typed_for(stack: str, checks: Iterable[Check]) -> list[Check]:
    """The same checks; what their remedies tell to type means this stack."""
    return [replace(check, remedy=for_stack(stack, check.remedy)) for check in checks]


def require(checks: Sequence[Check], codes: Mapping[str, str] | None = None) -> None:
    """Refused when one does not hold; `codes`: the error code by the name of the first such check."""
    bad = [check for check in checks if not check.ok]
    if bad:
        raise Refused(
            (codes or {}).get(bad[0].name, "precondition_failed"),
            "nothing was changed: " + "; ".join(f"{check.name}: {check.found}" for check in bad),
            details={"checks": [vars(check) for check in checks]},
            actions=list(dict.fromkeys(check.remedy for check in bad if check.remedy)),
        )


def operate(context: Context, operation: Operation[M], request: MoveRequest, report: Report) -> Result:
    """Chooses and acts under the stack's lock, after what was broken off before has been ended. --dry-run changes nothing.

    When that end was to finish the move that is asked for, nothing else is done: who types a command again means the same.
    """
    name = operation.name
    if request.dry_run:
        _say_what_comes_first(context, report)
        with closing(operation.choose(context, request, name)) as move:
            return Result(operation.act(context, move, request, report))
    with exclusive(context.state, name):
        settled = settle_unfinished(context, report)
        if settled is not None and settled.is_what_is_meant(name, request):
            return Result(MoveData(settled.operation, "finished", settled.old, settled.new))
        if settled is not None and not _is_down(context, settled.old, settled.new):
            _await_calm(context, operation, request)
        with (
            closing(operation.choose(context, request, name)) as move,
            context.journal.operation(name, old=move.old.name, new=move.new.name, reason=name) as ending,
        ):
            data = operation.act(context, move, request, report)
            if data.outcome != "moved":
                # What was found may be that the role has moved before, and the other way round.
                ending.update(old=data.old, new=data.new, message=f"{data.outcome}: {data.new} has the role")
            return Result(data)


def put_down(context: Context, name: str, deadline: Deadline) -> None:
    """Kills the service where it is not down already, and returns when it is seen to be."""
    runtime = context.runtime
    if runtime.inspect()[name].state in DOWN:
        return
    runtime.kill([name], deadline)

    def blocker() -> str | None:
        state = runtime.inspect()[name].state
        return None if state in DOWN else f"it is {state}"

    actions = [command_line(context.stack.name, words) for words in (f"kill {name}", "ps")]
    wait_until(blocker, deadline, what=f"{name} is down", actions=actions)


def _is_down(context: Context, *names: str) -> bool:
    seen = context.runtime.inspect()
    return any(seen[name].state in DOWN for name in names)


def _await_calm(context: Context, operation: Operation[M], request: MoveRequest) -> None:
    """What has just been put back is not whole for a moment. What is amiss after a while is said by what comes next."""

    def blocker() -> str | None:
        try:
            with closing(operation.choose(context, request, operation.name)) as move:
                return ", ".join(check.name for check in operation.check(context, move) if not check.ok) or None
        except SpokectlError as error:
            return error.message

    with suppress(OutcomeUnknown):
        wait_until(blocker, Deadline(_CALM_WITHIN_S), what="both nodes are well again", interval_s=0.1)


def _say_what_comes_first(context: Context, report: Report) -> None:
    found = Underway(context.state.underway_file).unfinished()
    if found is not None:
        report("stack", "notice", f"{found.operation} was broken off: it would be ended first, which may be all")


def settle_unfinished(context: Context, report: Report) -> Settled | None:
    """Ends a move that was broken off, forward or back, and says which; None when there was none.

    Refused (`journal_damaged`) when it cannot be read what that was. The stack's lock is held by the caller.
    """
    journal = Underway(context.state.underway_file)
    found = journal.unfinished()
    if found is None:
        return None
    table, reopened = _reopened(context, journal, found)
    report("stack", "notice", f"{found.operation} was broken off: it is ended first")
    with closing(reopened) as move:
        names = {"old": move.old.name, "new": move.new.name}
        with context.journal.operation(f"end {found.operation}", **names) as ending:
            settled = Settled(found.operation, finished=settle(table, move, found, journal, report), **names)
            ending["message"] = settled.sentence
    report("stack", "notice", f"{found.operation}: {settled.sentence}")
    return settled


@contextmanager
def after(settled: Settled | None) -> Iterator[None]:
    """What is refused inside does not say that nothing was changed, where a broken-off move has been ended before."""
    try:
        yield
    except Refused as error:
        if settled is not None:
            rest = error.message.removeprefix("nothing was changed: ")
            error.message = f"{settled.operation} was broken off and is {settled.sentence}; nothing else was changed: {rest}"
            error.args = (error.message,)
        raise


def _reopened(context: Context, journal: Underway, found: Unfinished) -> tuple[Table[Moving], Moving]:
    try:
        owner = importlib.import_module(_OWNERS[_role_of(found.operation)])
        reopened: tuple[Table[Moving], Moving] = owner.reopened(context, found)
    except (KeyError, ValueError, TypeError) as error:
        raise journal.damaged(f"tells of {found.operation!r} in a way that this version does not know") from error
    return reopened


def _role_of(operation: str) -> str:
    """Whose role an operation moves: its last word."""
    return operation.rpartition(" ")[2]
