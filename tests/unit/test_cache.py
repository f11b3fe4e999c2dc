"""What the caches' counters mean, how timed reads are judged, and how a person reads both."""

import re

import pytest

from spokectl.clients.metrics import samples
from spokectl.clients.redis_keys import KeyFacts
from spokectl.clients.visitor import Visit
from spokectl.model import HealthProbe, Kind, Service
from spokectl.operations.cache import (
    CacheKeys,
    CacheStats,
    Flushed,
    Kept,
    Tally,
    memory_limit_bytes,
    redis_row,
    spoke_row,
    summed,
    tally,
)
from spokectl.operations.cache_bench import Timing, cold_and_warm, timings, version_path
from spokectl.operations.metrics import Page
from spokectl.output.cache import flush_notes, keys_notes, print_keys, print_stats
from tests.unit.statuses import down, master

PAGE = """
# TYPE spoke_cache_hits_total counter
spoke_cache_hits_total{cache_type="memory"} 60.0
spoke_cache_hits_total{cache_type="redis"} 30.0
# TYPE spoke_cache_misses_total counter
spoke_cache_misses_total{cache_type="memory"} 40.0
spoke_cache_misses_total{cache_type="redis"} 10.0
# TYPE spoke_cache_size_bytes gauge
spoke_cache_size_bytes 2048.0
# TYPE spoke_cache_evictions_total counter
spoke_cache_evictions_total 5.0
"""
TOLD = Page("spoke-1", Kind.SPOKE, samples(PAGE), 0)
SILENT = Page("spoke-2", Kind.SPOKE, (), 0, "Connection refused")


def test_what_memory_lacks_is_asked_from_redis_and_what_both_lack_from_postgresql() -> None:
    row = spoke_row(TOLD, 4096, {})
    assert (row.memory, row.redis) == (Tally(60, 40, 0.6), Tally(30, 10, 0.75))
    assert row.either == Tally(90, 10, 0.9)
    assert (row.memory_used_bytes, row.memory_limit_bytes, row.evictions, row.reason) == (2048, 4096, 5, "")


def test_the_sum_is_of_those_that_told_and_says_so() -> None:
    silent = spoke_row(SILENT, 4096, {"spoke-2": "killed"})
    assert (silent.memory, silent.either, silent.evictions, silent.reason) == (None, None, None, "killed")
    told = spoke_row(TOLD, 4096, {})
    total = summed([told, silent, told])
    assert (total.memory, total.either) == (Tally(120, 80, 0.6), Tally(180, 20, 0.9))
    assert (total.memory_used_bytes, total.memory_limit_bytes, total.evictions) == (4096, 8192, 10)
    assert total.reason == "without 1 that did not tell"
    assert summed([told]).reason == ""
    assert tally(0, 0).hit_ratio is None


@pytest.mark.parametrize(
    ("environment", "limit_bytes"),
    [
        ({"SPOKE_L1_CACHE_SIZE": "4096"}, 4096),
        ({"SPOKE_L1_CACHE_SIZE": "4096", "SPOKE_CACHE_ENABLED": "false"}, 0),
        ({"SPOKE_L1_CACHE_SIZE": "4096", "SPOKE_CACHE_ENABLED": "Off"}, 0),
        ({}, None),
    ],
)
def test_the_limit_of_a_spoke_s_memory_is_its_setting(environment: dict[str, str], limit_bytes: int | None) -> None:
    spoke = Service("spoke-1", Kind.SPOKE, "", HealthProbe("http"), environment, "spoke-1")
    assert memory_limit_bytes(spoke) == limit_bytes


