"""What a look at the stack comes to: which ports are served, and when the stack is degraded."""

from dataclasses import replace
from pathlib import Path

import pytest

from spokectl.clients.postgres import PostgresNode
from spokectl.errors import ExitCode
from spokectl.facts import PostgresFacts
from spokectl.model import Health, HealthProbe, Inspection, Kind, Port, RunState, Service, Stack
from spokectl.operations import health
from spokectl.operations.context import Context
from spokectl.operations.endpoints import endpoints
from spokectl.operations.health import ServiceStatus, judged, observe, with_last_words
from spokectl.runtime.local.runtime import LocalRuntime
from spokectl.settings import StackState
from tests.unit.statuses import STANDBY
from tests.unit.test_readiness import SeenRuntime


def status(service: str, health: str, reason: str = "") -> ServiceStatus:
    return ServiceStatus(service, Kind.SPOKE, RunState.RUNNING, health, "instance", reason, "1", 7, None, ())


def test_a_stack_of_which_everything_is_well_done_or_left_out_is_ok() -> None:
    statuses = [status("a", "healthy"), status("b", "done"), status("c", "left-out", "no program")]
    result = judged("spoke", "the data", statuses, ("take note",))
    assert (result.exit_code, result.status, result.error) == (ExitCode.OK, "ok", None)
    assert (result.data, result.warnings) == ("the data", ("take note",))


@pytest.mark.parametrize("health", ["unhealthy", "starting", "down"])
def test_one_service_that_is_not_well_makes_the_stack_degraded(health: str) -> None:
    result = judged("second", "the data", [status("a", "healthy"), status("b", health)], ("take note",))
    assert (result.exit_code, result.status) == (ExitCode.DEGRADED, "partial")
    assert (result.data, result.warnings) == ("the data", ("take note",))
    assert result.error is not None
    assert result.error.code == "degraded"
    assert result.error.message == f"not everything is well: b: {health}"
    assert result.error.details == {"b": health}


def test_each_service_that_is_not_well_is_named_with_its_reason_and_what_to_type() -> None:
    long = "no answer " * 30
    error = judged("second", None, [status("a", "down", "paused"), status("b", "unhealthy", long)]).error
    assert error is not None
    assert error.message.startswith("not everything is well: a: paused; b: no answer")
    assert len(error.message) < 200
    assert error.details == {"a": "paused", "b": long}
    assert error.actions == ("spokectl up --stack second", "spokectl logs a --stack second")


def test_what_a_guard_says_to_type_and_what_thaws_a_frozen_one_comes_before_the_general_advice() -> None:
    refused = replace(status("a", "unhealthy", "it has diverged"), remedies=("spokectl postgres reinit a --discard",))
    frozen = replace(status("b", "down", "paused"), state=RunState.PAUSED)
    error = judged("second", None, [refused, frozen, refused]).error
    assert error is not None
    assert error.actions == (
        "spokectl unpause b --stack second",
        "spokectl postgres reinit a --discard",
        "spokectl up --stack second",
        "spokectl logs b --stack second",
    )


class Seen(LocalRuntime):
    """A local runtime in which nothing runs."""

    def inspect(self) -> dict[str, Inspection]:
        return {name: Inspection(name, RunState.STOPPED) for name in self._stack.services}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    console = {"SPOKE_S3_CONSOLE_PORT": "9001"}
    ports = (Port("127.0.0.1", 9000, 9000), Port("127.0.0.1", 9501, 9001))
    services = [
        Service("minio", Kind.S3, "store", HealthProbe("s3", 9000), console, "minio", ports),
        Service("otel", Kind.COLLECTOR, "", HealthProbe("http", 8889), {}, "otel", (Port("127.0.0.1", 8889, 8889),)),
    ]
    stack = Stack("spoke", (tmp_path / "stack.yml",), {each.name: each for each in services}, (), {})
    state = StackState("spoke", tmp_path)
    return Context(stack, state, Seen(stack, state, {}))


def test_only_ports_that_something_listens_on_when_it_runs_are_listed(context: Context) -> None:
    assert context.runtime.left_out().keys() == {"otel", "minio:9001"}
    listed = {each.service: [port.published for port in each.ports] for each in observe(context, context.stack.services)}
    assert listed == {"minio": [9000], "otel": []}
    points = endpoints(context.stack, {}, context.runtime.left_out())
    assert [point.url for point in points] == ["http://localhost:9000"]


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("spoke_server: SPOKE_X: no\n", "refused; its log ends: spoke_server: SPOKE_X: no"),
        ('{"level": "error", "msg": "no such folder"}\n', "refused; its log ends: no such folder"),
        ('{"level": "error"}\n', 'refused; its log ends: {"level": "error"}'),
        ("x" * 999 + "\n", f"refused; its log ends: {'x' * 199}…"),
        ("", "refused"),
    ],
)
def test_of_a_server_that_gives_no_answer_the_last_words_are_told(context: Context, last: str, reason: str) -> None:
    context.state.logs.mkdir(parents=True)
    (context.state.logs / "minio.log").write_text(f"starting\n{last}" if last else "")
    silent = replace(status("minio", "unhealthy", "refused"), role="")
    assert with_last_words(context.runtime, silent).reason == reason
    for other in (
        status("minio", "unhealthy", "refused"),
        replace(silent, health="down"),
        replace(silent, health="healthy"),
    ):
        assert with_last_words(context.runtime, other) == other


def test_clients_are_imported_before_the_threads_that_ask_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that import at once wait for each other; and of what does not run nobody is asked."""
    done: list[object] = []
    monkeypatch.setattr(health, "load_probes", lambda protocols: done.append(sorted(protocols)))

    def probe(service: Service) -> Health:
        done.append(service.name)
        return Health(service.name, ok=True)

    monkeypatch.setattr(health, "probe", probe)
    services = {
        name: Service(name, kind, "", HealthProbe(protocol, 1), {}, name, (Port("127.0.0.1", 1, 1),))
        for name, kind, protocol in (("web", Kind.LOAD_BALANCER, "http"), ("store", Kind.S3, "s3"))
    }
    seen = {"web": Inspection("web", RunState.RUNNING, pid=1), "store": Inspection("store", RunState.STOPPED)}
    stack = Stack("second", (tmp_path / "stack.yml",), services, (), {})
    observe(Context(stack, StackState("second", tmp_path), SeenRuntime([seen])), services)
    assert done == [["http"], "web"]


@pytest.mark.parametrize(
    ("facts", "health_word", "reason"),
    [
        (STANDBY, "healthy", ""),
        (replace(STANDBY, replay_paused=True), "degraded", health.REPLAY_PAUSED),
        (replace(STANDBY, replay_paused=True, receiver=None), "unhealthy", "it receives no WAL from a primary"),
    ],
)
def test_a_standby_that_applies_nothing_is_degraded(
    facts: PostgresFacts, health_word: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_ask_postgres", lambda *_: PostgresNode("18.6", facts))
    service = Service("b", Kind.POSTGRES, "replica", HealthProbe("postgres", 5432), {}, "b")
    seen = health.observe_one(service, Inspection("b", RunState.RUNNING, pid=1))
    assert (seen.health, seen.reason) == (health_word, reason)
