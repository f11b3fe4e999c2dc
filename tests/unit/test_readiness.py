"""When a wait for services ends. Nothing here runs: these services are seen down, done or dying, never asked."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spokectl.errors import ExitCode, Failed, NotFound, OutcomeUnknown
from spokectl.model import HealthProbe, Inspection, Kind, LogLine, RunState, Service, Stack
from spokectl.operations import readiness
from spokectl.operations.context import Context
from spokectl.operations.health import ServiceStatus
from spokectl.operations.readiness import wait_until_ready
from spokectl.runtime.base import Capabilities, Invocation, Notice
from spokectl.settings import StackState
from spokectl.wait import Deadline

LONG_S = 60.0


@dataclass
class SeenRuntime:
    """A runtime that shows what it is told to, one view after the other; the last one stays."""

    views: list[dict[str, Inspection]]
    name: str = "seen"
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(False, False, False, True))
    programs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What runs in a service in place of any command; nothing can be run in the others."""

    def inspect(self) -> dict[str, Inspection]:
        return self.views.pop(0) if len(self.views) > 1 else self.views[0]

    def logs(self, services: Iterable[str], *, since: datetime | None, tail: int | None, follow: bool) -> Iterator[LogLine]:
        assert (since, follow) == (None, False)
        assert tail is not None
        said = ["repeated", "repeated", "the last words of"]
        return (LogLine(name, None, f"{text} {name}") for name in services for text in said)

    def left_out(self) -> dict[str, str]:
        return {}

    def without_effect(self) -> list[str]:
        return []

    def changed(self, services: Sequence[str], deadline: Deadline) -> list[str]:
        raise AssertionError("a wait asks for no change")

    def invocation(self, service: str, argv: Sequence[str], *, terminal: bool = False) -> Invocation:
        if service not in self.programs:
            raise NotFound("not_running", f"{service} does not run")
        return Invocation(self.programs[service], dict(os.environ))

    def require_free_ports(self, services: Sequence[str]) -> None:
        raise AssertionError("a wait changes nothing")

    def has_data(self) -> bool:
        return False

    def bring_up(self, services: Sequence[str], deadline: Deadline, notice: Notice) -> None:
        raise AssertionError("a wait changes nothing")

    def tear_down(self, deadline: Deadline, *, volumes: bool, notice: Notice) -> list[str]:
        raise AssertionError("a wait changes nothing")

    def start(self, services: Sequence[str], deadline: Deadline) -> None:
        raise AssertionError("a wait changes nothing")

    def pause(self, services: Sequence[str]) -> None:
        raise AssertionError("a wait changes nothing")

    stop = kill = start
    unpause = pause


def context(tmp_path: Path, *views: Inspection) -> Context:
    service = Service("setup", Kind.JOB, "job", HealthProbe("job"), {}, "setup")
    stack = Stack("second", (tmp_path / "stack.yml",), {"setup": service}, (), {})
    return Context(stack, StackState("second", tmp_path), SeenRuntime([{"setup": view} for view in views]))


def unheard(subject: str, state: str, detail: str = "") -> None:
    """Takes the report and keeps it to itself."""


