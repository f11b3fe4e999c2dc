"""What the clients of a load write to beside the registry: Redis's master as the Sentinels name it, a bare pair."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import redis

from benchmarks.stack import PORT_OFFSET, STACK_FILE
from spokectl.clients.writers import Absent, RedisWriter
from spokectl.model import Kind
from spokectl.stackfile import load_stack

CLIENTS = 4
API = f"http://127.0.0.1:{8080 + PORT_OFFSET}"
_STACK = load_stack("bench", [STACK_FILE], shell={}, env_file={})
_SENTINEL_PORTS = (26379, 26380, 26381)
# The stack's SPOKE_SENTINEL_DOWN_AFTER_MS.
DOWN_AFTER_S = 2.0
_REDIS_GROUP, _REDIS_PASSWORD = "spoke-redis", "spoke-redis-password"
_REDIS_TIMEOUT_S = 2.0
_KEYS_LIVE_S = 3600.0
_BARE_TIMEOUT_S = 2


@contextmanager
def patient_sentinels() -> Iterator[None]:
    """Meanwhile the Sentinels do not miss a master by themselves, so that what moves it is a command alone."""
    sentinels = [redis.Redis(port=port + PORT_OFFSET, socket_timeout=_REDIS_TIMEOUT_S) for port in _SENTINEL_PORTS]

    def tell(down_after_ms: int) -> None:
        for sentinel in sentinels:
            sentinel.execute_command("SENTINEL", "SET", _REDIS_GROUP, "down-after-milliseconds", down_after_ms)  # type: ignore[no-untyped-call]

    tell(60_000)
    try:
        yield
    finally:
        tell(round(DOWN_AFTER_S * 1000))
        for sentinel in sentinels:
            sentinel.close()


def redis_writer() -> RedisWriter:
    """Sets keys in whichever node the Sentinels name as the master."""
    # In containers the Sentinels name a node by its service and own port.
    published = {
        (node.name, port.target): ("127.0.0.1", port.published + PORT_OFFSET)
        for node in _STACK.of_kind(Kind.REDIS)
        for port in node.ports
    }
    sentinels = [("127.0.0.1", port + PORT_OFFSET) for port in _SENTINEL_PORTS]
    return RedisWriter(sentinels, _REDIS_GROUP, _REDIS_PASSWORD, published, _KEYS_LIVE_S)


class BareServers:
    """Inserts rows into whichever of two PostgreSQL servers takes writes."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: psycopg.Connection | None = None

    def write(self, key: str) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=_BARE_TIMEOUT_S)
        self._connection.execute("INSERT INTO load VALUES (%s)", [key])

    def read(self, key: str) -> None:
        assert self._connection is not None
        if self._connection.execute("SELECT FROM load WHERE key = %s", [key]).fetchone() is None:
            raise Absent(key)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
