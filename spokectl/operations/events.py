"""Who did what to the stack, why, and how it ended: the journal, the guards' moves and the Sentinels', merged by time."""

import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from spokectl.model import Kind, LogLine
from spokectl.operations.context import Context, open_context
from spokectl.operations.event_lines import (
    TO_TYPE,
    Event,
    of_journal,
    of_line,
    without_advice_during_moves,
    without_unfounded_returns,
)
from spokectl.operations.logs import moment
from spokectl.operations.redis.agreement import names_by_address
from spokectl.settings import for_stack

_KINDS = (Kind.POSTGRES, Kind.REDIS, Kind.SENTINEL)
_POLL_S = 0.2


def read(name: str, file: Path | None, *, since: str | None, follow: bool) -> Iterator[Event]:
    """Events, oldest first. With `follow` it goes on until the caller stops; an operation then shows its start and its end.

    Servers whose logs are gone, as those of removed containers, say nothing: the journal alone speaks then.
    """
    now = datetime.now(UTC)
    after = moment(since, now) if since is not None else None
    context = open_context(name, file)
    events = _past_and_future(context, after, now) if follow else _past(context, after)
    told = without_advice_during_moves(without_unfounded_returns(events), lambda: _operations(context))
    # Last: a move that had begun before still says what a guard's advice is worth.
    return (event for event in told if after is None or event.time >= after)


def _operations(context: Context) -> Iterator[Event]:
    return of_journal(context.journal.read(), alive=_is_alive)


def _past(context: Context, after: datetime | None) -> list[Event]:
    """All that the journal has, and what the logs have said since `after`."""
    return sorted([*_operations(context), *_of_logs(context, after, follow=False)], key=lambda each: each.time)


def of_servers(context: Context, since: datetime) -> Iterator[Event]:
    """What guards, Sentinels and Redis nodes have said since then, a service after the other as their logs come."""
    return _of_logs(context, since, follow=False)


def _is_alive(pid: int) -> bool:
    """Whether a process of this machine has the number: another one may have it by now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _of_logs(context: Context, after: datetime | None, *, follow: bool) -> Iterator[Event]:
    services = context.stack.services
    names = names_by_address(services.values())
    chosen = [name for name, service in services.items() if service.kind in _KINDS]
    for line in context.runtime.logs(chosen, since=after, tail=None, follow=follow):
        if event := _event(line, services[line.service].kind, names, after):
            yield _typed_for(context.stack.name, event)


def _typed_for(stack: str, event: Event) -> Event:
    """The same event; what a guard, who does not know the stack's name, says to type means this stack."""
    command = event.outcome.removeprefix(TO_TYPE)
    return event if command == event.outcome else replace(event, outcome=TO_TYPE + for_stack(stack, command))


def _event(line: LogLine, kind: Kind, names: dict[str, str], after: datetime | None) -> Event | None:
    event = of_line(line, kind, names)
    return event if event and (after is None or event.time >= after) else None


def _past_and_future(context: Context, after: datetime | None, now: datetime) -> Iterator[Event]:
    """What was until now, in its order; then what comes, as it is seen."""
    yield from (event for event in _past(context, after) if event.time < now)
    journal = of_journal(context.journal.follow(lambda: time.sleep(_POLL_S)), running=True)
    coming: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()

    def listen(events: Iterator[Event]) -> None:
        try:
            for event in events:
                coming.put(event)
        except Exception as error:  # noqa: BLE001 - it is raised where it is heard
            coming.put(error)

    for source in ((each for each in journal if each.time >= now), _of_logs(context, now, follow=True)):
        threading.Thread(target=listen, args=(source,), daemon=True).start()
    while True:
        event = coming.get()
        if isinstance(event, Exception):
            raise event
        yield event
