"""Names of hosts to addresses, so that a name that no name server answers for holds up nothing but itself.

A container that is gone has no name in Docker's own name service, which then asks the machine's: one that is slow or
cut off keeps such a lookup for ten seconds. Two of them fill the threads that the event loop does lookups in, and names
that are known wait behind them. So each name here has a thread of its own while it is looked up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from threading import Thread
from typing import TypeAlias

Lookup: TypeAlias = Callable[[str], Sequence[str]]


def look_up(host: str) -> Sequence[str]:
    """The host's addresses, in the system's order of preference."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))


class Addresses:
    """Looks names up, each once at a time however many wait for it."""

    def __init__(self, lookup: Lookup = look_up) -> None:
        self._lookup = lookup
        self._under_way: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def of(self, host: str, timeout_s: float) -> Sequence[str]:
        """The host's addresses. OSError when it has none, or when none is known in time."""
        answer = self._under_way.get(host)
        if answer is None:
            answer = self._under_way[host] = self._begin(host)
        done, _ = await asyncio.wait({answer}, timeout=timeout_s)
        if done:
            return answer.result()
        # The name may be known by now, which a lookup that began before will not notice: the next one begins anew.
        self._forget(host, answer)
        raise OSError(f"no name server has said within {timeout_s:g} s where it is")

    def _begin(self, host: str) -> asyncio.Future[Sequence[str]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(found: Sequence[str], error: OSError | None) -> None:
            self._forget(host, answer)
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)
                answer.exception()  # perhaps nobody waits for it any more

        def run() -> None:
            found: Sequence[str] = ()
            failure = None
            try:
                found = self._lookup(host)
            except (OSError, UnicodeError) as error:
                failure = OSError(f"its name is not known: {error}")
            with contextlib.suppress(RuntimeError):  # the event loop has ended meanwhile
                loop.call_soon_threadsafe(settle, found, failure)

        # Nobody waits for it at the end of the process.
        Thread(target=run, name=f"lookup of {host}", daemon=True).start()
        return answer

    def _forget(self, host: str, answer: asyncio.Future[Sequence[str]]) -> None:
        if self._under_way.get(host) is answer:
            del self._under_way[host]
