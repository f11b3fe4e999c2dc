"""Versions are cached twice: in each Spoke's memory and in Redis. What both hold, what that is worth, and emptying Redis.

PostgreSQL says of every answer from a cache whether it still counts (docs/cache-and-metrics.md), so neither is ever wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from spokectl.errors import Failed, OutcomeUnknown, UsageError
from spokectl.facts import RedisFacts
from spokectl.model import Kind, Service
from spokectl.operations.context import Context, running_context
from spokectl.operations.health import ServiceStatus, judged, observe
from spokectl.operations.metrics import Page, read_pages, silent_ones
from spokectl.operations.registry import reached
from spokectl.printable import is_utf8, quoted
from spokectl.result import Result
from spokectl.settings import command_line
from spokectl.wait import Deadline

if TYPE_CHECKING:
    from spokectl.clients.redis_keys import KeyFacts

OWN_KEYS = ("version:*",)
"""All that the Spokes keep in Redis (docs/registry-api.md)."""

Told = TypeVar("Told")


@dataclass(frozen=True)
class Tally:
    """`hit_ratio` is None where nothing was looked for."""

    hits: int
    misses: int
    hit_ratio: float | None


@dataclass(frozen=True)
class SpokeCache:
    """What one Spoke counts since it started. `either`: reads that some cache answered, and those that PostgreSQL had to.

    `memory_*` is the cache in its own process. Everything is None for a Spoke that does not tell; `reason` says why.
    """

    service: str
    memory: Tally | None
    redis: Tally | None
    either: Tally | None
    memory_used_bytes: int | None
    memory_limit_bytes: int | None
    evictions: int | None
    reason: str = ""


@dataclass(frozen=True)
class RedisCache:
    """What one Redis node says of itself, since it started; `keys` are all keys, of whoever."""

    service: str
    role: str
    keys: int | None
    memory_used_bytes: int | None
    memory_limit_bytes: int | None
    memory_policy: str
    evicted_keys: int | None
    lookups: Tally | None
    reason: str = ""


@dataclass(frozen=True)
class CacheStats:
    """`total` is the sum of the Spokes that told; a replica holds a copy of its master's keys, so `redis` is not summed."""

    spokes: list[SpokeCache]
    total: SpokeCache
    redis: list[RedisCache]


@dataclass(frozen=True)
class CacheKeys:
    """`complete`: no other key matches. `total_keys` are all that the master has."""

    master: str
    match: str
    keys: "list[KeyFacts]"
    total_keys: int
    complete: bool


@dataclass(frozen=True)
class Kept:
    service: str
    memory_used_bytes: int | None


@dataclass(frozen=True)
class Flushed:
    """`kept`: what the Spokes have in their own memory, which goes on to answer."""

    master: str
    patterns: Sequence[str]
    deleted: int
    kept: list[Kept]


def stats(name: str, file: Path | None) -> Result:
    """Hits, misses and sizes of every Spoke and Redis node; degraded (10) when one does not tell."""
    context = running_context(name, file)
    spokes, nodes = (context.stack.of_kind(kind) for kind in (Kind.SPOKE, Kind.REDIS))
    pages = read_pages(spokes)
    unwell = silent_ones(context, pages)
    seen = observe(context, [each.name for each in nodes])
    reasons = {each.service: each.reason for each in unwell}
    rows = [spoke_row(page, memory_limit_bytes(spoke), reasons) for page, spoke in zip(pages, spokes, strict=True)]
    data = CacheStats(rows, summed(rows), [redis_row(each) for each in seen])
    return judged(name, data, [*unwell, *seen])


def keys(name: str, file: Path | None, match: str, limit: int, timeout_s: float) -> Result:
    """At most `limit` keys of the master that match, with type, size and time to live."""
    from spokectl.clients.redis_keys import describe_keys

    if not is_utf8(match):
        raise UsageError("bad_pattern", f"--match {quoted(match)} is no UTF-8")
    context = running_context(name, file)
    master = master_of(context)
    deadline = Deadline(timeout_s)
    seen = asked(context, master, lambda host, port, password: describe_keys(host, port, password, match, limit, deadline))
    return Result(CacheKeys(master, match, seen.keys, seen.total, seen.complete))


def flush(context: Context, master: str, timeout_s: float) -> Result:
    """Deletes the registry's keys from the master, and with it from its replica; nothing else, and no Spoke's memory.

    OutcomeUnknown (`timeout`) where the time has sufficed for a part: `details` and the ledger have how many are `deleted`.
    """
    from spokectl.clients.redis_keys import unlink_like

    deadline = Deadline(timeout_s)
    with context.journal.operation("cache flush", services=[master]) as ending:
        try:
            deleted = asked(
                context, master, lambda host, port, password: unlink_like(host, port, password, OWN_KEYS, deadline)
            )
        except OutcomeUnknown as late:
            ending.update(late.details)
            late.actions = (command_line(context.stack.name, "cache flush"),)
            raise
        ending["deleted"] = deleted
    pages = read_pages(context.stack.of_kind(Kind.SPOKE))
    return Result(Flushed(master, OWN_KEYS, deleted, [Kept(each.service, memory_used_bytes(each)) for each in pages]))


