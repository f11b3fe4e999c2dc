"""Who is master, in the words of two nodes and three Sentinels: each row one situation and what is wrong in it."""

import pytest

from spokectl.model import HealthProbe, Kind, Port, Service
from spokectl.operations.redis.agreement import View, disagreements, names_by_address

A, B = "redis-master", "redis-replica"
S1, S2, S3 = "redis-sentinel-1", "redis-sentinel-2", "redis-sentinel-3"

MASTER_A, MASTER_B = View(A, Kind.REDIS, "master"), View(B, Kind.REDIS, "master")
REPLICA_A, REPLICA_B = View(A, Kind.REDIS, "replica", B), View(B, Kind.REDIS, "replica", A)
DOWN_A, DOWN_B = View(A, Kind.REDIS), View(B, Kind.REDIS)


def sentinels(*named: str | None) -> list[View]:
    """Three Sentinels and whom each names; None does not answer."""
    return [
        View(name, Kind.SENTINEL) if master is None else View(name, Kind.SENTINEL, "sentinel", master)
        for name, master in zip((S1, S2, S3), named, strict=True)
    ]


@pytest.mark.parametrize(
    ("nodes", "named"),
    [
        pytest.param((MASTER_A, REPLICA_B), (A, A, A), id="as at first"),
        pytest.param((REPLICA_A, MASTER_B), (B, B, B), id="after a failover"),
        pytest.param((MASTER_A, REPLICA_B), (A, A, None), id="one Sentinel does not answer"),
        pytest.param((MASTER_A, REPLICA_B), (A, None, None), id="two Sentinels do not answer: they decide nothing"),
        pytest.param((MASTER_A, REPLICA_B), (None, None, None), id="no Sentinel answers"),
        pytest.param((DOWN_A, MASTER_B), (B, B, B), id="the replica is down"),
        pytest.param((DOWN_A, REPLICA_B), (A, A, A), id="the master is down, nobody is promoted yet"),
        pytest.param((DOWN_A, DOWN_B), (A, A, A), id="both are down"),
        pytest.param((), (), id="nothing is asked"),
    ],
)
def test_who_agree_or_do_not_answer_are_not_to_blame(nodes: tuple[View, ...], named: tuple[str | None, ...]) -> None:
    assert disagreements([*nodes, *(sentinels(*named) if named else [])]) == {}


BOTH = f"{A} and {B} both say master"


@pytest.mark.parametrize(
    ("nodes", "named", "wrong"),
    [
        pytest.param(
            (MASTER_A, DOWN_B),
            (B, B, B),
            {A: f"says master, but the Sentinels name {B}"},
            id="an old master serves on",
        ),
        pytest.param(
            (MASTER_A, DOWN_B),
            (B, B, None),
            {A: f"says master, but the Sentinels name {B}"},
            id="a majority of all Sentinels is enough",
        ),
        pytest.param(
            (MASTER_A, MASTER_B),
            (B, B, B),
            {A: f"{BOTH}; the Sentinels name {B}", B: f"{BOTH}; the Sentinels name {B}"},
            id="two masters",
        ),
        pytest.param(
            (MASTER_A, MASTER_B),
            (None, None, None),
            {
                A: f"{BOTH}; no majority of the Sentinels names one",
                B: f"{BOTH}; no majority of the Sentinels names one",
            },
            id="two masters without Sentinels",
        ),
        pytest.param(
            (REPLICA_A, REPLICA_B),
            (A, A, A),
            {A: "says replica, but the Sentinels name it as the master"},
            id="no master: the named one is a replica",
        ),
        pytest.param(
            (REPLICA_A, View(B, Kind.REDIS, "replica", "10.0.0.9:6379")),
            (B, B, B),
            {B: "says replica, but the Sentinels name it as the master"},
            id="the named one follows a stranger",
        ),
        pytest.param(
            (MASTER_A, View(B, Kind.REDIS, "replica", "10.0.0.9:6379")),
            (A, A, A),
            {B: f"follows 10.0.0.9:6379, but the Sentinels name {A}"},
            id="a replica follows a stranger",
        ),
        pytest.param(
            (REPLICA_A, MASTER_B),
            (B, A, B),
            {S2: f"names {A}, but most Sentinels name {B}"},
            id="a Sentinel has not heard of a failover",
        ),
        pytest.param(
            (MASTER_A, REPLICA_B),
            ("", A, A),
            {S1: f"names nobody, but most Sentinels name {A}"},
            id="a Sentinel knows no master",
        ),
        pytest.param(
            (MASTER_A, REPLICA_B),
            (A, B, None),
            dict.fromkeys((S1, S2), f"the Sentinels disagree: {S1} names {A}, {S2} names {B}"),
            id="no majority",
        ),
    ],
)
def test_who_contradicts_the_others_is_told_so(
    nodes: tuple[View, ...], named: tuple[str | None, ...], wrong: dict[str, str]
) -> None:
    assert disagreements([*nodes, *sentinels(*named)]) == wrong


@pytest.mark.parametrize("address", ["redis-master:6379", "127.0.0.1:8479", "10.1.1.1:8479"])
def test_an_address_is_known_however_a_server_says_it(address: str) -> None:
    probe = HealthProbe("redis", 6379)
    node = Service(A, Kind.REDIS, "master", probe, {}, A, (Port("10.1.1.1", 8479, 6379),))
    assert names_by_address([node])[address] == A
