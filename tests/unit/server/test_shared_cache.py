"""A health check of Redis is a guest: it takes nothing from requests, and gives up only whom it has asked in vain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spoke_server.settings import RedisSettings
from spoke_server.storage.shared_cache import SharedCache

POOL = 2


class Client:
    """A connection pool of Redis as far as the cache knows it: more at once than it has is an error."""

    def __init__(self, answers: asyncio.Event | None = None, role: bytes = b"master") -> None:
        self._answers, self._role = answers, role
        self.in_use = 0
        self.closed = False

    async def _asked(self) -> None:
        if self.in_use == POOL:
            raise ConnectionError("too many connections")
        self.in_use += 1
        try:
            if self._answers is not None:
                await self._answers.wait()
        finally:
            self.in_use -= 1

    async def get(self, _: str) -> bytes:
        await self._asked()
        return b"value"

    async def execute_command(self, _: str) -> list[bytes]:
        await self._asked()
        return [self._role]

    async def aclose(self) -> None:
        self.closed = True


def cache_with(client: Client, successor: Client | None = None) -> SharedCache:
    cache = SharedCache(RedisSettings((), "spoke-redis", "redis://h:1", "", 0, POOL))
    cache._client = client  # type: ignore[assignment]

    async def find() -> Any:
        if successor is None:
            raise ConnectionError("nobody is there")
        return successor

    cache._find_master = find  # type: ignore[method-assign]
    return cache


def test_a_check_while_all_connections_are_in_use_waits_for_one_and_breaks_none() -> None:
    async def scenario() -> None:
        answers = asyncio.Event()
        client = Client(answers)
        cache = cache_with(client)
        reads = [asyncio.create_task(cache.get("m", f"v{number}")) for number in range(POOL)]
        while client.in_use < POOL:
            await asyncio.sleep(0)
        check = asyncio.create_task(cache.ping())
        await asyncio.sleep(0)
        answers.set()
        assert await asyncio.gather(*reads) == [b"value"] * POOL
        await check
        assert (cache.errors, client.closed) == (0, False)

    asyncio.run(scenario())


@pytest.mark.parametrize("lost", [Client(asyncio.Event()), Client(role=b"slave")], ids=["frozen", "master no more"])
def test_who_does_not_answer_or_is_master_no_more_is_left_for_its_successor(
    lost: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spoke_server.storage.shared_cache.CONNECT_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        cache = cache_with(lost, Client())
        await cache.ping()
        assert lost.closed

    asyncio.run(scenario())


def test_the_cause_is_told_where_there_is_no_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spoke_server.storage.shared_cache.CONNECT_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await cache_with(Client(asyncio.Event())).ping()

    asyncio.run(scenario())
