"""What `failover redis` does where a node is down or silent; servers and Sentinels say what the test wants."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from spokectl.clients.redis import RedisNode, RedisUnavailable, SentinelView
from spokectl.errors import ExitCode, Failed, OutcomeUnknown, Refused
from spokectl.model import HealthProbe, Inspection, Kind, Port, RunState, Service, Stack
from spokectl.operations.context import Context
from spokectl.operations.event_lines import of_journal
from spokectl.operations.moves import MoveRequest
from spokectl.operations.redis import move as moving
from spokectl.operations.redis import moves
from spokectl.operations.redis.move import RedisMove
from spokectl.operations.redis.moves import was_replaced
from spokectl.settings import StackState
from spokectl.wait import Deadline
from tests.unit.redis.test_moves import MASTER, REPLICA, VIEW
from tests.unit.test_readiness import SeenRuntime, unheard

NODES = ("redis-master", "redis-replica")
SENTINELS = ("redis-sentinel-1", "redis-sentinel-2", "redis-sentinel-3")
FOLLOWING = replace(REPLICA, master="redis-master:6379")
HEARD, UNHEARD = {"master-host": "redis-master"}, {"master-host": "?"}
PASSED = Deadline(0)


@dataclass
class Servers:
    """What answers at each published port, by the service's name; `refusals` are the answers to SENTINEL FAILOVER."""

    nodes: dict[str, RedisNode]
    replicas: list[bytes] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)

    def observe_redis(self, host: str, port: int, password: str, *, timeout_s: float) -> RedisNode:
        name = NODES[port - 1]
        if name not in self.nodes:
            raise RedisUnavailable("connection refused")
        return self.nodes[name]

    def observe_sentinel(self, host: str, port: int, group: str, *, timeout_s: float) -> SentinelView:
        return replace(VIEW, master="redis-master:6379")

    def tell(self, host: str, port: int, password: str | None, *words: str, timeout_s: float) -> Any:
        name = (*NODES, *SENTINELS)[port - 1]
        self.told.append((name, " ".join(words)))
        if words[:2] == ("SENTINEL", "REPLICAS"):
            return [self.replicas]
        if name in self.refusals:
            raise RedisUnavailable(self.refusals[name])
        return b"OK"


@dataclass
class Runtime(SeenRuntime):
    """A node that is started follows the master at once."""

    servers: Servers = field(default_factory=lambda: Servers({}))
    started: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)

    def start(self, services: Sequence[str], deadline: Deadline) -> None:
        self.started += services
        self.servers.nodes |= dict.fromkeys(services, FOLLOWING)

    def stop(self, services: Sequence[str], deadline: Deadline) -> None:
        """What is stopped is started again."""

    def kill(self, services: Sequence[str], deadline: Deadline) -> None:
        """What is killed runs on."""
        self.killed += services


def service(name: str, number: int) -> Service:
    kind, target = (Kind.REDIS, 6379) if name in NODES else (Kind.SENTINEL, 26379)
    probe = HealthProbe("redis", target)
    return Service(name, kind, "", probe, {"SPOKE_REDIS_MASTER_NAME": "m"}, name, (Port("127.0.0.1", number, target),))


@dataclass
class Pair:
    """The stack `second`, whose Sentinels name redis-master."""

    context: Context
    runtime: Runtime
    servers: Servers

    def failover(self, **request: Any) -> Any:
        return moves.failover(self.context, MoveRequest(**request), unheard).data

    def move(self) -> RedisMove:
        return RedisMove(self.context, *NODES)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """redis-replica is stopped, and the Sentinels have heard it as a replica."""
    servers = Servers({"redis-master": MASTER}, noted(HEARD))
    for name in ("observe_redis", "observe_sentinel", "tell"):
        monkeypatch.setattr(moving, name, getattr(servers, name))
    services = {name: service(name, number) for number, name in enumerate((*NODES, *SENTINELS), 1)}
    seen = {name: Inspection(name, RunState.RUNNING, pid=1) for name in services}
    seen["redis-replica"] = Inspection("redis-replica", RunState.STOPPED)
    runtime = Runtime([seen], servers=servers)
    state = StackState("second", tmp_path)
    state.ensure()
    return Pair(Context(Stack("second", (tmp_path / "stack.yml",), services, (), {}), state, runtime), runtime, servers)


