"""Many lookups of one event loop, few queries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Batch(Generic[K, V]):
    """Answers lookups that come while a query runs with the one query after it.

    Every answer comes from a query that began after its lookup, so a client that has seen its write acknowledged finds
    it; an idle server answers at once, a busy one asks for many keys at a time.
    """

    def __init__(self, load: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._load = load
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._runner: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """The value of the key, None when there is none; raises what the query raised."""
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._runner is None:
                self._runner = asyncio.create_task(self._run())
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                try:
                    found = await self._load(list(batch))
                except Exception as error:  # noqa: BLE001 - it is handed to everyone who waits
                    for future in batch.values():
                        future.set_exception(error)
                        # A waiter that went away must not leave a warning behind.
                        future.exception()
                else:
                    for key, future in batch.items():
                        future.set_result(found.get(key))
        finally:
            self._runner = None
