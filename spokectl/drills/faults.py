"""Faults that always heal: how each is undone is on disk before it is done, and whoever comes next undoes what is left.

Source of the idea: the lease that Gremlin and Chaos Mesh keep for each fault, so that none outlives its owner.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from spokectl.errors import Failed, Refused
from spokectl.journal import append_line, read_lines
from spokectl.operations.context import Context
from spokectl.wait import Deadline

HEAL_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Undo:
    """How a fault is undone, as it is kept on disk: `act` is a name in UNDOS, `services` and `values` what it takes.

    It may be done again, and where there is nothing to undo any more.
    """

    act: str
    services: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """Something done to the stack on purpose. `inject` may fail half way: its undo is done all the same."""

    sentence: str
    undo: Undo
    inject: Callable[[Context, Deadline], None]

    @property
    def subject(self) -> str:
        return ", ".join(self.undo.services)


UndoAct = Callable[[Context, Undo, Deadline], None]
UNDOS: dict[str, UndoAct] = {}


def undo_act(name: str) -> Callable[[UndoAct], UndoAct]:
    """Registers a way to undo, under the name that the journal keeps."""

    def register(act: UndoAct) -> UndoAct:
        UNDOS[name] = act
        return act

    return register


@dataclass(frozen=True)
class Left:
    """A fault that was begun and not healed."""

    number: int
    sentence: str
    undo: Undo


class FaultJournal:
    """What is broken now, on disk. The file is gone when nothing is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def began(self, sentence: str, undo: Undo) -> int:
        """On disk when it returns; the number is for `healed`."""
        number = max((int(line["number"]) for line in read_lines(self._path)), default=0) + 1
        append_line(self._path, {"number": number, "sentence": sentence, "undo": asdict(undo)})
        return number

    def healed(self, number: int) -> None:
        append_line(self._path, {"number": number, "healed": True})
        if not self.left():
            self._path.unlink(missing_ok=True)

    def left(self) -> list[Left]:
        """Those not healed, in the order of healing: the last one first. Refused (`faults_damaged`) for a file of others."""
        found: dict[int, Left] = {}
        try:
            for line in read_lines(self._path):
                number = int(line["number"])
                if line.get("healed"):
                    found.pop(number, None)
                    continue
                undo = line["undo"]
                kept = Undo(str(undo["act"]), tuple(undo["services"]), dict(undo["values"]))
                found[number] = Left(number, str(line["sentence"]), kept)
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(
                "faults_damaged",
                f"{self._path}, which says what a drill has broken, cannot be read",
                actions=["repair the stack: spokectl up", f"then remove it: rm {self._path}"],
            ) from error
        return sorted(found.values(), key=lambda left: -left.number)


def heal_one(context: Context, journal: FaultJournal, left: Left) -> None:
    """Undoes one fault. Failed (`unknown_undo`) for one that this version does not know; else what the undo raises.

    What the stack does not have any more need not be healed.
    """
    act = UNDOS.get(left.undo.act)
    if act is None:
        raise Failed("unknown_undo", f"this version does not know how to undo {left.undo.act!r}")
    services = tuple(name for name in left.undo.services if name in context.stack.services)
    if services or not left.undo.services:
        act(context, replace(left.undo, services=services), Deadline(HEAL_TIMEOUT_S))
    journal.healed(left.number)
