"""Version bytes in Redis, shared by all instances: found through Sentinel, never trusted, never waited for.

Whoever reads from here compares the digest with PostgreSQL's, so a stale, foreign or damaged value is only a miss. Any
trouble is a miss too. Connecting happens beside the requests: no request pays for finding the master.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from spoke_server.cache import Breaker
from spoke_server.settings import RedisSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger(__name__)

OPERATION_TIMEOUT_S = 0.15
CONNECT_TIMEOUT_S = 1.0
TIME_TO_LIVE_S = 3600
# Once on the node that was the master, once on the one that is.
TRIES_TO_KEEP = 2
MASTER = (b"master", "master")
# A value that takes longer to move than the time-out allows would only open the breaker.
MAX_VALUE_BYTES = 2 << 20
T = TypeVar("T")


def cache_key(module: str, version: str) -> str:
    """The key that upstream uses as well."""
    return f"version:{module}:{version}"


class NoMaster(Exception):
    """No Sentinel names a master that calls itself one."""


class SharedCache:
    """Gets, puts and forgets; nothing here raises."""

    def __init__(self, settings: RedisSettings, *, enabled: bool = True, breaker: Breaker | None = None) -> None:
        self._settings = settings
        self._enabled = enabled and settings.configured
        self.breaker = breaker or Breaker()
        self._client: Redis | None = None
        # More at once than there are connections would count as trouble of Redis.
        self._slots = asyncio.Semaphore(settings.pool_size)
        self._connecting: asyncio.Task[None] | None = None
        self.errors = 0
        self.last_error = "not connected yet"
        if self._enabled:
            # Importing takes long enough to be felt: before there are requests, not with the first one.
            importlib.import_module("redis.asyncio")

    async def get(self, module: str, version: str) -> bytes | None:
        """The bytes kept for a version, None when there are none or Redis does not answer in time."""
        client = self._ready_client()
        if client is None:
            return None
        return cast("bytes | None", await self._guarded(client, lambda: client.get(cache_key(module, version))))

    async def put(self, module: str, version: str, body: bytes) -> None:
        """Keeps the bytes for an hour. Nobody waits for it, so a master that has moved meanwhile is found first."""
        if len(body) > MAX_VALUE_BYTES:
            return
        for _ in range(TRIES_TO_KEEP):
            client = await self._found_client()
            if client is None:
                return
            keep = partial(client.set, cache_key(module, version), body, ex=TIME_TO_LIVE_S)
            if await self._guarded(client, keep):
                return

    async def forget(self, *versions: tuple[str, str]) -> None:
        """Deletes what is kept for these versions."""
        if versions and (client := self._ready_client()) is not None:
            await self._guarded(client, lambda: client.delete(*(cache_key(*version) for version in versions)))

    async def ping(self) -> None:
        """Asks the master for its role; raises what went wrong.

        A node that does not answer, or is master no more, is left for its successor, which an instance without requests
        would not look for else.
        """
        trouble: Exception | None = None
        for _ in range(TRIES_TO_KEEP):
            client = self._client or await self._found_client()
            if client is None:
                raise trouble or ConnectionError(self.last_error or "not connected yet")
            # Its connections are as many as there are slots: without one this would take the requests' for trouble.
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._slots.acquire()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    role: Any = await client.execute_command("ROLE")  # type: ignore[no-untyped-call]
                if role[0] in MASTER:
                    return
                trouble = NoMaster("the node that the Sentinels name says that it is no master")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
                trouble = error
            finally:
                self._slots.release()
            await self._give_up(client)
        assert trouble is not None  # noqa: S101 - each turn that ends here has set it
        raise trouble

    async def close(self) -> None:
        """Closes the connections."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._client is not None:
            await self._client.aclose()

    async def _found_client(self) -> Redis | None:
        """As `_ready_client`, but waits for a connection that is being made."""
        client = self._ready_client()
        if client is None and self._connecting is not None:
            await asyncio.wait({self._connecting}, timeout=CONNECT_TIMEOUT_S)
            client = self._client
        return client

    def _ready_client(self) -> Redis | None:
        if not self._enabled or self._connecting is not None:
            return None
        if not self.breaker.allow():
            return None
        if self._client is None:
            self._connecting = asyncio.create_task(self._connect())
        return self._client

    async def _guarded(self, client: Redis, operate: Callable[[], Awaitable[T]]) -> T | None:
        async with self._slots:
            if client is not self._client:
                # It was given up while this operation waited for a connection.
                return None
            try:
                async with asyncio.timeout(OPERATION_TIMEOUT_S):
                    result = await operate()
            except Exception as error:  # noqa: BLE001 - any trouble is a miss
                self._failed(error)
                if self.breaker.is_open or type(error).__name__ == "ReadOnlyError":
                    await self._give_up(client)
                return None
        self.breaker.succeeded()
        return result

    async def _give_up(self, client: Redis) -> None:
        """It may be another node's turn: the Sentinels are asked again."""
        if self._client is client:
            self._client = None
            await _close_quietly(client)

    def _failed(self, error: Exception) -> None:
        was_open = self.breaker.is_open
        self.errors += 1
        self.breaker.failed()
        self.last_error = f"{type(error).__name__}: {error}".rstrip(": ")
        if self.breaker.is_open and not was_open:
            logger.warning("going on without Redis: %s", self.last_error)

    async def _connect(self) -> None:
        try:
            self._client = await self._find_master()
        except Exception as error:  # noqa: BLE001 - any trouble is a miss
            self._failed(error)
        else:
            if self.breaker.is_open or self.last_error:
                logger.info("connected to Redis")
            self.last_error = ""
            self.breaker.succeeded()
        finally:
            self._connecting = None

    async def _find_master(self) -> Redis:
        """Connects to the node that the Sentinels call master, if it says so itself (Redis: Sentinel clients)."""
        import redis.asyncio

        options: dict[str, Any] = {
            "socket_timeout": CONNECT_TIMEOUT_S,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "retry": None,
            "protocol": 2,
            # Else each connection begins with two more round trips, to say which library this is.
            "driver_info": None,
        }
        shared = {"password": self._settings.password or None, "max_connections": self._settings.pool_size, **options}
        if not self._settings.sentinels:
            client = redis.asyncio.Redis.from_url(self._settings.url, **_without_empty(shared))
            return await self._verified(client)
        reasons = []
        for host, port in self._settings.sentinels:
            sentinel = redis.asyncio.Redis(host=host, port=port, **options)
            try:
                address: Any = await sentinel.sentinel_get_master_addr_by_name(self._settings.master_name)
                master, master_port = address or ("nobody", 0)
                name = master.decode() if isinstance(master, bytes) else master
                client = redis.asyncio.Redis(host=name, port=int(master_port), db=self._settings.database, **shared)
                return await self._verified(client)
            except Exception as error:  # noqa: BLE001 - the next Sentinel is asked
                reasons.append(f"{host}:{port}: {error}")
            finally:
                await _close_quietly(sentinel)
        raise NoMaster("; ".join(reasons))

    async def _verified(self, client: Redis) -> Redis:
        role: Any = None
        try:
            role = await client.execute_command("ROLE")  # type: ignore[no-untyped-call]
        finally:
            if role is None or role[0] not in MASTER:
                await _close_quietly(client)
        if role[0] not in MASTER:
            raise NoMaster(f"a node that should be master says it is {role[0]!r}")
        return client


def _without_empty(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


async def _close_quietly(client: Redis) -> None:
    try:
        await client.aclose()
    except Exception as error:  # noqa: BLE001 - it is being thrown away
        logger.debug("closing a Redis connection: %s", error)
