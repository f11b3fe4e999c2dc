"""PostgreSQL as the server sees it: which node is the primary, connections to it, and what survives a failover.

One task watches: it asks all hosts of the URL at once for one that takes writes, brings its schema up to date, and opens
a pool to that host alone. The first error that smells of a lost primary drops that whole pool, so a connection to a
demoted or frozen node is never used twice, and the watch begins again. Reads turn to a standby meanwhile, writes wait,
and pools to that standby are opened already, for the moment of its promotion.

No statement time-out is set: cancelling a COMMIT that waits for its synchronous standby would make PostgreSQL report
success for a transaction that no standby has. An attempt that takes too long is abandoned with its connection instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import psycopg
from psycopg_pool import PoolTimeout

from spoke_server.errors import ApiError, unavailable
from spoke_server.settings import Settings
from spoke_server.storage.addresses import Addresses
from spoke_server.storage.heir import Heir
from spoke_server.storage.migrate import migrate
from spoke_server.storage.nodes import (
    Connection,
    NobodyAnswers,
    Node,
    candidates,
    find,
    hang_up,
    in_few_words,
    spare_connections,
)
from spoke_server.storage.pools import Pool, open_pool, open_pools
from spoke_server.storage.trouble import LATE_WRITE, AttemptTimeout, NoStandby, is_node_trouble, is_transient

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work: TypeAlias = Callable[[Connection], Awaitable[T]]

READ_ATTEMPT_S = 2.0
# Longer than the 5 s after which the primary stops waiting for a lost standby, so that such a COMMIT still ends well.
WRITE_ATTEMPT_S = 7.0
# An attempt that had less time than this does not mean that the node is lost.
BLAMED_AFTER_S = 1.0
PAUSE_S = 0.1
LOG_EVERY_S = 5.0
STANDBY_CONNECTIONS = 5


class Primary(NamedTuple):
    """The node that takes writes. Reads have connections of their own: writes may all be waiting for a standby."""

    writes: Pool
    reads: Pool
    node: Node

    @property
    def pools(self) -> tuple[Pool, ...]:
        """Both kinds of connections."""
        return self.writes, self.reads


class Postgres:
    """Runs reads and writes on whichever node is fit for them, through failovers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._nodes = candidates(settings)
        self._addresses = Addresses()
        self._primary: Primary | None = None
        self._standby: Pool | None = None
        self._finding_standby = asyncio.Lock()
        self._primary_found = asyncio.Event()
        self._look = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._heir: Heir | None = None
        self._promotion: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self.last_error = "not connected to PostgreSQL yet"
        self._logged, self._log_again_s = "", 0.0
        self.retries = 0
        self.primary_changes = 0

    @property
    def has_primary(self) -> bool:
        """Whether a node that takes writes is connected."""
        return self._primary is not None

    @property
    def _primary_pools(self) -> tuple[Pool, ...]:
        return () if self._primary is None else self._primary.pools

    def pool_statistics(self) -> dict[str, int]:
        """Connections in use and idle, and requests that wait for one."""
        every = [pool.get_stats() for pool in self._primary_pools]
        size, idle, waiting = (
            sum(stats.get(key, 0) for stats in every) for key in ("pool_size", "pool_available", "requests_waiting")
        )
        return {"active": size - idle, "idle": idle, "waiting": waiting}

    async def start(self) -> None:
        """Begins to look for the primary; returns at once."""
        self._look.set()
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Closes all connections."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        self._drop_heir()
        pools = [*self._primary_pools, *([self._standby] if self._standby else [])]
        self._primary = self._standby = None
        for pool in pools:
            await pool.close(timeout=1)
        for task in set(self._background):
            task.cancel()

    async def ping(self) -> None:
        """Asks the primary for an answer; raises what went wrong, and has the primary looked for if it is lost."""
        if (primary := self._primary) is None:
            raise unavailable("database_unavailable", self.last_error)
        try:
            await self._attempt(primary.reads, _select_one, READ_ATTEMPT_S)
        except Exception as error:  # noqa: BLE001 - sorted in one place
            self._after_failure(primary, error)
            raise unavailable("database_unavailable", in_few_words(error)) from None

    async def read(self, work: Work[T]) -> T:
        """Runs a read on the primary, or while there is none on a standby that has replayed all it received."""
        try:
            async with asyncio.timeout(self._settings.postgres_timeout_s):
                while True:
                    if (primary := self._primary) is not None:
                        try:
                            return await self._attempt(primary.reads, work, READ_ATTEMPT_S)
                        except Exception as error:  # noqa: BLE001 - sorted in one place
                            self._after_failure(primary, error)
                    elif (result := await self._read_from_standby(work)) is not None:
                        return result[0]
                    await self._pause(PAUSE_S)
        except TimeoutError:
            raise self._out_of_time() from None

    async def on_primary(self, deadline: float, work: Work[T]) -> T:
        """Runs a read on the primary, again until the deadline (seconds since 1970) when the primary is lost."""
        while True:
            if (primary := self._primary) is not None:
                timeout_s = min(WRITE_ATTEMPT_S, max(0.1, deadline - time.time()))
                try:
                    return await self._attempt(primary.writes, work, timeout_s)
                except Exception as error:  # noqa: BLE001 - sorted in one place
                    self._after_failure(primary, error)
            await self._pause(deadline - time.time())

    async def write(self, deadline: float, work: Work[T]) -> T:
        """Runs a transaction, again until the deadline (seconds since 1970) when the primary is lost under it.

        `work` must be repeatable: a COMMIT whose answer was lost may have been applied. The server refuses to commit
        after the deadline, by its own clock.
        """

        async def transaction(connection: Connection) -> T:
            async with connection.transaction():
                await connection.execute(
                    "SELECT set_config('spoke.write_deadline', %s, true)", (f"{deadline:.3f}",), prepare=True
                )
                return await work(connection)

        return await self.on_primary(deadline, transaction)

    def _after_failure(self, primary: Primary, error: Exception) -> None:
        """Draws the conclusions from a failed attempt; raises what must not be tried again."""
        if isinstance(error, ApiError):
            raise error
        if isinstance(error, psycopg.Error) and error.sqlstate == LATE_WRITE:
            raise unavailable("request_expired", "the write is older than the retry budget and was not applied")
        if not is_transient(error):
            raise error
        self.retries += 1
        if is_node_trouble(error):
            self._lose(primary, error)
        elif isinstance(error, PoolTimeout):
            self._look.set()

    async def _pause(self, remaining_s: float) -> None:
        """Waits for the primary or a moment; raises when no time is left."""
        if remaining_s <= 0:
            raise self._out_of_time()
        if self._primary is not None:
            await asyncio.sleep(min(PAUSE_S / 5, remaining_s))
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._primary_found.wait(), min(PAUSE_S, remaining_s))

    def _out_of_time(self) -> ApiError:
        reason = self.last_error if self._primary is None else "PostgreSQL did not finish in time"
        return unavailable("database_unavailable", reason)

    async def _attempt(self, pool: Pool, work: Work[T], timeout_s: float) -> T:
        begun_s: float | None = None
        in_use: Connection | None = None

        async def run() -> T:
            nonlocal begun_s, in_use
            async with pool.connection(timeout=timeout_s) as connection:
                begun_s, in_use = time.monotonic(), connection
                try:
                    return await work(connection)
                finally:
                    in_use = None

        task = asyncio.create_task(run())
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout_s)
        except asyncio.CancelledError:
            self._abandon(task, in_use)
            raise
        if done:
            return task.result()
        self._abandon(task, in_use)
        if begun_s is None or time.monotonic() - begun_s < max(timeout_s / 2, BLAMED_AFTER_S):
            # It mostly waited for a connection, or had hardly any time: that says nothing against the node.
            raise PoolTimeout(f"not done within {timeout_s:.1f} s")
        raise AttemptTimeout(f"no answer within {timeout_s:.1f} s")

    def _abandon(self, task: asyncio.Task[Any], connection: Connection | None) -> None:
        """Ends an attempt without waiting for its end: its node may be frozen."""
        if connection is None:
            task.cancel()
        else:
            hang_up(connection)
        self._keep(task)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        def forget(finished: asyncio.Task[Any]) -> None:
            self._background.discard(finished)
            if not finished.cancelled():
                finished.exception()

        self._background.add(task)
        task.add_done_callback(forget)

    def _lose(self, primary: Primary, error: BaseException) -> None:
        """Drops the primary's pools, unless another has taken its place already."""
        if self._primary is primary:
            self.last_error = f"lost the PostgreSQL primary: {in_few_words(error)}"
            logger.warning("%s", self.last_error)
            self._primary = None
            self._primary_found.clear()
            self._give_up(primary.pools)
        self._look.set()

    def _give_up(self, pools: Iterable[Pool]) -> None:
        for pool in pools:
            self._keep(asyncio.create_task(pool.close(timeout=0.1)))

    # -- finding nodes ---------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            while not await self._primary_is_usable():
                await self._await_promotion()
            self._drop_heir()

    async def _primary_is_usable(self) -> bool:
        try:
            node, connection = await self._find_primary()
            async with connection:
                await migrate(connection)
                if self._primary is None:
                    await self._warn_of_too_few_connections(node, connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the watch goes on
            if self._primary is not None and isinstance(error, NobodyAnswers) and self._primary.node.address in error.full:
                # It is there and has no connection to spare: those that it gave are good.
                self._log_at_times(f"PostgreSQL gives no further connection ({error})")
                return True
            if self._primary is not None:
                self._lose(self._primary, error)
            if self._heir is not None and self._heir.is_primary:
                self._drop_heir()
            reason = str(error) if isinstance(error, NobodyAnswers) else in_few_words(error)
            self.last_error = f"no PostgreSQL primary answers ({reason})"
            self._log_at_times(self.last_error)
            return False
        if self._primary is not None and self._primary.node != node:
            self._lose(self._primary, psycopg.OperationalError(f"{node.address} is it by now"))
        if self._primary is None:
            self._primary = Primary(*(self._inherited(node) or await open_pools(self._settings, node)), node)
            self._primary_found.set()
            self.primary_changes += 1
            self._logged = ""
            logger.info("PostgreSQL primary is %s", node.address)
        return True

    async def _find_primary(self) -> tuple[Node, Connection]:
        """A node that takes writes, or the heir as soon as it does: that does not wait for another that hangs."""
        standby = self._heir.node if self._heir is not None else None
        search = asyncio.create_task(find(self._nodes, "read-write", self._addresses, standby=standby))
        try:
            await asyncio.wait({search, self._promotion or search}, return_when=asyncio.FIRST_COMPLETED)
            if (heir := self._heir) is not None and heir.is_primary and not search.done():
                return heir.node, heir.connection
            return await search
        finally:
            search.cancel()

    async def _await_promotion(self) -> None:
        """Waits a moment, or until the heir takes writes; there is one as soon as a standby answers."""
        if self._promotion is None:
            self._promotion = asyncio.create_task(self._prepare_heir())
        done, _ = await asyncio.wait({self._promotion}, timeout=PAUSE_S)
        if done and (self._heir is None or not self._heir.is_primary):
            self._drop_heir()
            await asyncio.sleep(PAUSE_S)

    async def _prepare_heir(self) -> None:
        found, connection = await find(self._nodes, "standby", self._addresses)
        standby = next(node for node in self._nodes if node.address == found.address)
        self._heir = Heir(standby, connection)
        await self._heir.prepare(self._settings)

    def _inherited(self, node: Node) -> tuple[Pool, Pool] | None:
        """The heir's pools, where it is the heir that has become primary."""
        heir = self._heir
        if heir is None or not heir.is_primary or heir.node != node:
            return None
        pools, heir.pools = heir.pools, None
        return pools

    def _drop_heir(self) -> None:
        if self._promotion is not None:
            self._promotion.cancel()
            self._keep(self._promotion)
        if self._heir is not None:
            hang_up(self._heir.connection)
            if self._heir.pools is not None:
                self._give_up(self._heir.pools)
        self._heir = self._promotion = None

    async def _warn_of_too_few_connections(self, node: Node, connection: Connection) -> None:
        wanted, given = self._settings.postgres_max_connections, await spare_connections(connection)
        if wanted > given:
            logger.warning(
                "SPOKE_POSTGRES_MAX_CONNS is %d, and %s gives %d connections to all its clients together (max_connections): "
                "requests may wait for each other",
                wanted,
                node.address,
                given,
            )

    def _log_at_times(self, reason: str) -> None:
        """Logs a new reason, but not each that passes by while nodes stop and start."""
        now_s = time.monotonic()
        if reason != self._logged and (not self._logged or now_s >= self._log_again_s):
            logger.warning("%s", reason)
            self._logged, self._log_again_s = reason, now_s + LOG_EVERY_S

    # -- reads without a primary -----------------------------------------------------------------------------------

    async def _read_from_standby(self, work: Work[T]) -> tuple[T] | None:
        async def caught_up(connection: Connection) -> T:
            cursor = await connection.execute(
                "SELECT pg_is_in_recovery() AND pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn()"
            )
            if (await cursor.fetchone()) != (True,):
                raise NoStandby
            return await work(connection)

        pool = None
        try:
            async with self._finding_standby:
                if (pool := self._standby) is None:
                    node, connection = await find(self._nodes, "standby", self._addresses)
                    await connection.close()
                    pool = self._standby = await open_pool(node, 0, STANDBY_CONNECTIONS)
            return (await self._attempt(pool, caught_up, READ_ATTEMPT_S),)
        except Exception as error:
            if not isinstance(error, NoStandby) and not is_transient(error):
                raise
            if pool is not None and self._standby is pool:
                self._standby = None
                self._keep(asyncio.create_task(pool.close(timeout=0.1)))
            return None


async def _select_one(connection: Connection) -> None:
    await connection.execute("SELECT 1")
