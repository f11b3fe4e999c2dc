"""When Sentinels may be reset, and what each has to find again."""

from dataclasses import replace

import pytest

from spokectl.facts import SentinelFacts
from spokectl.model import Kind, RunState
from spokectl.operations.health import ServiceStatus
from spokectl.operations.redis.reset import expected, refusal
from tests.unit.statuses import down, master, replica, sentinel

SENTINELS = [sentinel(1), sentinel(2), sentinel(3)]
BUSY = replace(sentinel(2), facts=SentinelFacts(4, 2, 3, 1, "master,failover_in_progress", "wait_promotion", False, 60))
PAUSED = replace(down("redis-replica", Kind.REDIS), state=RunState.PAUSED)
HUNG = replace(down("redis-replica", Kind.REDIS, "no answer"), state=RunState.RUNNING, health="unhealthy")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ([master(), replica(), *SENTINELS], ""),
        # A replica that is down is what one resets for; a Sentinel that is down is not waited for.
        ([master(), down("redis-replica", Kind.REDIS), *SENTINELS], ""),
        ([master(), replica(), sentinel(1), sentinel(2), down("redis-sentinel-3", Kind.SENTINEL)], ""),
        ([down("redis-master", Kind.REDIS), replica(), *SENTINELS], "there is no master"),
        ([master(), master("redis-replica"), *SENTINELS], "redis-master and redis-replica both say master"),
        (
            [replace(master(), health="unhealthy", reason="says master, but"), replica(), *SENTINELS],
            "redis-master is not well: says",
        ),
        ([master(), PAUSED, *SENTINELS], "redis-replica runs and does not answer"),
        ([master(), HUNG, *SENTINELS], "redis-replica runs and does not answer"),
        ([master(), replica(), sentinel(1), sentinel(2, "NOQUORUM"), sentinel(3)], "redis-sentinel-2 is not well: NOQUORUM"),
        ([master(), replica(), sentinel(1), BUSY, sentinel(3)], "redis-sentinel-2 is in a failover"),
        ([master(), replica()], "no Sentinel answers"),
    ],
)
def test_sentinels_are_reset_only_where_no_second_master_can_come_of_it(seen: list[ServiceStatus], reason: str) -> None:
    assert refusal(seen).startswith(reason)
    assert bool(refusal(seen)) == bool(reason)


def test_everybody_who_is_there_has_to_be_found_again() -> None:
    assert expected([master(), replica(), *SENTINELS]) == (1, 3)
    lonely = replace(master(), facts=replace(replica().facts, role="master"))  # type: ignore[type-var]
    assert expected([lonely, down("redis-replica", Kind.REDIS), *SENTINELS[:2], down("c", Kind.SENTINEL)]) == (0, 2)
