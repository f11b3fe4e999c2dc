"""What the clients of a load write to: the registry through NGINX, Redis's master as the Sentinels name it, a bare pair."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from benchmarks.load import WriteRefused
from benchmarks.stack import PORT_OFFSET, STACK_FILE
from spokectl.stackfile import load_stack

API = f"http://127.0.0.1:{8080 + PORT_OFFSET}"
_STACK = load_stack("bench", [STACK_FILE], shell={}, env_file={})
# As long as spokectl's own client waits for an answer.
_API_TIMEOUT_S = 60.0
_SENTINEL_PORTS = (26379, 26380, 26381)
# The stack's SPOKE_SENTINEL_DOWN_AFTER_MS.
DOWN_AFTER_S = 2.0
_REDIS_GROUP, _REDIS_PASSWORD = "spoke-redis", "spoke-redis-password"
_REDIS_TIMEOUT_S = 2.0
# The library's own retries pause for a second and more, which would count as the stack's.
_NO_RETRY = Retry(NoBackoff(), 0)
_BARE_TIMEOUT_S = 2


class Registry:
    """Pushes versions of one module, each with content of its own. It repeats nothing: that is the stack's affair."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._http = httpx.Client(base_url=API, timeout=_API_TIMEOUT_S)
        self._http.post("/modules", json={"name": module, "description": "load"}).raise_for_status()

    def write(self, key: str) -> None:
        body = {"module_name": self._module, "version": key, "files": [{"path": "a.proto", "content": content_of(key)}]}
        answer = self._http.post(f"/modules/{self._module}/versions", json=body)
        if 400 <= answer.status_code < 500:
            raise WriteRefused(f"{answer.status_code} {answer.text}")
        answer.raise_for_status()

    def read(self, key: str) -> None:
        answer = self._http.get(f"/modules/{self._module}/versions/{key}").raise_for_status()
        if not _is_whole(answer.json()):
            raise ValueError(f"another content: {answer.text}")

    def close(self) -> None:
        self._http.close()


def pushed(module: str) -> list[str]:
    """The versions of a module that the registry has, with the content that they were pushed with."""
    answer = httpx.get(f"{API}/modules/{module}/versions", timeout=_API_TIMEOUT_S).raise_for_status()
    return [str(version["version"]) for version in answer.json() if _is_whole(version)]


def content_of(version: str) -> str:
    return f'syntax = "proto3";\n// {version}\nmessage Written {{\n}}\n'


def _is_whole(version: dict[str, Any]) -> bool:
    return [file["content"] for file in version["files"]] == [content_of(version["version"])]


class _Sentinels(Sentinel):
    def discover_master(self, service_name: str) -> tuple[str, int]:
        host, port = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        # In containers the Sentinels name a node by its service and own port.
        service = _STACK.services.get(host)
        return ("127.0.0.1", service.address(int(port))[1] + PORT_OFFSET) if service else (host, int(port))


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


class RedisMaster:
    """Sets keys in whichever node the Sentinels name as the master, as any client that follows them does."""

    def __init__(self) -> None:
        self._sentinels = _Sentinels(  # type: ignore[no-untyped-call]
            [("127.0.0.1", port + PORT_OFFSET) for port in _SENTINEL_PORTS], socket_timeout=_REDIS_TIMEOUT_S, retry=_NO_RETRY
        )
        self._client = self._sentinels.master_for(  # type: ignore[no-untyped-call]
            _REDIS_GROUP,
            password=_REDIS_PASSWORD,
            socket_timeout=_REDIS_TIMEOUT_S,
            retry=_NO_RETRY,
            decode_responses=True,
        )

    def write(self, key: str) -> None:
        if not self._client.set(key, key):
            raise WriteRefused(key)

    def read(self, key: str) -> None:
        if self._client.get(key) != key:
            raise ValueError("it is not there")

    def close(self) -> None:
        self._client.close()
        for sentinel in self._sentinels.sentinels:
            sentinel.close()

    def kept(self, keys: list[str]) -> list[str]:
        """Those of the keys that the master has now."""
        return [key for key, value in zip(keys, self._client.mget(keys), strict=True) if value == key]


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
            raise ValueError("it is not there")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
