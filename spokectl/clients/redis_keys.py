"""The keys of a Redis node, walked by SCAN: other clients go on meanwhile, which KEYS would not let them.

RedisUnavailable when there is no answer; OutcomeUnknown (`timeout`) when the deadline passes on the way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from spokectl.clients.redis import ask, connected, text, unavailable
from spokectl.errors import OutcomeUnknown
from spokectl.wait import Deadline

_BATCH = 1000
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class KeyFacts:
    """`size_bytes`: the memory that the key takes, with what Redis needs around it. `ttl_s` is None for a key that stays."""

    key: str
    type: str
    size_bytes: int | None
    ttl_s: float | None


@dataclass(frozen=True)
class KeysSeen:
    """`total`: how many keys the node has. Unless `complete`, there may be more that match than `keys`."""

    keys: list[KeyFacts]
    total: int
    complete: bool


def keys_like(host: str, port: int, password: str, pattern: str, *, timeout_s: float) -> list[str]:
    """The keys that match, such as `version:*`, in their order."""
    with connected(host, port, password, timeout_s) as client:
        return sorted({text(key) for batch in _batches(client, pattern, Deadline(timeout_s)) for key in batch})


def describe_keys(host: str, port: int, password: str, pattern: str, limit: int, deadline: Deadline) -> KeysSeen:
    """The first `limit` keys that match, whichever they are, by name, with type, size and time to live."""
    with connected(host, port, password, _TIMEOUT_S) as client:
        total = int(ask(client, "DBSIZE"))
        found: set[bytes] = set()
        for batch in _batches(client, pattern, deadline):
            found.update(batch)
            if len(found) > limit:
                break
        chosen = sorted(found)[:limit]
        facts = [each for start in range(0, len(chosen), _BATCH) for each in _facts(client, chosen[start : start + _BATCH])]
    return KeysSeen(facts, total, complete=len(found) <= limit)


def unlink_like(host: str, port: int, password: str, patterns: Sequence[str], deadline: Deadline) -> int:
    """Deletes the keys that match one of the patterns, and says how many there were; the memory is freed beside requests.

    OutcomeUnknown has in its details how many are `deleted` so far.
    """
    count = 0
    with connected(host, port, password, _TIMEOUT_S) as client:
        try:
            for pattern in patterns:
                for batch in _batches(client, pattern, deadline):
                    count += int(ask(client, "UNLINK", *batch)) if batch else 0
        except OutcomeUnknown as late:
            raise OutcomeUnknown(
                late.code, f"{late.message}; {count} are deleted", details={"deleted": count}, retryable=True
            ) from None
    return count


def unlink(host: str, port: int, password: str, keys: Sequence[str]) -> int:
    """Deletes these keys, and says how many were there."""
    with connected(host, port, password, _TIMEOUT_S) as client:
        return int(ask(client, "UNLINK", *keys)) if keys else 0


def _batches(client: redis.Redis, pattern: str, deadline: Deadline) -> Iterator[list[bytes]]:
    """All that was there from begin to end is in one of them, perhaps in several."""
    cursor: str | bytes = "0"
    while True:
        cursor, batch = ask(client, "SCAN", cursor, "MATCH", pattern, "COUNT", str(_BATCH))
        yield batch
        if text(cursor) == "0":
            return
        if deadline.passed:
            raise OutcomeUnknown("timeout", f"not through all keys of Redis after {deadline.timeout_s:g} s", retryable=True)


def _facts(client: redis.Redis, keys: Sequence[bytes]) -> list[KeyFacts]:
    """Without those that are gone meanwhile."""
    try:
        with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.execute_command("TYPE", key)  # type: ignore[no-untyped-call]
                pipeline.execute_command("MEMORY", "USAGE", key)  # type: ignore[no-untyped-call]
                pipeline.execute_command("PTTL", key)  # type: ignore[no-untyped-call]
            told: list[Any] = pipeline.execute()
    except (redis.RedisError, OSError) as error:
        raise unavailable(error) from error
    rows = zip(keys, told[::3], told[1::3], told[2::3], strict=True)
    return [
        KeyFacts(text(key), text(kind), size, None if left_ms == -1 else left_ms / 1000)
        for key, kind, size, left_ms in rows
        if text(kind) != "none" and left_ms != -2
    ]
