"""What would happen if a primary or a master died now, row by row."""

from dataclasses import replace

import pytest

from spokectl.facts import SentinelFacts
from spokectl.model import Kind
from spokectl.operations.health import ServiceStatus
from spokectl.operations.outlook import Outlook, lsn_distance, outlook
from spokectl.operations.postgres.guard import ClusterRecord
from tests.unit.statuses import (
    MASTER,
    PRIMARY,
    RECORD,
    STANDBY,
    STREAMING,
    down,
    master,
    primary,
    replica,
    sentinel,
    service,
    standby,
)

DEGRADED = replace(RECORD, mode="degraded", since_lsn="0/3000000")
ASYNCHRONOUS = replace(RECORD, mode="asynchronous")
BEHIND = replace(STREAMING, flush_lag_bytes=4096)
FREE = replace(PRIMARY, commits_wait=False, followers=(replace(BEHIND, sync_state="async"),))
ALONE = replace(PRIMARY, commits_wait=False, followers=())
FAILOVER = "takes over at `spokectl failover postgres`"
LOST = "if postgres-primary dies"


@pytest.mark.parametrize(
    ("nodes", "record", "takes_over", "at_risk", "words"),
    [
        (
            [primary(), standby()],
            RECORD,
            "postgres-replica",
            0,
            f"{LOST}: postgres-replica {FAILOVER}, no acknowledged write",
        ),
        ([primary(), standby()], None, "postgres-replica", 0, "no acknowledged write is at risk"),
        (
            [primary(), standby(replace(STANDBY, replay_paused=True), "degraded")],
            RECORD,
            "postgres-replica",
            0,
            "no acknowledged write is at risk; its replay is paused",
        ),
        # Protected writes that the standby has not confirmed are not acknowledged, however many they are.
        (
            [primary(replace(PRIMARY, followers=(BEHIND,))), standby()],
            RECORD,
            "postgres-replica",
            0,
            "no acknowledged write",
        ),
        # Commits wait again, but the record does not say synchronous yet: the standby is still catching up.
        (
            [primary(replace(PRIMARY, followers=(BEHIND,))), standby()],
            DEGRADED,
            "postgres-replica",
            4096,
            "at most 4096 bytes",
        ),
        ([primary(FREE), standby()], ASYNCHRONOUS, "postgres-replica", 4096, "at most 4096 bytes (4.0 KiB) of acknowledged"),
        ([primary(FREE), standby()], None, "postgres-replica", 4096, "at most 4096 bytes"),
        # The standby lives but is not connected: the distance between the two positions.
        (
            [primary(ALONE), standby(replace(STANDBY, lsn="0/3000000"))],
            DEGRADED,
            "postgres-replica",
            256,
            "at most 256 bytes",
        ),
        ([primary(ALONE), standby(replace(STANDBY, lsn=None))], DEGRADED, "postgres-replica", None, "is not known"),
        (
            [primary(ALONE), down("postgres-replica")],
            DEGRADED,
            "",
            256,
            f"{LOST}: nobody can take over (postgres-replica is down), writes fail until it is back; 256 bytes",
        ),
        ([primary(), down("postgres-replica")], RECORD, "", None, "nobody can take over (postgres-replica is down)"),
        ([primary(ALONE)], ASYNCHRONOUS, "", None, "nobody can take over (it has no standby)"),
        (
            [down("postgres-primary"), standby()],
            RECORD,
            "postgres-replica",
            0,
            f"PostgreSQL has no primary now (the record names postgres-primary): postgres-replica {FAILOVER}, no",
        ),
        ([down("postgres-primary"), standby()], DEGRADED, "postgres-replica", None, "replication was degraded"),
        ([down("postgres-primary"), standby()], ASYNCHRONOUS, "postgres-replica", None, "replication was asynchronous"),
        ([down("postgres-primary"), standby()], None, "postgres-replica", None, "replication is not known"),
        ([down("postgres-primary"), down("postgres-replica")], RECORD, "", None, "nobody can take over"),
        # A move was interrupted between the record and the promotion.
        ([standby()], replace(RECORD, primary="postgres-replica"), "postgres-replica", None, "finishes the move"),
        (
            [primary(), primary(name="postgres-replica")],
            RECORD,
            "",
            None,
            "postgres-primary and postgres-replica both say primary",
        ),
    ],
)
def test_what_the_loss_of_the_postgres_primary_would_mean(
    nodes: list[ServiceStatus], record: ClusterRecord | None, takes_over: str, at_risk: int | None, words: str
) -> None:
    [found] = outlook("spoke", nodes, record)
    assert words in found.sentence
    assert (found.takes_over, found.bytes_at_risk) == (takes_over, at_risk)


