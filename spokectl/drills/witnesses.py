"""What guards and Sentinels did during a trial by themselves, as moments of its timeline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from spokectl.drills.evidence import Mark, Moment
from spokectl.drills.figures import POSTGRES, REDIS
from spokectl.model import Kind
from spokectl.operations.context import Context
from spokectl.operations.event_lines import Event, without_unfounded_returns
from spokectl.operations.events import of_servers

_DATABASES = {"guard": POSTGRES, "sentinel": REDIS}
_MODES = frozenset({"degraded", "synchronous"})
_GUARDS_MARKS = {"degraded": Mark.DETECTED, "new primary": Mark.PROMOTED, "synchronous": Mark.REJOINED}


@dataclass(frozen=True)
class Operation:
    """When a command of the drill moved the role of a database (`postgres`, `redis`): its own steps tell of that time."""

    database: str
    began_s: float
    ended_s: float


def told(context: Context, since_s: float) -> list[Event]:
    """What guards and Sentinels have logged since then, by time; nothing when the logs cannot be read."""
    try:
        events = sorted(of_servers(context, datetime.fromtimestamp(since_s, UTC)), key=lambda each: each.time)
    except Exception:  # noqa: BLE001 - whatever an engine answers, a trial is judged by what its clients saw
        return []
    nodes = [node.name for node in context.stack.of_kind(Kind.POSTGRES)]
    return [_of_the_standby(event, nodes) for event in without_unfounded_returns(events)]


def _of_the_standby(event: Event, nodes: Sequence[str]) -> Event:
    """The same event; what a guard says of the cluster's mode is about its standby: gone, or back."""
    other = [node for node in nodes if event.who != f"guard of {node}"]
    return replace(event, target=other[0]) if event.what in _MODES and len(other) == 1 else event


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
            self._lost.discard(event.target)
        elif event.target in self._lost and event.what in {"-sdown", "+convert-to-slave"}:
            mark = Mark.REJOINED
        else:
            return None
        if mark is None:
            return None
        return Moment(event.time.timestamp(), mark, f"{event.who}: {event.what}: {event.why}", event.target)


def _is_ours(event: Event, operations: Sequence[Operation]) -> bool:
    at_s = event.time.timestamp()
    database = _DATABASES.get(event.source)
    return any(each.database == database and each.began_s <= at_s <= each.ended_s for each in operations)


def _is_said(moment: Moment, before: Sequence[Moment]) -> bool:
    """Whether the last of these marks about this service is the same one."""
    marks = {Mark.DETECTED, Mark.PROMOTED, Mark.REJOINED, Mark.FAULT}
    about = [each for each in before if each.mark in marks and moment.subject in each.subject.split(", ")]
    return bool(about) and about[-1].mark is moment.mark
