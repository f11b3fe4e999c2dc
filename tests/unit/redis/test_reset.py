"""When Sentinels may be reset, and what each has to find again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spokectl.clients import redis as client
from spokectl.errors import OutcomeUnknown, Refused
from spokectl.facts import SentinelFacts
from spokectl.model import HealthProbe, Kind, Port, RunState, Service, Stack
from spokectl.operations.context import Context
from spokectl.operations.health import ServiceStatus
from spokectl.operations.redis import reset
from spokectl.operations.redis.reset import expected, refusal
from spokectl.settings import StackState
from spokectl.wait import Deadline
from tests.unit.statuses import down, master, replica, sentinel
from tests.unit.test_readiness import SeenRuntime, unheard

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


@pytest.mark.parametrize(
    "act",
    [
        lambda context: reset._reset(context, "redis-sentinel-1"),
        lambda context: reset._wait_until_found(context, "redis-sentinel-1", (1, 3), Deadline(0)),
    ],
)
def test_a_sentinel_of_which_the_end_is_not_known_is_said_with_what_to_type(
    act: Callable[[Context], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object, timeout_s: float) -> None:
        raise client.RedisUnavailable("no answer")

    monkeypatch.setattr(client, "reset_sentinel", silent)
    monkeypatch.setattr(reset, "observe", lambda *_: [sentinel(1, "NOQUORUM")])
    probe, port = HealthProbe("redis", 26379), Port("127.0.0.1", 1, 26379)
    service = Service("redis-sentinel-1", Kind.SENTINEL, "", probe, {}, "", (port,))
    stack = Stack("second", (tmp_path / "stack.yml",), {service.name: service}, (), {})
    with pytest.raises(OutcomeUnknown) as caught:
        act(Context(stack, StackState("second", tmp_path), SeenRuntime([{}])))
    assert caught.value.actions == (
        "spokectl redis sentinels --stack second",
        "spokectl redis reset-sentinels --stack second",
    )


def test_a_reset_whose_engine_goes_away_after_the_first_sentinel_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sights = iter([[master(), replica(), *SENTINELS]])

    def observe(*_: object) -> list[ServiceStatus]:
        for seen in sights:
            return seen
        raise Refused("no_engine", "no Docker engine answers")

    monkeypatch.setattr(reset, "observe", observe)
    monkeypatch.setattr(reset, "_reset", lambda *_: None)
    monkeypatch.setattr(reset, "_wait_until_found", lambda *_: None)
    context = Context(Stack("second", (tmp_path / "s.yml",), {}, (), {}), StackState("second", tmp_path), SeenRuntime([{}]))
    monkeypatch.setattr(reset, "running_context", lambda *_: context)
    with pytest.raises(Refused):
        reset.reset_sentinels("second", None, 1.0, unheard)
    assert [each["phase"] for each in context.journal.read()] == ["started", "failed"]