def test_a_person_reads_hits_with_their_share(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [spoke_row(TOLD, 4096, {}), spoke_row(SILENT, 4096, {"spoke-2": "killed"})]
    print_stats(CacheStats(rows, summed(rows), [redis_row(master()), redis_row(down("redis-replica", Kind.REDIS))]))
    assert [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()] == [
        ["SPOKE", "IN MEMORY", "IN REDIS", "IN EITHER", "FROM POSTGRESQL", "MEMORY", "EVICTED", "REASON"],
        ["spoke-1", "60 of 100 (60%)", "30 of 40 (75%)", "90 of 100 (90%)", "10", "2.0 KiB/4.0 KiB", "5", "-"],
        ["spoke-2", "-", "-", "-", "-", "-", "-", "killed"],
        [
            *("all", "60 of 100 (60%)", "30 of 40 (75%)", "90 of 100 (90%)", "10", "2.0 KiB/4.0 KiB", "5"),
            "without 1 that did not tell",
        ],
        [""],
        ["REDIS", "ROLE", "KEYS", "MEMORY", "POLICY", "EVICTED", "HITS", "REASON"],
        ["redis-master", "master", "7", "1.0 MiB/48.0 MiB", "allkeys-lru", "3", "5 of 7 (71%)", "-"],
        ["redis-replica", "-", "-", "-", "-", "-", "-", "stopped by hand"],
    ]


def visit(cache: str, took_ms: float) -> Visit:
    return Visit(200, "spoke-1", cache, took_ms / 1000, "")


READS = [visit("miss", 10), visit("miss", 30), visit("miss", 20), visit("redis", 10), visit("memory", 4), visit("memory", 6)]


def test_reads_are_judged_by_who_had_the_bytes_not_by_when_they_came() -> None:
    assert timings(reversed(READS)) == [
        Timing("miss", 3, 20, 30, 1.0),
        Timing("redis", 1, 10, 10, 2.0),
        Timing("memory", 2, 5, 6, 4.0),
    ]
    assert cold_and_warm(READS) == (Timing("cold", 3, 20, 30, 1.0), Timing("warm", 3, 6, 10, 3.33))


def test_without_a_cold_read_nothing_is_called_faster() -> None:
    warm = READS[3:]
    assert cold_and_warm(warm) == (None, Timing("warm", 3, 6, 10, None))
    assert [each.times_faster for each in timings(warm)] == [None, None]
    assert cold_and_warm(READS[:3])[1] is None


def test_a_source_that_is_not_known_is_named_and_counts_as_neither() -> None:
    assert [each.source for each in timings([*READS, visit("disk", 1), visit("", 1)])] == [
        *("miss", "redis", "memory", "disk", "unnamed")
    ]
    assert cold_and_warm([visit("disk", 1)]) == (None, None)


def test_the_path_of_a_version_is_one_segment_for_each_name() -> None:
    assert version_path("a/b", "v1?x") == "/modules/a%2Fb/versions/v1%3Fx"


def test_keys_are_shown_with_what_they_take_and_when_they_go(capsys: pytest.CaptureFixture[str]) -> None:
    keys = [KeyFacts("version:a:v1", "string", 2048, 3599.9), KeyFacts("x\x1b[31m", "list", None, None)]
    print_keys(CacheKeys("redis-master", "*", keys, 9, complete=True))
    assert [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()] == [
        ["KEY", "TYPE", "MEMORY", "GONE IN"],
        ["version:a:v1", "string", "2.0 KiB", "59 m"],
        ["x\\x1b[31m", "list", "-", "never"],
    ]
    assert keys_notes(CacheKeys("redis-master", "*", keys, 9, complete=True)) == ["2 of the 9 keys of redis-master"]
    assert keys_notes(CacheKeys("redis-master", "*", keys, 9, complete=False))[0].endswith("; more of them match: --limit")


def test_a_flush_says_what_it_did_not_empty() -> None:
    kept = [Kept("spoke-1", 2048), Kept("spoke-2", None), Kept("spoke-3", 0), Kept("spoke-4", 1024)]
    told = flush_notes("second", Flushed("redis-master", ["version:*"], 3, kept))
    assert told == [
        "3 keys (version:*) are deleted from redis-master and its replica.",
        "Not flushed: the Spokes' own memory (spoke-1 2.0 KiB, spoke-4 1.0 KiB); it is never wrong; "
        "`spokectl restart spoke-1 spoke-4 --stack second` empties it.",
    ]
    assert len(flush_notes("second", Flushed("redis-master", ["version:*"], 3, kept[1:3]))) == 1
