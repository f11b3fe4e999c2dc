"""What must hold before Redis's master role moves by plan, and in which form it moves."""

from dataclasses import replace
from typing import Any

import pytest

from spokectl.clients.redis import RedisNode, SentinelView
from spokectl.clients.redis_answers import redis_facts, sentinel_facts
from spokectl.operations.moves import Check
from spokectl.operations.redis.moves import _variant, switchover_checks
from spokectl.operations.redis.tables import VARIANTS, table

FACTS = redis_facts({"role": "master", "master_repl_offset": "500"})
MASTER = RedisNode("master", "9.1.2 (Valkey)", FACTS)
REPLICA = RedisNode("replica", "9.1.2 (Valkey)", FACTS, link="connected", master="m:6379")
VIEW = SentinelView("m:6379", "", "9.1.2", sentinel_facts([], {}))
NAMES = [f"redis-sentinel-{number}" for number in (1, 2, 3)]


def failing(**changes: Any) -> list[str]:
    return [check.name for check in bad(**changes)]


def bad(**changes: Any) -> list[Check]:
    facts: dict[str, Any] = {
        "old": MASTER,
        "new": REPLICA,
        "views": dict.fromkeys(NAMES, VIEW),
        "named": dict.fromkeys(NAMES, "redis-master"),
        "master": "redis-master",
        "replica": "redis-replica",
    }
    return [check for check in switchover_checks(**(facts | changes)) if not check.ok]


def test_a_pair_that_is_well_may_be_switched_over() -> None:
    assert failing() == []


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        (["master answers", "lag"], {"old": None}),
        (["master answers"], {"old": REPLICA}),
        (["replica follows", "lag"], {"new": None}),
        (["replica follows"], {"new": replace(REPLICA, link="connecting")}),
        (["lag"], {"old": replace(MASTER, facts=replace(FACTS, offset=10_000_000))}),
        (["Sentinels answer"], {"views": {**dict.fromkeys(NAMES, VIEW), NAMES[0]: None}}),
        (["Sentinels agree"], {"named": {**dict.fromkeys(NAMES, "redis-master"), NAMES[0]: "redis-replica"}}),
        (["quorum"], {"views": {**dict.fromkeys(NAMES, VIEW), NAMES[0]: replace(VIEW, quorum_problem="NOQUORUM")}}),
        (
            ["no failover under way"],
            {"views": {**dict.fromkeys(NAMES, VIEW), NAMES[0]: replace(VIEW, facts=replace(VIEW.facts, failover="wait"))}},
        ),
    ],
)
def test_each_precondition_fails_for_its_own_reason(names: list[str], changes: dict[str, Any]) -> None:
    assert failing(**changes) == names


def test_a_replica_that_is_not_there_is_named_with_what_brings_it_back() -> None:
    follows, lag = bad(new=None)
    assert (follows.found, follows.remedy) == ("redis-replica does not answer", "spokectl start redis-replica")
    assert lag.remedy == ""


@pytest.mark.parametrize(
    ("version", "variant"),
    [("9.0.0 (Valkey)", "coordinated"), ("10.1 (Valkey)", "coordinated"), ("8.1.1 (Valkey)", "by hand"), ("9.9", "by hand")],
)
def test_only_a_valkey_of_9_or_later_coordinates_by_itself(version: str, variant: str) -> None:
    assert _variant(replace(MASTER, version=version)) == variant


@pytest.mark.parametrize("variant", VARIANTS)
def test_writes_are_taken_from_the_old_master_before_the_new_one_is_promoted(variant: str) -> None:
    steps = table("spoke", variant).steps
    ids = [step.id for step in steps]
    assert ids[-2:] == ["agree", "follow"]
    assert table("spoke", variant).point_of_no_return == "promote"
    before = [step for step in steps if ids.index(step.id) < ids.index("promote")]
    assert (variant == "coordinated") == (not before)
    assert not before or before[0].undo is not None
