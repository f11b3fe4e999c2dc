from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from spokectl.errors import OutcomeUnknown, Refused
from spokectl.journal import Journal
from spokectl.model import Inspection, Kind, RunState
from spokectl.operations import services
from spokectl.operations.context import Context
from spokectl.operations.health import ServiceStatus
from spokectl.operations.services import rounds
from spokectl.result import Report
from spokectl.settings import StackState
from spokectl.stackfile import default_stack_file, load_stack
from spokectl.wait import Deadline
from tests.unit.test_readiness import SeenRuntime, unheard

STACK = load_stack("spoke", [default_stack_file()], shell={}, env_file={})


def test_peers_are_restarted_one_after_the_other_in_the_order_they_are_named() -> None:
    assert rounds(STACK, ["spoke-3", "spoke-1", "spoke-2"], STACK.services) == [["spoke-3"], ["spoke-1"], ["spoke-2"]]


def test_what_is_not_a_peer_is_restarted_beside_them() -> None:
    named = ["nginx", "spoke-1", "redis-replica", "spoke-2", "redis-master"]
    assert rounds(STACK, named, STACK.services) == [["nginx", "spoke-1", "redis-replica"], ["spoke-2", "redis-master"]]


def test_everybody_has_a_turn_exactly_once() -> None:
    found = rounds(STACK, STACK.services, STACK.services)
    assert sorted(name for names in found for name in names) == sorted(STACK.services)
    assert all(len({STACK.services[name].kind for name in names}) == len(names) for names in found)


SENTINELS = ["redis-sentinel-1", "redis-sentinel-2", "redis-sentinel-3"]


@pytest.mark.parametrize(
    ("named", "running", "expected"),
    [
        # Sentinels that are all down reach no quorum one by one, and Redis nodes ask each other.
        (SENTINELS, [], [SENTINELS]),
        (["redis-master", "redis-replica"], [], [["redis-master", "redis-replica"]]),
        # Who serves alone goes on until the others are back.
        (["spoke-1", "spoke-2", "spoke-3"], ["spoke-1"], [["spoke-2", "spoke-3"], ["spoke-1"]]),
        (SENTINELS, SENTINELS[:2], [SENTINELS[2:], SENTINELS[:1], SENTINELS[1:2]]),
        # Each kind for itself: a peer of nobody who is down waits for nobody.
        (["spoke-1", *SENTINELS, "spoke-2"], ["spoke-1", "spoke-2"], [["spoke-1", *SENTINELS], ["spoke-2"]]),
        ([], [], []),
    ],
)
def test_peers_that_are_down_are_started_together_before_those_that_run_take_turns(
    named: list[str], running: list[str], expected: list[list[str]]
) -> None:
    assert rounds(STACK, named, running) == expected


class Servers(SeenRuntime):
    """Servers that are stopped and started as they are told, and at once."""

    refuses = False
    restarted: list[list[str]]

    def stop(self, services: Sequence[str], deadline: Deadline) -> None:
        self.restarted.append([*services])
        self._become(services, RunState.STOPPED)

    def start(self, services: Sequence[str], deadline: Deadline) -> None:
        if self.refuses and services:
            raise Refused("port_taken", "a port is taken")
        self._become(services, RunState.RUNNING)

    def unpause(self, services: Sequence[str]) -> None:
        self._become(services, RunState.RUNNING)

    def _become(self, services: Sequence[str], state: RunState) -> None:
        self.views = [self.views[0] | {name: Inspection(name, state) for name in services}]


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Servers:
    """All servers of the stack, which run."""
    runtime = Servers([{name: Inspection(name, RunState.RUNNING) for name in STACK.services}])
    runtime.restarted = []
    context = Context(STACK, StackState("spoke", tmp_path), runtime)
    monkeypatch.setattr(services, "_running", lambda *_: context)
    monkeypatch.setattr(services, "observe", lambda *_: [])
    return runtime


def phases(folder: Path) -> list[str]:
    return [each["phase"] for each in Journal(StackState("spoke", folder).events_file).read()]


def test_a_restart_that_is_refused_once_a_service_was_stopped_has_failed(servers: Servers, tmp_path: Path) -> None:
    servers.refuses = True
    for action in ("start", "restart"):
        with pytest.raises(Refused):
            services.act("spoke", None, action, ["spoke-1"], 1.0, unheard)
    assert phases(tmp_path) == ["started", "refused", "started", "failed"]


PAIR = ["postgres-replica", "postgres-primary"]


@dataclass
class Waits:
    """Which services were waited for together, and by which deadline."""

    monkeypatch: pytest.MonkeyPatch
    seen: list[list[str]] = field(default_factory=list)
    deadlines: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        def wait(context: Context, wanted: list[str], deadline: Deadline, report: Report) -> None:
            self.seen.append(wanted)
            self.deadlines.add(id(deadline))

        self.monkeypatch.setattr(services, "wait_until_ready", wait)


def test_peers_that_were_restarted_in_turn_are_waited_for_together_at_last(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is waited for alone counts as ready while the pair is only degraded."""
    waits = Waits(monkeypatch)
    services.act("spoke", None, "restart", PAIR, 5.0, unheard)
    assert servers.restarted == [PAIR[:1], PAIR[1:]]
    assert waits.seen == [PAIR[:1], PAIR[1:], PAIR]
    assert len(waits.deadlines) == 1


@pytest.mark.parametrize("state", [RunState.STOPPED, RunState.FAILED, RunState.PAUSED, RunState.RESTARTING])
def test_sentinels_of_which_none_serves_are_restarted_together(
    state: RunState, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one by itself would wait for a quorum that only the others can make up."""
    servers.views = [servers.views[0] | {name: Inspection(name, state) for name in SENTINELS}]
    waits = Waits(monkeypatch)
    services.act("spoke", None, "restart", SENTINELS, 5.0, unheard)
    assert (servers.restarted, waits.seen) == ([SENTINELS], [SENTINELS])


def test_a_master_that_was_replaced_while_it_stood_still_is_waited_for_until_it_says_what_the_sentinels_say(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    Waits(monkeypatch)
    said = "the Sentinels name redis-replica"
    wrong = ServiceStatus("redis-master", Kind.REDIS, RunState.RUNNING, "unhealthy", "master", said, "", 7, None, ())
    right = replace(wrong, health="healthy", role="replica", reason="")
    seen = [right, right, wrong, wrong]
    monkeypatch.setattr(services, "observe", lambda *_: [seen.pop() if len(seen) > 1 else seen[0]])
    told: list[tuple[str, str, str]] = []
    services.act(
        "spoke", None, "unpause", ["redis-master"], 60.0, lambda *words: told.append((words[0], words[1], words[2]))
    )
    assert told == [("redis-master", "healthy", "replica")]
    monkeypatch.setattr(services, "observe", lambda *_: [wrong])
    with pytest.raises(OutcomeUnknown, match=said):
        services.act("spoke", None, "unpause", ["redis-master"], 0.1, unheard)
