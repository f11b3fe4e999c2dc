"""Redis and Sentinel over published ports: what a node says it is, and whether the Sentinels can act."""

from dataclasses import dataclass
from typing import Any

from spokectl.clients.redis_answers import fields, redis_facts, sentinel_facts, version
from spokectl.clients.resp import Connection, RedisUnavailable
from spokectl.facts import RedisFacts, SentinelFacts

__all__ = [
    "RedisNode",
    "RedisUnavailable",
    "SentinelView",
    "announced_address",
    "observe_redis",
    "observe_sentinel",
    "reset_sentinel",
    "tell",
]


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
    with Connection(host, port, password, timeout_s=timeout_s) as connection:
        role: Any = connection.ask("ROLE")
        info = _info(connection)
    name, facts = _text(role[0]), redis_facts(info)
    if name == "slave":
        return RedisNode("replica", version(info), facts, link=_text(role[3]), master=f"{_text(role[1])}:{role[2]}")
    return RedisNode(name, version(info), facts, replicas=len(role[2]))


def observe_sentinel(host: str, port: int, master_name: str, *, timeout_s: float) -> SentinelView:
    """Asks one Sentinel for the master, CKQUORUM and what it knows. RedisUnavailable when there is no answer."""
    with Connection(host, port, None, timeout_s=timeout_s) as connection:
        address: Any = connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master_name)
        try:
            connection.ask("SENTINEL", "CKQUORUM", master_name)
            problem = ""
        except RedisUnavailable as error:
            problem = str(error)
        known: Any = connection.ask("SENTINEL", "MASTER", master_name) if address else []
        info = _info(connection)
    master = f"{_text(address[0])}:{_text(address[1])}" if address else ""
    facts = sentinel_facts([_text(word) for word in known], info)
    return SentinelView(master, problem, version(info), facts)


def reset_sentinel(host: str, port: int, master_name: str, *, timeout_s: float) -> None:
    """Has one Sentinel forget replicas and other Sentinels, to find them again within seconds. RedisUnavailable as above."""
    with Connection(host, port, None, timeout_s=timeout_s) as connection:
        connection.ask("SENTINEL", "RESET", master_name)


def tell(host: str, port: int, password: str | None, *words: str, timeout_s: float) -> Any:
    """Sends one command and gives the raw answer. RedisUnavailable when it is refused or not answered in time."""
    with Connection(host, port, password, timeout_s=timeout_s) as connection:
        return connection.ask(*words)


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


def _info(connection: Connection) -> dict[str, str]:
    return fields(_text(connection.ask("INFO")))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