def cached_versions(context: Context, master: str, timeout_s: float) -> list[str]:
    """The keys of versions that Redis's master has. Failed (`no_answer`) when it does not say."""
    from spokectl.clients.redis_keys import keys_like

    return asked(
        context, master, lambda host, port, password: keys_like(host, port, password, "version:*", timeout_s=timeout_s)
    )


def master_of(context: Context) -> str:
    """The node that says it is Redis's master. Failed (`no_master`) when none does, or several do."""
    seen = observe(context, [each.name for each in context.stack.of_kind(Kind.REDIS)])
    found = [each.service for each in seen if each.role == "master"]
    if len(found) == 1:
        return found[0]
    told = "; ".join(f"{each.service}: {each.role or each.reason or each.health}" for each in seen) or "there is no node"
    raise Failed(
        "no_master",
        f"Redis has no one master that answers ({told})",
        details={each.service: each.role or each.reason or each.health for each in seen},
        actions=[command_line(context.stack.name, words) for words in ("redis status", "up")],
        retryable=True,
    )


def asked(context: Context, node: str, ask: Callable[[str, int, str], Told]) -> Told:
    """What `ask` gets from the node's address and password. Failed (`no_answer`) when Redis does not say."""
    from spokectl.clients.redis import RedisUnavailable

    service = context.stack.services[node]
    host, port = reached(service.address(service.health.port))
    try:
        return ask(host, port, service.environment.get("SPOKE_REDIS_PASSWORD", ""))
    except RedisUnavailable as error:
        raise Failed(
            "no_answer",
            f"{node} does not do it: {error}",
            actions=[command_line(context.stack.name, "redis status")],
            retryable=True,
        ) from error


# What the answers say. Pure.


def spoke_row(page: Page, limit_bytes: int | None, reasons: Mapping[str, str]) -> SpokeCache:
    """`reasons` says why a page is empty, by service."""
    if page.silence:
        return SpokeCache(page.service, None, None, None, None, limit_bytes, None, reasons.get(page.service, page.silence))
    memory, redis = (tally(_count(page, "hits", tier), _count(page, "misses", tier)) for tier in ("memory", "redis"))
    return SpokeCache(
        page.service,
        memory,
        redis,
        _either(memory, redis),
        memory_used_bytes(page),
        limit_bytes,
        _sum(page, "spoke_cache_evictions_total"),
    )


def summed(rows: Sequence[SpokeCache]) -> SpokeCache:
    """The Spokes that told, as one."""
    told = [each for each in rows if each.memory and each.redis]
    memory, redis = (
        tally(sum(each.hits for each in tallies), sum(each.misses for each in tallies))
        for tallies in ([each.memory for each in told if each.memory], [each.redis for each in told if each.redis])
    )
    used, limit, evictions = (
        sum(getattr(each, name) or 0 for each in told) for name in ("memory_used_bytes", "memory_limit_bytes", "evictions")
    )
    silent = len(rows) - len(told)
    reason = f"without {silent} that did not tell" if silent else ""
    return SpokeCache("all", memory, redis, _either(memory, redis), used, limit, evictions, reason)


def redis_row(status: ServiceStatus) -> RedisCache:
    facts = status.facts
    if not isinstance(facts, RedisFacts):
        return RedisCache(status.service, status.role, None, None, None, "", None, None, status.reason or status.health)
    return RedisCache(
        status.service,
        status.role,
        facts.keys,
        facts.memory_used_bytes,
        facts.memory_limit_bytes,
        facts.memory_policy,
        facts.evicted_keys,
        tally(facts.hits, facts.misses),
        status.reason,
    )


def tally(hits: int, misses: int) -> Tally:
    looked = hits + misses
    return Tally(hits, misses, hits / looked if looked else None)


def memory_used_bytes(page: Page) -> int | None:
    """What the Spoke has in its own memory; None when it does not tell."""
    return None if page.silence else _sum(page, "spoke_cache_size_bytes")


def memory_limit_bytes(spoke: Service) -> int | None:
    """As the stack file sets it; None where that says nothing."""
    if spoke.environment.get("SPOKE_CACHE_ENABLED", "true").lower() in {"false", "0", "no", "off"}:
        return 0
    setting = spoke.environment.get("SPOKE_L1_CACHE_SIZE", "")
    return int(setting) if setting.isdecimal() else None


def _either(memory: Tally, redis: Tally) -> Tally:
    # Whatever memory lacks is asked from Redis; what both lack comes from PostgreSQL.
    return tally(memory.hits + redis.hits, max(0, memory.misses - redis.hits))


def _count(page: Page, kind: str, tier: str) -> int:
    return _sum(page, f"spoke_cache_{kind}_total", tier)


def _sum(page: Page, name: str, tier: str = "") -> int:
    found = (each.value for each in page.samples if each.name == name and each.label("cache_type") == tier)
    return round(sum(found))
