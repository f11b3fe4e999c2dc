"""PostgreSQL as the server sees it: which node is the primary, connections to it, and what survives a failover.

One task watches: it asks all hosts of the URL at once for one that takes writes, brings its schema up to date, and opens
a pool to that host alone. The first error that smells of a lost primary drops that whole pool, so a connection to a
demoted or frozen node is never used twice, and the watch begins again. Reads turn to a standby meanwhile, writes wait.

No statement time-out is set: cancelling a COMMIT that waits for its synchronous standby would make PostgreSQL report
success for a transaction that no standby has. An attempt that takes too long is abandoned with its connection instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from spoke_server.errors import ApiError, unavailable
from spoke_server.settings import Settings
from spoke_server.storage.migrate import migrate

logger = logging.getLogger(__name__)

Connection: TypeAlias = psycopg.AsyncConnection[Any]
Pool: TypeAlias = AsyncConnectionPool[Connection]
T = TypeVar("T")
Work: TypeAlias = Callable[[Connection], Awaitable[T]]

CONNECT_TIMEOUT_S = 2
READ_ATTEMPT_S = 2.0
# Longer than the 5 s after which the primary stops waiting for a lost standby, so that such a COMMIT still ends well.
WRITE_ATTEMPT_S = 7.0
PAUSE_S = 0.1
STANDBY_CONNECTIONS = 5

LATE_WRITE = "SP001"
# The server goes down, starts up, is not the primary (any more) or has lost the schema: find the primary again.
_NODE_TROUBLE = ("08", "57P", "25006", "25P03", "42P01", "3D000", "28")
# The server is fine and says to try again: conflicts, locks, resources, cancelled statements.
_TRY_AGAIN = ("40", "55P03", "53", "58", "57014")


class Primary(NamedTuple):
    """The node that takes writes. Reads have connections of their own: writes may all be waiting for a standby."""

    writes: Pool
    reads: Pool


class TryAgain(Exception):
    """A transaction found what another one is just changing; running it again will find it settled."""


class AttemptTimeout(Exception):
    """An attempt took too long; whether it was applied is not known."""


class NoStandby(Exception):
    """No standby has replayed everything that it received."""


def is_node_trouble(error: BaseException) -> bool:
    """Whether the connection's node should not be used again."""
    if isinstance(error, AttemptTimeout):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_NODE_TROUBLE)


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is run again."""
    if isinstance(error, TryAgain | PoolTimeout | PoolClosed | TooManyRequests):
        return True
    if isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_TRY_AGAIN):
        return True
    return is_node_trouble(error)


class Postgres:
    """Runs reads and writes on whichever node is fit for them, through failovers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._candidates = _candidates(settings)
        self._primary: Primary | None = None
        self._standby: Pool | None = None
        self._finding_standby = asyncio.Lock()
        self._primary_found = asyncio.Event()
        self._look = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self.last_error = "not connected yet"
        self.retries = 0
        self.primary_changes = 0

    @property
    def has_primary(self) -> bool:
        """Whether a node that takes writes is connected."""
        return self._primary is not None

    def pool_statistics(self) -> dict[str, int]:
        """Connections in use and idle, and requests that wait for one."""
        every = [pool.get_stats() for pool in self._primary or ()]
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
        pools = [*(self._primary or ()), *([self._standby] if self._standby else [])]
        self._primary = self._standby = None
        for pool in pools:
            await pool.close(timeout=1)
        for task in set(self._background):
            task.cancel()

    async def ping(self) -> None:
        """Asks the primary for an answer; raises what went wrong."""
        if self._primary is None:
            raise unavailable("database_unavailable", self.last_error)
        await self._attempt(self._primary.reads, _select_one, READ_ATTEMPT_S)

    async def read(self, work: Work[T]) -> T:
        """Runs a read on the primary, or while there is none on a standby that has replayed all it received."""
        deadline = time.monotonic() + self._settings.postgres_timeout_s
        while True:
            if (primary := self._primary) is not None:
                try:
                    return await self._attempt(primary.reads, work, READ_ATTEMPT_S)
                except Exception as error:  # noqa: BLE001 - sorted in one place
                    self._after_failure(primary, error)
            elif (result := await self._read_from_standby(work)) is not None:
                return result[0]
            await self._pause(deadline - time.monotonic())

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
            raise unavailable("database_unavailable", f"no PostgreSQL primary answers: {self.last_error}")
        if self._primary is not None:
            await asyncio.sleep(min(PAUSE_S / 5, remaining_s))
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._primary_found.wait(), min(PAUSE_S, remaining_s))

    async def _attempt(self, pool: Pool, work: Work[T], timeout_s: float) -> T:
        begun_s: float | None = None

        async def run() -> T:
            nonlocal begun_s
            async with pool.connection(timeout=timeout_s) as connection:
                begun_s = time.monotonic()
                return await work(connection)

        task = asyncio.create_task(run())
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout_s)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if done:
            return task.result()
        self._abandon(task)
        if begun_s is None or time.monotonic() - begun_s < timeout_s / 2:
            # It mostly waited for a connection: too much is going on, which says nothing against the node.
            raise PoolTimeout(f"no connection was free within {timeout_s:.1f} s")
        raise AttemptTimeout(f"no answer within {timeout_s:.1f} s")

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Cancels the task without waiting: psycopg first tries to cancel the query on a node that may be frozen."""
        task.cancel()
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
            self.last_error = _one_line(error)
            logger.warning("lost the PostgreSQL primary: %s", self.last_error)
            self._primary = None
            self._primary_found.clear()
            for pool in primary:
                self._keep(asyncio.create_task(pool.close(timeout=0.1)))
        self._look.set()

    # -- finding nodes ---------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            while not await self._primary_is_usable():
                await asyncio.sleep(PAUSE_S)

    async def _primary_is_usable(self) -> bool:
        primary = self._primary
        try:
            conninfo, connection = await self._find("read-write")
            async with connection:
                await migrate(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the watch goes on
            reason = _one_line(error)
            if primary is not None:
                self._lose(primary, error)
            elif reason != self.last_error:
                logger.warning("no PostgreSQL primary: %s", reason)
            self.last_error = reason
            return False
        if self._primary is None:
            least, most = self._settings.postgres_min_connections, self._settings.postgres_max_connections
            for_reads = max(1, most // 4)
            self._primary = Primary(
                await self._open(conninfo, least - least // 2, max(1, most - for_reads)),
                await self._open(conninfo, least // 2, for_reads),
            )
            self._primary_found.set()
            self.primary_changes += 1
            address = conninfo_to_dict(conninfo)
            logger.info("PostgreSQL primary is %s:%s", address.get("host"), address.get("port"))
        return True

    async def _find(self, role: str) -> tuple[str, Connection]:
        """Connects to all hosts at once; the first that has the role wins (libpq's target_session_attrs)."""
        pending = {
            asyncio.create_task(
                psycopg.AsyncConnection.connect(f"{info} target_session_attrs={role}", autocommit=True)
            ): info
            for info in self._candidates
        }
        hosts = dict(pending)
        errors: list[str] = []
        waiting = set(pending)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if (error := task.exception()) is None:
                        del pending[task]
                        return hosts[task], task.result()
                    errors.append(_one_line(error))
        finally:
            for task in pending:
                task.add_done_callback(_close_unwanted)
                task.cancel()
        raise psycopg.OperationalError("; ".join(dict.fromkeys(errors)))

    async def _open(self, conninfo: str, min_size: int, max_size: int) -> Pool:
        pool: Pool = AsyncConnectionPool(
            conninfo,
            kwargs={"autocommit": True},
            min_size=min(min_size, max_size),
            max_size=max_size,
            open=False,
            timeout=READ_ATTEMPT_S,
            reconnect_timeout=0,
            max_idle=300,
            num_workers=1,
        )
        await pool.open()
        return pool

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
                    conninfo, connection = await self._find("standby")
                    await connection.close()
                    pool = self._standby = await self._open(conninfo, 0, STANDBY_CONNECTIONS)
            return (await self._attempt(pool, caught_up, READ_ATTEMPT_S),)
        except Exception as error:
            if not isinstance(error, NoStandby) and not is_transient(error):
                raise
            if pool is not None and self._standby is pool:
                self._standby = None
                self._keep(asyncio.create_task(pool.close(timeout=0.1)))
            return None


def _candidates(settings: Settings) -> list[str]:
    """One connection string a host of the URL."""
    try:
        given = conninfo_to_dict(settings.postgres_url)
    except psycopg.ProgrammingError as error:
        raise ValueError(f"SPOKE_POSTGRES_URL: {_one_line(error)}") from None
    hosts = str(given.pop("host", "localhost")).split(",")
    ports = str(given.pop("port", "5432")).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    given.pop("target_session_attrs", None)
    if settings.postgres_password:
        given["password"] = settings.postgres_password
    # A client that stops in the middle of a transaction must not keep its locks.
    limits = "-c idle_in_transaction_session_timeout=5s -c lock_timeout=5s"
    given["options"] = f"{given.get('options', '')} {limits}".strip()
    given.setdefault("connect_timeout", CONNECT_TIMEOUT_S)
    given.setdefault("application_name", settings.node)
    # A peer whose network is cut is noticed within seconds, not after the kernel's quarter of an hour.
    network = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 5000}
    given.update({key: value for key, value in network.items() if key not in given})
    return [make_conninfo("", **given, host=host, port=port) for host, port in zip(hosts, ports, strict=True)]


async def _select_one(connection: Connection) -> None:
    await connection.execute("SELECT 1")


def _close_unwanted(task: asyncio.Task[Connection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().pgconn.finish()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
