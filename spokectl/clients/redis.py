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
    with connected(host, port, password, timeout_s) as client:
        role: Any = ask(client, "ROLE")
        info = _info(client)
    name, facts = text(role[0]), redis_facts(info)
    if name == "slave":
        return RedisNode("replica", version(info), facts, link=text(role[3]), master=f"{text(role[1])}:{role[2]}")
    return RedisNode(name, version(info), facts, replicas=len(role[2]))


def observe_sentinel(host: str, port: int, master_name: str, *, timeout_s: float) -> SentinelView:
    """Asks one Sentinel for the master, CKQUORUM and what it knows. RedisUnavailable when there is no answer."""
    with connected(host, port, None, timeout_s) as client:
        address: Any = ask(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", master_name)
        try:
            ask(client, "SENTINEL", "CKQUORUM", master_name)
            problem = ""
        except RedisUnavailable as error:
            problem = str(error)
        known: Any = ask(client, "SENTINEL", "MASTER", master_name) if address else []
        info = _info(client)
    master = f"{text(address[0])}:{text(address[1])}" if address else ""
    facts = sentinel_facts([text(word) for word in known], info)
    return SentinelView(master, problem, version(info), facts)


def reset_sentinel(host: str, port: int, master_name: str, *, timeout_s: float) -> None:
    """Has one Sentinel forget replicas and other Sentinels, to find them again within seconds. RedisUnavailable as above."""
    with connected(host, port, None, timeout_s) as client:
        ask(client, "SENTINEL", "RESET", master_name)


def tell(host: str, port: int, password: str | None, *words: str, timeout_s: float) -> Any:
    """Sends one command and gives the raw answer. RedisUnavailable when it is refused or not answered in time."""
    with connected(host, port, password, timeout_s) as client:
        return ask(client, *words)


def announced_address(host: str, port: int, password: str, *, timeout_s: float) -> tuple[str, str]:
    """Host and port by which other servers reach the node, as it is configured. RedisUnavailable as above."""
    told = tell(host, port, password, "CONFIG", "GET", "replica-announce-*", timeout_s=timeout_s)
    found = {text(name): text(value) for name, value in zip(told[::2], told[1::2], strict=True)}
    return found["replica-announce-ip"], found["replica-announce-port"]


def connected(host: str, port: int, password: str | None, timeout_s: float) -> redis.Redis:
    """A client whose answers come as the server sends them; nothing is sent yet."""
    client = redis.Redis(
        host=host,
        port=port,
        password=password,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        protocol=2,
        retry=NO_RETRY,
        # Else each client looks up which version of the library it is, and tells the server in two more round trips.
        driver_info=None,
    )
    # Raw answers: the library's own parsers rename roles and fields.
    client.response_callbacks.clear()
    return client


def ask(client: redis.Redis, *words: str | bytes) -> Any:
    """The raw answer to one command. RedisUnavailable when there is none, or it is an error."""
    try:
        return client.execute_command(*words)  # type: ignore[no-untyped-call]  # the library leaves it untyped
    except (redis.RedisError, OSError) as error:
        raise unavailable(error) from error


def unavailable(error: Exception) -> RedisUnavailable:
    return RedisUnavailable(str(error).splitlines()[0] if str(error) else type(error).__name__)


def _info(client: redis.Redis) -> dict[str, str]:
    return fields(text(ask(client, "INFO")))


def text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