SENTINELS = [sentinel(1), sentinel(2), sentinel(3)]
IN_TILT = [
    replace(each, reason="TILT: its clock jumped", facts=SentinelFacts(4, 2, 3, 1, "master", "", tilt=True, uptime_s=60))
    for each in SENTINELS
]


@pytest.mark.parametrize(
    ("nodes", "takes_over", "at_risk", "words"),
    [
        (
            [master(), replica(), *SENTINELS],
            "redis-replica",
            10,
            "if redis-master dies: the Sentinels make redis-replica the master by themselves, at most 10 bytes",
        ),
        ([master(), replica(), sentinel(1), sentinel(2), down("c", Kind.SENTINEL)], "redis-replica", 10, "by themselves"),
        ([master(), down("redis-replica", Kind.REDIS), *SENTINELS], "", None, "nobody takes over (no replica follows it)"),
        ([master(), replica(), *IN_TILT], "", None, "nobody takes over (3 of 3 Sentinels answer: TILT: its clock jumped)"),
        ([master(), replica("unhealthy"), *SENTINELS], "", None, "nobody takes over (no replica follows it)"),
        (
            [master(), replica(), sentinel(1, "NOQUORUM 1 usable Sentinels"), *(down(n, Kind.SENTINEL) for n in "bc")],
            "",
            None,
            "nobody takes over (1 of 3 Sentinels answer: NOQUORUM 1 usable Sentinels)",
        ),
        # They would act, but for another master than the one that there is.
        ([master(), replica(), *(sentinel(n, named="10.0.0.9:6379") for n in (1, 2, 3))], "", None, "nobody takes over"),
        ([master(), replica()], "", None, "0 of 0 Sentinels answer"),
        (
            [replace(master(), facts=replace(MASTER, replicas=())), replica(), *SENTINELS],
            "redis-replica",
            None,
            "unknown part",
        ),
        (
            [master(), master("redis-replica"), *SENTINELS],
            "",
            None,
            "both say master: the Sentinels settle it; Spokes may use either",
        ),
        ([down("redis-master", Kind.REDIS), replica(), *SENTINELS], "", None, "no master now: the Sentinels settle it"),
        (
            [down("redis-master", Kind.REDIS), down("redis-replica", Kind.REDIS, "paused"), *SENTINELS],
            "",
            None,
            "no master now: nobody settles it (no node answers)",
        ),
        (
            [down("redis-master", Kind.REDIS), replica(), sentinel(1, "NOQUORUM 1 usable Sentinels")],
            "",
            None,
            "no master now: nobody settles it (1 of 1 Sentinels answer: NOQUORUM 1 usable Sentinels)",
        ),
    ],
)
def test_what_the_loss_of_the_redis_master_would_mean(
    nodes: list[ServiceStatus], takes_over: str, at_risk: int | None, words: str
) -> None:
    [found] = outlook("spoke", nodes, None)
    assert words in found.sentence
    assert (found.takes_over, found.bytes_at_risk) == (takes_over, at_risk)


def test_what_a_sentence_tells_to_type_means_the_stack_that_was_looked_at() -> None:
    [living] = outlook("second", [primary(), standby()], RECORD)
    [lost] = outlook("second", [down("postgres-primary"), standby()], RECORD)
    for found in (living, lost):
        assert "takes over at `spokectl failover postgres --stack second`" in found.sentence


def test_only_what_a_stack_has_is_spoken_of() -> None:
    assert outlook("spoke", [service("spoke-1", Kind.SPOKE)], None) == []
    both = outlook("spoke", [primary(), standby(), master(), replica(), *SENTINELS], RECORD)
    assert [type(each) for each in both] == [Outlook, Outlook]
    assert [each.service for each in both] == ["postgres-primary", "redis-master"]


@pytest.mark.parametrize(
    ("ahead", "behind", "distance"),
    [
        ("0/10", "0/0", 16),
        ("1/0", "0/FFFFFFFF", 1),
        ("2/5", "1/5", 1 << 32),
        ("0/0", "0/10", 0),
        (None, "0/10", None),
        ("0/10", None, None),
    ],
)
def test_positions_are_64_bits_in_two_halves(ahead: str | None, behind: str | None, distance: int | None) -> None:
    assert lsn_distance(ahead, behind) == distance
