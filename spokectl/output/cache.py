"""How a person reads what the caches hold and are worth."""

import sys

from spokectl.operations.cache import CacheKeys, CacheStats, Flushed, RedisCache, SpokeCache, Tally
from spokectl.operations.cache_bench import Bench, Timing
from spokectl.output.streams import print_table
from spokectl.settings import command_line
from spokectl.units import human_bytes, human_seconds

_NAMES = {"miss": "PostgreSQL (miss)", "redis": "Redis", "memory": "a Spoke's memory"}


def print_stats(found: CacheStats) -> None:
    spokes = [*found.spokes, found.total]
    print_table(
        ["SPOKE", "IN MEMORY", "IN REDIS", "IN EITHER", "FROM POSTGRESQL", "MEMORY", "EVICTED", "REASON"],
        [_spoke_row(each) for each in spokes],
    )
    sys.stdout.write("\n")
    print_table(
        ["REDIS", "ROLE", "KEYS", "MEMORY", "POLICY", "EVICTED", "HITS", "REASON"],
        [_redis_row(each) for each in found.redis],
    )


def _spoke_row(each: SpokeCache) -> list[object]:
    memory = _memory(each.memory_used_bytes, each.memory_limit_bytes)
    missed = each.either.misses if each.either else None
    hits = [_hits(tally) for tally in (each.memory, each.redis, each.either)]
    return [each.service, *hits, missed, memory, each.evictions, each.reason]


def _redis_row(each: RedisCache) -> list[object]:
    memory = _memory(each.memory_used_bytes, each.memory_limit_bytes)
    hits = _hits(each.lookups)
    return [each.service, each.role, each.keys, memory, each.memory_policy, each.evicted_keys, hits, each.reason]


def _hits(tally: Tally | None) -> str:
    """`30 of 40 (75 %)`."""
    if tally is None:
        return ""
    looked = tally.hits + tally.misses
    return f"{tally.hits} of {looked}" + (f" ({tally.hit_ratio:.0%})" if tally.hit_ratio is not None else "")


def _memory(used_bytes: int | None, limit_bytes: int | None) -> str:
    if used_bytes is None:
        return ""
    return f"{human_bytes(used_bytes)}/{human_bytes(limit_bytes) if limit_bytes is not None else 'no limit'}"


def print_keys(found: CacheKeys) -> None:
    print_table(
        ["KEY", "TYPE", "MEMORY", "GONE IN"],
        [
            [
                each.key,
                each.type,
                "" if each.size_bytes is None else human_bytes(each.size_bytes),
                "never" if each.ttl_s is None else human_seconds(each.ttl_s),
            ]
            for each in found.keys
        ],
    )


def keys_notes(found: CacheKeys) -> list[str]:
    shown = f"{len(found.keys)} of the {found.total_keys} keys of {found.master}"
    return [shown if found.complete else f"{shown}; more of them match: --limit"]


def print_bench(found: Bench) -> None:
    print_table(
        ["ANSWERED BY", "READS", "MEDIAN", "WORST", "FASTER"],
        [[_NAMES.get(each.source, each.source), *_timing(each)] for each in found.sources],
    )
    sys.stdout.write("\n")
    both = [each for each in (found.cold, found.warm) if each]
    print_table(["", "READS", "MEDIAN", "WORST", "FASTER"], [[each.source, *_timing(each)] for each in both])


def _timing(each: Timing) -> list[object]:
    faster = "" if each.times_faster is None or each.source in {"miss", "cold"} else f"{each.times_faster:.1f} times"
    return [each.reads, f"{each.median_ms:.2f} ms", f"{each.worst_ms:.2f} ms", faster]


def flush_notes(stack: str, found: Flushed) -> list[str]:
    """What was deleted, and what was not."""
    kept = [f"{each.service} {human_bytes(each.memory_used_bytes)}" for each in found.kept if each.memory_used_bytes]
    notes = [f"{found.deleted} keys ({', '.join(found.patterns)}) are deleted from {found.master} and its replica."]
    if kept:
        names = " ".join(each.service for each in found.kept if each.memory_used_bytes)
        restart = command_line(stack, f"restart {names}")
        notes.append(f"Not flushed: the Spokes' own memory ({', '.join(kept)}); it is never wrong; `{restart}` empties it.")
    return notes