def noted(more: dict[str, str]) -> list[bytes]:
    """An entry of SENTINEL REPLICAS, for redis-replica."""
    return [word.encode() for pair in ({"ip": "redis-replica", "port": "6379"} | more).items() for word in pair]


@pytest.mark.parametrize(
    ("told", "replaced"),
    [
        ([UNHEARD, UNHEARD, UNHEARD], True),
        ([HEARD, HEARD, HEARD], False),
        # A Sentinel that was started since has not heard anybody; one that was reset has forgotten it.
        ([UNHEARD, HEARD, UNHEARD], False),
        ([], False),
        ([{}], False),
    ],
)
def test_a_node_was_replaced_when_no_sentinel_has_heard_it_as_a_replica(told: list[dict[str, str]], replaced: bool) -> None:
    assert was_replaced(told) is replaced


@pytest.mark.parametrize(
    ("request_", "told"),
    [({}, HEARD), ({"dry_run": True}, HEARD), ({"to": "redis-replica"}, HEARD), ({"to": "redis-replica"}, UNHEARD)],
)
def test_a_replica_that_is_down_is_not_started_in_place_of_a_failover(
    request_: dict[str, Any], told: dict[str, str], pair: Pair
) -> None:
    pair.servers.replicas = noted(told)
    with pytest.raises(Refused) as caught:
        pair.failover(**request_)
    assert (caught.value.code, caught.value.exit_code) == ("no_replica", ExitCode.REFUSED)
    assert caught.value.message == (
        "nothing was changed: redis-master is master and well, and redis-replica cannot take over: it is stopped"
    )
    assert caught.value.actions == ("spokectl start redis-replica --stack second", "spokectl up --stack second")
    assert pair.runtime.started == []


def test_a_replica_that_is_paused_is_told_to_go_on(pair: Pair) -> None:
    pair.runtime.views[0]["redis-replica"] = Inspection("redis-replica", RunState.PAUSED, pid=1)
    with pytest.raises(Refused, match="it is paused") as caught:
        pair.failover()
    assert caught.value.actions[0] == "spokectl unpause redis-replica --stack second"


def test_a_node_that_the_sentinels_have_replaced_is_brought_back_and_nothing_is_said_to_have_moved(pair: Pair) -> None:
    pair.servers.replicas = noted(UNHEARD)
    data = pair.failover()
    assert (data.outcome, data.old, data.new, data.write_gap_s) == ("finished", "redis-replica", "redis-master", None)
    assert data.signs_of_death[0] == "redis-replica is stopped, redis-master is master"
    assert [each.step for each in data.steps] == ["fence", "agree", "follow"]
    assert pair.runtime.started == ["redis-replica"]
    assert not any("FAILOVER" in words for _, words in pair.servers.told)
    [event] = of_journal(pair.context.journal.read())
    assert (event.what, event.target, event.why) == ("failover redis", "redis-master", "finished: redis-master has the role")
    assert event.outcome.startswith("done")


def test_what_would_bring_a_replaced_node_back_is_shown_and_not_done(pair: Pair) -> None:
    pair.servers.replicas = noted(UNHEARD)
    data = pair.failover(dry_run=True)
    assert (data.outcome, [each.step for each in data.plan]) == ("planned", ["fence", "agree", "follow"])
    assert pair.runtime.started == []


def asked(pair: Pair) -> list[str]:
    return [name for name, words in pair.servers.told if words.startswith("SENTINEL FAILOVER")]


def test_a_failover_that_is_under_way_is_not_begun_a_second_time(pair: Pair) -> None:
    pair.servers.refusals = {SENTINELS[0]: "INPROG Failover already in progress"}
    with pytest.raises(OutcomeUnknown, match="redis-replica is not master yet") as caught:
        pair.move().have_it_promoted(PASSED)
    assert asked(pair) == [SENTINELS[0]]
    assert caught.value.actions == (
        "spokectl redis sentinels --stack second",
        "spokectl logs redis-replica --stack second",
    )


