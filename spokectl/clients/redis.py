"""Redis and Sentinel over published ports: what a node says it is, and whether the Sentinels can act."""

import sys
from dataclasses import dataclass
from typing import Any

# The library measures itself by OpenTelemetry where that is installed: a third of its import, and nothing here asks for it.
_METRICS = "opentelemetry"
_hidden = _METRICS not in sys.modules
if _hidden:
    sys.modules[_METRICS] = None  # type: ignore[assignment]  # None makes an optional import fail

import redis  # noqa: E402
from redis.backoff import NoBackoff  # noqa: E402
from redis.retry import Retry  # noqa: E402

if _hidden:
    del sys.modules[_METRICS]

from spokectl.clients.redis_answers import fields, redis_facts, sentinel_facts, version  # noqa: E402
from spokectl.facts import RedisFacts, SentinelFacts  # noqa: E402

NO_RETRY = Retry(NoBackoff(), 0)
"""The library's own retries pause for a second and more."""


class RedisUnavailable(Exception):
    """The server did not answer, or answered with an error; the text says why in one line."""


@dataclass(frozen=True)
class RedisNode:
    """`role` is master or replica. For a replica `link` is Redis's word for it: connected, connect, connecting, sync."""

    role: str
    version: str
    facts: RedisFacts
    link: str = ""
    master: str = ""
    replicas: int = 0


@dataclass(frozen=True)
class SentinelView:
    """What one Sentinel believes: the master's address, and in `quorum` why it could not act (empty when it could)."""

    master: str
    quorum_problem: str
    version: str
    facts: SentinelFacts


def observe_redis(host: str, port: int, password: str, *, timeout_s: float) -> RedisNode:
    """Asks ROLE and INFO. RedisUnavailable when there is no answer within `timeout_s`."""
    with _client(host, port, password, timeout_s) as client:
        role: Any = _ask(client, "ROLE")
        info = _info(client)
    name, facts = _text(role[0]), redis_facts(info)
    if name == "slave":
        return RedisNode("replica", version(info), facts, link=_text(role[3]), master=f"{_text(role[1])}:{role[2]}")
    return RedisNode(name, version(info), facts, replicas=len(role[2]))


def observe_sentinel(host: str, port: int, master_name: str, *, timeout_s: float) -> SentinelView:
    """Asks one Sentinel for the master, CKQUORUM and what it knows. RedisUnavailable when there is no answer."""
    with _client(host, port, None, timeout_s) as client:
        address: Any = _ask(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", master_name)
        try:
            _ask(client, "SENTINEL", "CKQUORUM", master_name)
            problem = ""
        except RedisUnavailable as error:
            problem = str(error)
        known: Any = _ask(client, "SENTINEL", "MASTER", master_name) if address else []
        info = _info(client)
    master = f"{_text(address[0])}:{_text(address[1])}" if address else ""
    facts = sentinel_facts([_text(word) for word in known], info)
    return SentinelView(master, problem, version(info), facts)


def reset_sentinel(host: str, port: int, master_name: str, *, timeout_s: float) -> None:
    """Has one Sentinel forget replicas and other Sentinels, to find them again within seconds. RedisUnavailable as above."""
    with _client(host, port, None, timeout_s) as client:
        _ask(client, "SENTINEL", "RESET", master_name)


def tell(host: str, port: int, password: str | None, *words: str, timeout_s: float) -> Any:
    """Sends one command and gives the raw answer. RedisUnavailable when it is refused or not answered in time."""
    with _client(host, port, password, timeout_s) as client:
        return _ask(client, *words)


def keys_like(host: str, port: int, password: str, pattern: str, *, timeout_s: float) -> list[str]:
    """The keys that match, such as `version:*`, in their order; other clients go on meanwhile. RedisUnavailable as above."""
    found: set[str] = set()
    cursor = "0"
    with _client(host, port, password, timeout_s) as client:
        while True:
            answer: Any = _ask(client, "SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
            cursor = _text(answer[0])
            found.update(map(_text, answer[1]))
            if cursor == "0":
                return sorted(found)


def announced_address(host: str, port: int, password: str, *, timeout_s: float) -> tuple[str, str]:
    """Host and port by which other servers reach the node, as it is configured. RedisUnavailable as above."""
    told = tell(host, port, password, "CONFIG", "GET", "replica-announce-*", timeout_s=timeout_s)
    found = {_text(name): _text(value) for name, value in zip(told[::2], told[1::2], strict=True)}
    return found["replica-announce-ip"], found["replica-announce-port"]


def _client(host: str, port: int, password: str | None, timeout_s: float) -> redis.Redis:
    client = redis.Redis(
        host=host,
        port=port,
        password=password,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        protocol=2,
        retry=NO_RETRY,
    )
    # Raw answers: the library's own parsers rename roles and fields.
    client.response_callbacks.clear()
    return client


def _ask(client: redis.Redis, *words: str) -> Any:
    try:
        return client.execute_command(*words)  # type: ignore[no-untyped-call]  # the library leaves it untyped
    except (redis.RedisError, OSError) as error:
        raise RedisUnavailable(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _info(client: redis.Redis) -> dict[str, str]:
    return fields(_text(_ask(client, "INFO")))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
