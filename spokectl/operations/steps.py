"""Operations as tables of steps, and the driver that takes them: each step is journaled before and after.

Up to the point of no return any failure puts everything back; after it an operation only goes forward. Which of the two
holds is asked of the stack (`World.committed`), never of the journal: so a command that was killed at any point can be
finished, or undone, by the next one.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from spokectl.errors import Failed, Incomplete, Interrupted, OutcomeUnknown, SpokectlError
from spokectl.journal import Underway, Unfinished
from spokectl.result import Report
from spokectl.wait import Deadline

_UNDO_TIMEOUT_S = 120.0


class World(Protocol):
    """What the steps of a table act on."""

    def committed(self) -> bool:
        """Whether the point of no return has been passed, as the stack itself says."""


W = TypeVar("W", bound=World)


@dataclass(frozen=True)
class Step(Generic[W]):
    """One step. `act` may be taken again when it is not known how far it came.

    `sentence` tells the operator what it does; `commands` are what it runs, for --dry-run. `undo` is for steps before the
    point of no return that change anything. `aftercare`: the operation has done its work without it.
    """

    id: str
    sentence: str
    act: Callable[[W, Deadline], None]
    timeout_s: float
    commands: tuple[str, ...] = ()
    undo: Callable[[W, Deadline], None] | None = None
    aftercare: bool = False


@dataclass(frozen=True)
class Table(Generic[W]):
    """The steps of `operation` in their order; `point_of_no_return` is the id of the step that commits it."""

    operation: str
    steps: tuple[Step[W], ...]
    point_of_no_return: str
    again: str
    """The command that finishes or undoes it after an interruption."""
    look: str = "spokectl status"
    """The command that shows what came of it."""


@dataclass(frozen=True)
class Taken:
    """A step that was taken, and how long it took."""

    step: str
    sentence: str
    seconds: float


def drive(
    table: Table[W],
    world: W,
    facts: dict[str, object],
    journal: Underway,
    report: Report,
    *,
    timeout_s: float | None = None,
) -> list[Taken]:
    """Takes all steps, each within its own time and within what is left of `timeout_s` for all of them.

    Where that is over before the point of no return, everything is put back. After it nobody is left half way: the steps
    have their own time again, but for the aftercare.

    Failed when one failed and everything is back as it was; OutcomeUnknown when it can neither be finished nor put back
    now; Incomplete when the work is done, but a step of its aftercare failed. A report that nobody reads any more (a pipe
    that is closed) stops nothing.
    """
    journal.begin(table.operation, facts)
    return _forward(
        table, world, table.steps, journal, _tried(report), Deadline(math.inf if timeout_s is None else timeout_s)
    )


def settle(table: Table[W], world: W, found: Unfinished, journal: Underway, report: Report) -> bool:
    """Ends an operation that was broken off: True when it is finished now, False when everything is back as it was."""
    if not world.committed():
        _back(table, world, found.begun, journal, _tried(report))
        return False
    ids = [step.id for step in table.steps]
    left = table.steps[ids.index(table.point_of_no_return) + 1 :]
    _forward(table, world, left, journal, _tried(report), Deadline(math.inf))
    return True


def _tried(report: Report) -> Report:
    def tell(subject: str, state: str, detail: str = "") -> None:
        with suppress(OSError):
            report(subject, state, detail)

    return tell


def _forward(
    table: Table[W], world: W, steps: Sequence[Step[W]], journal: Underway, report: Report, whole: Deadline
) -> list[Taken]:
    taken: list[Taken] = []
    can_go_back = any(step.id == table.point_of_no_return for step in steps)
    for step in steps:
        began = time.monotonic()
        try:
            if can_go_back and whole.passed:
                raise Failed("timeout", f"no time was left for it of the {whole.timeout_s:g} s for all steps")
            journal.note(step.id, "began")
            report(step.id, "doing", step.sentence)
            step.act(world, whole.capped(step.timeout_s) if can_go_back or step.aftercare else Deadline(step.timeout_s))
            can_go_back = can_go_back and step.id != table.point_of_no_return
            journal.note(step.id, "done")
        except (SpokectlError, OSError, KeyboardInterrupt) as error:
            with suppress(OSError):
                journal.note(step.id, "failed")
            report(step.id, "failed", _cause(error))
            _fail(table, world, step, error, journal, report)
        taken.append(Taken(step.id, step.sentence, round(time.monotonic() - began, 3)))
        report(step.id, "done", f"{taken[-1].seconds:.2f} s")
    journal.end()
    return taken


def _fail(table: Table[W], world: W, step: Step[W], error: BaseException, journal: Underway, report: Report) -> None:
    cause = _cause(error)
    actions = error.actions if isinstance(error, SpokectlError) else ()
    if step.aftercare and not isinstance(error, KeyboardInterrupt):
        journal.end()
        raise Incomplete(
            f"{table.operation.replace(' ', '_')}_incomplete",
            f"{table.operation} is done, but not all is well yet: {step.sentence}: {cause}",
            actions=actions or [table.look],
            details=error.details if isinstance(error, SpokectlError) else {},
        ) from error
    try:
        committed = world.committed()
    except SpokectlError as unknown:
        raise OutcomeUnknown(
            "outcome_unknown",
            f"{step.sentence}: {cause}; and it cannot be asked whether it happened: {unknown.message}",
            actions=[table.again],
        ) from error
    if committed:
        raise OutcomeUnknown(
            "unfinished",
            f"{step.sentence}: {cause}; the role has been given away already, so it can only be finished",
            actions=[table.again, *actions],
        ) from error
    begun = journal.unfinished()
    try:
        _back(table, world, begun.begun if begun else (), journal, report)
    except OutcomeUnknown as left:
        # Why it had to be put back matters as much as why it could not be.
        raise OutcomeUnknown(left.code, f"{step.sentence}: {cause}; {left.message}", actions=left.actions) from error
    except KeyboardInterrupt as again:
        half = f"interrupted again while {table.operation} was put back: it is half way, and the next command ends it"
        raise Interrupted(half, [table.again]) from again
    if isinstance(error, KeyboardInterrupt):
        raise Interrupted(f"interrupted: {table.operation} was broken off, and everything is back as it was") from error
    code = error.code if isinstance(error, SpokectlError) else "system_error"
    back = f"{step.sentence}: {cause}; everything is back as it was"
    raise Failed(code, back, actions=actions or [table.look, table.again]) from error


def _cause(error: BaseException) -> str:
    if isinstance(error, SpokectlError):
        return error.message
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"the system refused: {error}"


def _back(table: Table[W], world: W, begun: Sequence[str], journal: Underway, report: Report) -> None:
    for step in reversed(table.steps):
        if step.undo is None or step.id not in begun:
            continue
        report(step.id, "undoing", step.sentence)
        try:
            step.undo(world, Deadline(_UNDO_TIMEOUT_S))
            journal.note(step.id, "undone")
        except (SpokectlError, OSError) as error:
            raise OutcomeUnknown(
                "not_put_back",
                f"{table.operation} was broken off, and not everything could be put back: {_cause(error)}",
                actions=[*(error.actions if isinstance(error, SpokectlError) else ()), table.again],
            ) from error
    journal.end()