def test_nobody_is_asked_when_the_pause_of_writes_is_about_to_end(pair: Pair) -> None:
    move = pair.move()
    move.pause_writes(Deadline(60))
    with pytest.raises(Failed, match="is about to end") as caught:
        move.have_it_promoted_in_the_pause(Deadline(60))
    assert (caught.value.code, asked(pair)) == ("pause_over", [])
    with pytest.raises(OutcomeUnknown, match="is not master yet"):
        move.have_it_promoted_in_the_pause(PASSED)
    assert asked(pair) == [SENTINELS[0]]


def test_a_master_that_somebody_has_started_meanwhile_is_put_down_before_the_promotion(pair: Pair) -> None:
    pair.runtime.views = [{name: Inspection(name, RunState.RUNNING, pid=1) for name in NODES}]
    with pytest.raises(OutcomeUnknown):
        pair.move().fence_and_have_it_promoted(PASSED)
    assert pair.runtime.killed == ["redis-master"]
    assert asked(pair) == []


@pytest.mark.parametrize(
    ("alone_s", "said", "restarted"),
    [(21, "NOGOODSLAVE No suitable replica to promote", True), (19, "NOGOODSLAVE No", False), (21, "IDONTKNOW", False)],
)
def test_a_replica_that_is_unfit_only_for_having_been_alone_too_long_is_restarted(
    alone_s: int, said: str, restarted: bool, pair: Pair
) -> None:
    pair.runtime.views = [{name: Inspection(name, RunState.STOPPED) for name in NODES}]
    pair.servers.nodes = {"redis-replica": replace(FOLLOWING, facts=replace(FOLLOWING.facts, link_down_s=alone_s))}
    pair.servers.refusals = dict.fromkeys(SENTINELS, said)
    with pytest.raises(OutcomeUnknown, match="redis-replica becomes master"):
        pair.move().fence_and_have_it_promoted(Deadline(0.1))
    assert pair.runtime.started == (["redis-replica"] if restarted else [])


def test_the_next_sentinel_is_asked_where_one_cannot(pair: Pair) -> None:
    pair.servers.refusals = {SENTINELS[0]: "connection refused"}
    with pytest.raises(OutcomeUnknown, match="redis-replica is not master yet"):
        pair.move().have_it_promoted(PASSED)
    assert asked(pair) == list(SENTINELS[:2])


def test_where_no_sentinel_can_the_last_ones_reason_is_said(pair: Pair) -> None:
    pair.servers.refusals = {name: f"NOGOODSLAVE says {name}" for name in SENTINELS}
    with pytest.raises(OutcomeUnknown, match=f"NOGOODSLAVE says {SENTINELS[2]}"):
        pair.move().have_it_promoted(PASSED)
    assert asked(pair) == list(SENTINELS)


def test_what_the_round_before_was_answered_is_not_said_of_this_one() -> None:
    answers = ["NOGOODSLAVE", "", ""]
    now_s = iter([0.0, 0.0, 0.5, 2.0, 2.0, 2.5])
    blocker = moving.asked_each_second(lambda: False, lambda: answers.pop(0), "not yet", lambda: next(now_s))
    assert [blocker(), blocker(), blocker(), blocker()] == ["NOGOODSLAVE", "NOGOODSLAVE", "not yet", "not yet"]
    assert answers == [""]


@pytest.mark.parametrize(
    "step", ["wait_until_equal", "have_it_promoted", "wait_until_agreed", "wait_until_followed", "demote_old", "kill_old"]
)
def test_a_step_that_does_not_come_to_its_end_says_what_to_type(step: str, pair: Pair) -> None:
    ahead = replace(MASTER, facts=replace(MASTER.facts, offset=501))
    pair.servers.nodes = {"redis-master": ahead, "redis-replica": REPLICA}
    pair.servers.refusals = dict.fromkeys((*NODES, *SENTINELS), "refused")
    with pytest.raises((Failed, OutcomeUnknown)) as caught:
        getattr(pair.move(), step)(PASSED)
    assert caught.value.actions
    assert all(each.startswith("spokectl ") and each.endswith("--stack second") for each in caught.value.actions)
