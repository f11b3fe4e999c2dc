"""What guards and Sentinels did during a trial by themselves, as moments of its timeline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from spokectl.drills.evidence import Mark, Moment
from spokectl.drills.figures import POSTGRES, REDIS
from spokectl.errors import SpokectlError
from spokectl.operations.context import Context
from spokectl.operations.event_lines import Event
from spokectl.operations.events import of_servers

_DATABASES = {"guard": POSTGRES, "sentinel": REDIS}
_GUARDS_MARKS = {"degraded": Mark.DETECTED, "new primary": Mark.PROMOTED, "synchronous": Mark.REJOINED}


@dataclass(frozen=True)
class Operation:
    """When a command of the drill moved the role of a database (`postgres`, `redis`): its own steps tell of that time."""

    database: str
    began_s: float
    ended_s: float


def told(context: Context, since_s: float) -> list[Event]:
    """What guards and Sentinels have logged since then; nothing when no log can be read."""
    try:
        return list(of_servers(context, datetime.fromtimestamp(since_s, UTC)))
    except SpokectlError:
        return []


def with_their_moments(moments: Sequence[Moment], events: Iterable[Event], operations: Sequence[Operation]) -> list[Moment]:
    """The timeline with what the events add to it, by time. Pure.

    Three Sentinels say the same thing, and a script may have looked itself: of moments of one mark and one service that no
    other moment of that database lies between, the first is enough.
    """
    reader = _Reader()
    theirs = [reader.read(event) for event in sorted(events, key=lambda each: each.time) if not _is_ours(event, operations)]
    whole = sorted([*moments, *(each for each in theirs if each)], key=lambda each: each.at_s)
    kept: list[Moment] = []
    for moment in whole:
        if moment not in theirs or not _is_said(moment, kept):
            kept.append(moment)
    return kept


class _Reader:
    """Which moment an event is, after all events before it."""

    def __init__(self) -> None:
        self._lost: set[str] = set()

    def read(self, event: Event) -> Moment | None:
        if event.source == "guard":
            mark = _GUARDS_MARKS.get(event.what)
        elif event.what == "+odown":
            mark = Mark.DETECTED
        elif event.what == "+switch-master":
            mark = Mark.PROMOTED
            self._lost.add(event.why.rpartition(" ")[2])
        elif event.target in self._lost and event.what in {"-sdown", "+convert-to-slave"}:
            mark = Mark.REJOINED
        else:
            return None
        if mark is None:
            return None
        subject = event.who.removeprefix("guard of ") if event.source == "guard" else event.target
        return Moment(event.time.timestamp(), mark, f"{event.who}: {event.what}: {event.why}", subject)


def _is_ours(event: Event, operations: Sequence[Operation]) -> bool:
    at_s = event.time.timestamp()
    database = _DATABASES.get(event.source)
    return any(each.database == database and each.began_s <= at_s <= each.ended_s for each in operations)


def _is_said(moment: Moment, before: Sequence[Moment]) -> bool:
    """Whether the last of these marks about this service is the same one."""
    marks = {Mark.DETECTED, Mark.PROMOTED, Mark.REJOINED, Mark.FAULT}
    about = [each for each in before if each.mark in marks and moment.subject in each.subject.split(", ")]
    return bool(about) and about[-1].mark is moment.mark
