from collections.abc import Sequence
from pathlib import Path

import pytest

from spokectl.errors import Refused
from spokectl.journal import Journal
from spokectl.model import Inspection, RunState
from spokectl.operations import services
from spokectl.operations.context import Context
from spokectl.operations.services import rounds
from spokectl.settings import StackState
from spokectl.stackfile import default_stack_file, load_stack
from spokectl.wait import Deadline
from tests.unit.test_readiness import SeenRuntime, unheard

STACK = load_stack("spoke", [default_stack_file()], shell={}, env_file={})


def test_peers_are_restarted_one_after_the_other_in_the_order_they_are_named() -> None:
    assert rounds(STACK, ["spoke-3", "spoke-1", "spoke-2"]) == [["spoke-3"], ["spoke-1"], ["spoke-2"]]


def test_what_is_not_a_peer_is_restarted_beside_them() -> None:
    named = ["nginx", "spoke-1", "redis-replica", "spoke-2", "redis-master"]
    assert rounds(STACK, named) == [["nginx", "spoke-1", "redis-replica"], ["spoke-2", "redis-master"]]


def test_everybody_has_a_turn_exactly_once() -> None:
    found = rounds(STACK, STACK.services)
    assert sorted(name for names in found for name in names) == sorted(STACK.services)
    assert all(len({STACK.services[name].kind for name in names}) == len(names) for names in found)


class Servers(SeenRuntime):
    """Servers that are stopped and started as they are told, and at once."""

    refuses = False

    def stop(self, services: Sequence[str], deadline: Deadline) -> None:
        self._become(services, RunState.STOPPED)

    def start(self, services: Sequence[str], deadline: Deadline) -> None:
        if self.refuses and services:
            raise Refused("port_taken", "a port is taken")
        self._become(services, RunState.RUNNING)

    def _become(self, services: Sequence[str], state: RunState) -> None:
        self.views = [self.views[0] | {name: Inspection(name, state) for name in services}]


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Servers:
    """All servers of the stack, which run."""
    runtime = Servers([{name: Inspection(name, RunState.RUNNING) for name in STACK.services}])
    context = Context(STACK, StackState("spoke", tmp_path), runtime)
    monkeypatch.setattr(services, "_running", lambda *_: context)
    return runtime


def phases(folder: Path) -> list[str]:
    return [each["phase"] for each in Journal(StackState("spoke", folder).events_file).read()]


def test_a_restart_that_is_refused_once_a_service_was_stopped_has_failed(servers: Servers, tmp_path: Path) -> None:
    servers.refuses = True
    for action in ("start", "restart"):
        with pytest.raises(Refused):
            services.act("spoke", None, action, ["spoke-1"], 1.0, unheard)
    assert phases(tmp_path) == ["started", "refused", "started", "failed"]