def test_a_job_is_ready_when_it_is_done_and_every_change_is_reported(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    waits = context(tmp_path, Inspection("setup", RunState.ABSENT), Inspection("setup", RunState.DONE))
    wait_until_ready(waits, ["setup"], Deadline(LONG_S), lambda subject, state, detail="": said.append((subject, state)))
    assert said == [("setup", "starting"), ("setup", "done")]


def test_a_service_that_has_failed_ends_the_wait_with_its_last_words(tmp_path: Path) -> None:
    failed = Inspection("setup", RunState.FAILED, exit_code=7, detail="ended with exit code 7")
    with pytest.raises(Failed) as caught:
        wait_until_ready(context(tmp_path, failed), ["setup"], Deadline(LONG_S), unheard)
    assert (caught.value.code, caught.value.exit_code) == ("service_failed", ExitCode.FAILED)
    assert "ended with exit code 7" in caught.value.message
    assert caught.value.message.endswith("log:\n  repeated setup  (2 times)\n  the last words of setup")
    assert caught.value.details == {"service": "setup", "exit_code": 7}
    assert caught.value.actions == ("spokectl logs setup --stack second", "spokectl up --stack second")


def test_a_service_that_crashes_again_and_again_ends_the_wait(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    crashes = [
        Inspection("setup", RunState.RESTARTING, started_at=start + timedelta(seconds=number), detail="crashed")
        for number in range(9)
    ]
    with pytest.raises(Failed, match="setup cannot run: crashed"):
        wait_until_ready(context(tmp_path, *crashes), ["setup"], Deadline(LONG_S), unheard)


def test_a_service_that_runs_for_a_moment_and_ends_again_and_again_ends_the_wait(tmp_path: Path) -> None:
    # A supervisor calls it running, and what is seen is mostly a process that does not listen yet.
    start = datetime(2026, 1, 1, tzinfo=UTC)
    tries = [
        Inspection("setup", RunState.RUNNING, pid=number + 1, started_at=start + timedelta(seconds=3 * number))
        for number in range(9)
    ]
    with pytest.raises(Failed, match=r"^setup cannot run: it has ended 5 times\n.*\n.*\n  the last words of setup$"):
        wait_until_ready(context(tmp_path, *tries), ["setup"], Deadline(LONG_S), unheard)


def test_a_wait_ends_at_its_deadline_with_reason_log_and_next_command(tmp_path: Path) -> None:
    absent = Inspection("setup", RunState.ABSENT)
    with pytest.raises(OutcomeUnknown) as caught:
        wait_until_ready(context(tmp_path, absent), ["setup"], Deadline(0.01), unheard)
    assert "setup: not started" in caught.value.message
    assert "the last words of setup" in caught.value.message
    assert caught.value.actions[0] == "spokectl logs setup --stack second"


NODES = ("postgres-primary", "postgres-replica")


def waits_for_standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, primary: RunState, wanted: list[str]) -> None:
    """A standby that answers and receives nothing; the primary does not answer."""

    def observe(service: Service, seen: Inspection | None) -> ServiceStatus:
        role = "standby" if service.name == NODES[1] else ""
        state = seen.state if seen else RunState.ABSENT
        return ServiceStatus(service.name, Kind.POSTGRES, state, "unhealthy", role, "no WAL", "18", 1, None, ())

    monkeypatch.setattr(readiness, "observe_one", observe)
    services = {name: Service(name, Kind.POSTGRES, "", HealthProbe("postgres", 5432), {}, name) for name in NODES}
    stack = Stack("second", (tmp_path / "stack.yml",), services, (), {})
    seen = {NODES[0]: Inspection(NODES[0], primary), NODES[1]: Inspection(NODES[1], RunState.RUNNING, pid=1)}
    wait_until_ready(Context(stack, StackState("second", tmp_path), SeenRuntime([seen])), wanted, Deadline(0.01), unheard)


def test_a_standby_alone_does_not_wait_for_a_primary_that_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_for_standby(tmp_path, monkeypatch, RunState.STOPPED, [NODES[1]])


@pytest.mark.parametrize(
    ("primary", "wanted"), [(RunState.RUNNING, [NODES[1]]), (RunState.RESTARTING, [NODES[1]]), (RunState.STOPPED, [*NODES])]
)
def test_a_standby_waits_for_a_primary_that_runs_or_is_asked_for_too(
    primary: RunState, wanted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutcomeUnknown, match="postgres-replica: no WAL"):
        waits_for_standby(tmp_path, monkeypatch, primary, wanted)


def refusing(node: str, command: str) -> tuple[str, ...]:
    word = {"state": "refused", "message": f"{node} has something to say", "command": command}
    return ("echo", json.dumps({"status": word, "record": None}))


def test_where_both_guards_refuse_both_are_named_after_the_look_at_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_ASK_GUARDS_S", 0.0)
    services = {name: Service(name, Kind.POSTGRES, "", HealthProbe("postgres", 5432), {}, name) for name in NODES}
    stack = Stack("second", (tmp_path / "stack.yml",), services, (), {})
    programs = {name: refusing(name, f"spokectl postgres adopt {name}") for name in NODES}
    runtime = SeenRuntime([{name: Inspection(name, RunState.STOPPED) for name in NODES}], programs=programs)
    with pytest.raises(Failed) as caught:
        wait_until_ready(Context(stack, StackState("second", tmp_path), runtime), [*NODES], Deadline(LONG_S), unheard)
    assert caught.value.message == "; ".join(f"{name} may not start: {name} has something to say" for name in NODES)
    adoptions = [f"spokectl postgres adopt {name} --stack second" for name in NODES]
    assert caught.value.actions == ("spokectl postgres status --stack second", *adoptions)


def test_a_guard_that_refuses_ends_the_wait_with_its_reason_and_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_ASK_GUARDS_S", 0.0)
    command = "spokectl postgres reinit postgres-replica --discard"
    word = {"state": "refused", "message": "12 bytes of WAL are only here", "command": command}
    service = Service("postgres-replica", Kind.POSTGRES, "replica", HealthProbe("postgres", 5432), {}, "postgres-replica")
    stack = Stack("second", (tmp_path / "stack.yml",), {service.name: service}, (), {})
    says = ("echo", json.dumps({"status": word, "record": None}))
    stopped = Inspection(service.name, RunState.STOPPED)
    runtime = SeenRuntime([{service.name: stopped}], programs={service.name: says})
    waits = Context(stack, StackState("second", tmp_path), runtime)
    with pytest.raises(Failed) as caught:
        wait_until_ready(waits, [service.name], Deadline(LONG_S), unheard)
    assert (caught.value.code, caught.value.exit_code) == ("postgres_refused", ExitCode.FAILED)
    assert caught.value.message == "postgres-replica may not start: 12 bytes of WAL are only here"
    assert caught.value.actions == (f"{command} --stack second",)
