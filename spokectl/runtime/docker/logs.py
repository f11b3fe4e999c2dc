"""Logs of containers as one stream of lines, oldest first, by the engine's own times."""

import heapq
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

from docker import APIClient
from docker.errors import APIError, NotFound

from spokectl.model import LogLine
from spokectl.runtime.docker.inspection import moment

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_LOOK_AGAIN_S = 0.5
# Lines that wait for a slow reader; with so many the engine is read no further, and keeps the rest.
MAX_WAITING = 1000


def read(client: APIClient, ids: Mapping[str, str], *, since: datetime | None, tail: int | None) -> Iterator[LogLine]:
    """The lines there are now. `ids`: the container of each service."""
    merged = heapq.merge(*(_lines(client, service, id_, since, tail) for service, id_ in ids.items()), key=_moment)
    yield from deque(merged, maxlen=tail) if tail is not None else merged


def follow(
    connect: Callable[[], APIClient],
    services: Iterable[str],
    find: Callable[[], Mapping[str, str]],
    *,
    since: datetime | None,
    tail: int | None,
) -> Iterator[LogLine]:
    """The lines there are, then new ones as they come, through restarts, until the caller stops.

    `find` gives the container of each service: a container may be made anew meanwhile. Each service is followed on a
    connection of its own. No line is dropped, however slow the caller is: what it has not asked for stays with the engine.
    """
    begun = datetime.now(UTC) if since is None else max(since, datetime.now(UTC))
    seen: dict[str, datetime] = {}
    with closing(connect()) as client:
        for line in read(client, find(), since=since, tail=tail):
            seen[line.service] = line.time or begun
            yield line
    lines: queue.Queue[LogLine] = queue.Queue(MAX_WAITING)
    over = Event()
    clients = []
    try:
        for service in services:
            clients.append(connect())
            start = seen[service] + timedelta(microseconds=1) if service in seen else begun
            Thread(target=_keep_following, args=(clients[-1], service, find, start, lines, over), daemon=True).start()
        while True:
            yield lines.get()
    finally:
        over.set()
        for client in clients:
            client.close()


def _keep_following(
    client: APIClient,
    service: str,
    find: Callable[[], Mapping[str, str]],
    since: datetime,
    lines: "queue.Queue[LogLine]",
    over: Event,
) -> None:
    """The engine ends a stream when its container stops: the next one begins where it ended."""
    while not over.is_set():
        try:
            id_ = find().get(service)
            for line in _lines(client, service, id_, since, None, follow=True) if id_ else ():
                _hand_over(line, lines, over)
                since = (line.time or since) + timedelta(microseconds=1)
        except (APIError, OSError, ValueError):
            # The container or the connection has gone; what comes next is found anew.
            if over.is_set():
                return
        over.wait(_LOOK_AGAIN_S)


def _hand_over(line: LogLine, lines: "queue.Queue[LogLine]", over: Event) -> None:
    """Waits until there is room for the line. Once nobody reads, it is let go: only its end ends a stream well."""
    while not over.is_set():
        with suppress(queue.Full):
            lines.put(line, timeout=_LOOK_AGAIN_S)
            return


def _lines(
    client: APIClient, service: str, id_: str, since: datetime | None, tail: int | None, *, follow: bool = False
) -> Iterator[LogLine]:
    try:
        chunks = client.logs(
            id_,
            stream=True,
            follow=follow,
            timestamps=True,
            since=since.timestamp() if since is not None else None,
            tail=tail if tail is not None else "all",
        )
        rest = b""
        for chunk in chunks:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield _line(service, line)
        if rest:
            yield _line(service, rest)
    except NotFound:
        return


def _line(service: str, raw: bytes) -> LogLine:
    stamp, _, text = raw.decode(errors="replace").rstrip("\r").partition(" ")
    try:
        return LogLine(service, moment(stamp), text)
    except ValueError:
        return LogLine(service, None, f"{stamp} {text}")


def _moment(line: LogLine) -> datetime:
    return line.time or _LONG_AGO
