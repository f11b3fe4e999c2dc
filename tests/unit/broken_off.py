"""A table of steps broken off everywhere: every entry of its journal, twice in a row, while somebody meddles."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Protocol, TypeVar

from spokectl.errors import SpokectlError
from spokectl.journal import Underway, Unfinished
from spokectl.operations.steps import Step, Table, World, drive, settle
from spokectl.wait import Deadline
from tests.unit.test_readiness import unheard

PHASES = ("began", "done", "undone")
# A step's id and a phase: `began` is written and the step not taken; the others are taken and not written.
Point = tuple[str, str]


class Killed(BaseException):
    """kill -9: nothing after it is done."""


class Model(World, Protocol):
    """What the steps act on, as far as the order of steps is concerned."""

    def meddle(self) -> None:
        """Does what an operator or a supervisor may do at any moment."""

    def rests(self) -> bool:
        """Whether all is as before the operation, or as after it."""


M = TypeVar("M", bound=Model)


class JournalInMemory(Underway):
    """Kills at its point; lets somebody meddle before the step."""

    def __init__(self, meddle: Callable[[], None]) -> None:
        super().__init__(Path("in memory"))
        self.kill_at: Point | None = None
        self.meddle_before = ""
        self.noted: list[Point] = []
        self._meddle = meddle
        self._operation: str | None = None

    def unfinished(self) -> Unfinished | None:
        steps = {step: phase != "undone" for step, phase in self.noted}
        begun = tuple(step for step, taken in steps.items() if taken)
        return Unfinished(self._operation, {}, begun) if self._operation else None

    def begin(self, operation: str, facts: Mapping[str, object]) -> None:
        self._operation = operation

    def note(self, step: str, phase: str) -> None:
        if phase != "began" and (step, phase) == self.kill_at:
            raise Killed
        self.noted.append((step, phase))
        if (step, phase) == self.kill_at:
            raise Killed
        if phase == "began" and step == self.meddle_before:
            self._meddle()

    def end(self) -> None:
        self._operation = None
        self.noted.clear()


@dataclass(frozen=True)
class Break:
    """Where it is killed, where what ends it is killed, and before which step somebody meddles."""

    first: Point | None
    second: Point | None
    meddle_before: str


def breaks(table: Table[M]) -> Iterator[Break]:
    ids = [step.id for step in table.steps]
    points: list[Point | None] = [None, *product(ids, PHASES)]
    yield from (Break(*each) for each in product(points, points, ["", *ids]))


def ends(table: Table[M], make: Callable[[], M], broken: Break) -> M:
    """Runs the table, broken off so, and then whatever ends it; gives the world at rest."""
    world = make()
    journal = JournalInMemory(world.meddle)
    journal.meddle_before = broken.meddle_before
    tries: list[tuple[Point | None, Callable[[], object]]] = [
        (broken.first, lambda: drive(table, world, {}, journal, unheard)),
        (broken.second, lambda: _settle(table, world, journal)),
        (None, lambda: _settle(table, world, journal)),
    ]
    for journal.kill_at, attempt in tries:
        try:
            attempt()
        except (Killed, SpokectlError):
            continue
    assert journal.unfinished() is None, (broken, world)
    assert world.rests(), (broken, world)
    return world


def all_end(table: Table[M], make: Callable[[], M]) -> list[M]:
    """The worlds at rest after every way to break it off; the first was not disturbed."""
    return [ends(table, make, each) for each in breaks(table)]


def on_model(table: Table[Any]) -> Table[Any]:
    """The same table, whose steps call the methods of a model that are named as those of the real world."""
    return replace(table, steps=tuple(_on_model(step) for step in table.steps))


def _on_model(step: Step[Any]) -> Step[Any]:
    undo = None if step.undo is None else _method(step.undo)
    return replace(step, act=_method(step.act), undo=undo)


def _method(act: Callable[[Any, Deadline], None]) -> Callable[[Any, Deadline], None]:
    def call(model: Any, _: Deadline) -> None:
        getattr(model, act.__name__)()

    return call


def _settle(table: Table[M], world: M, journal: JournalInMemory) -> None:
    found = journal.unfinished()
    if found is not None:
        settle(table, world, found, journal, unheard)
