"""Clients that are in the way of others: sessions that do nothing, requests that never end."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import psycopg

from spokectl.clients.postgres import Credentials, conninfo_of_primary

_TIMEOUT_S = 5.0
_HEAD = "POST /modules HTTP/1.1\r\nHost: drill\r\nContent-Type: application/json\r\n"
# The one has said only a part of its head, the other its head and the first byte of a body.
_STARTS = (_HEAD, _HEAD + "Content-Length: 1000\r\n\r\n{")


class IdleSessions:
    """As many sessions as the primary lets in, open until this is closed."""

    def __init__(self, nodes: Sequence[tuple[str, int]], credentials: Credentials, limit: int) -> None:
        self._conninfo = conninfo_of_primary(nodes, credentials)
        self._limit = limit
        self._open: list[psycopg.Connection[object]] = []

    def fill(self) -> str:
        """Opens sessions until one is refused, at most `limit`; gives the refusal, nothing where there was none."""
        while len(self._open) < self._limit:
            if refusal := self.refusal():
                return refusal
        return ""

    def refusal(self) -> str:
        """Opens one more session; what the server says when it does not let it in."""
        try:
            self._open.append(psycopg.connect(self._conninfo, autocommit=True))
        except psycopg.OperationalError as error:
            return " ".join(str(error).split())
        return ""

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        for session in self._open:
            with suppress(psycopg.Error):
                session.close()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class HalfRequests:
    """Connections that have each said the beginning of a request, and never say its end."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._open: list[socket.socket] = []

    def begin(self, count: int) -> None:
        """Opens `count` of them. OSError when the server takes no more."""
        for number in range(count):
            end = socket.create_connection(self._address, timeout=_TIMEOUT_S)
            self._open.append(end)
            end.sendall(_STARTS[number % len(_STARTS)].encode())
            end.setblocking(False)

    def still_open(self) -> int:
        """How many the server has not put an end to."""
        return sum(not _is_over(end) for end in self._open)

    def close(self) -> None:
        for end in self._open:
            end.close()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _is_over(end: socket.socket) -> bool:
    """Whether the other side has closed; an answer that comes first is read away."""
    try:
        while end.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
