"""Who is asked for keys and series, and what is said when nobody answers: against servers of the test's own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spokectl.errors import ExitCode, Failed, NotFound, OutcomeUnknown
from spokectl.model import HealthProbe, Inspection, Kind, Port, RunState, Service, Stack
from spokectl.operations import cache as operation
from spokectl.operations import metrics as metrics_operation
from spokectl.operations.cache import asked, flush, master_of, stats
from spokectl.operations.context import Context
from spokectl.operations.metrics import MetricsRequest, metrics
from spokectl.settings import StackState
from tests.contract.test_redis_agreement import NODES, Said, context, said
from tests.unit.test_readiness import SeenRuntime

__all__ = ["context", "said"]
pytestmark = pytest.mark.timeout(120)


def test_the_master_is_the_node_that_says_so_whatever_it_is_called(context: Context, said: Said) -> None:
    assert master_of(context) == "redis-master"
    said.masters = {"redis-replica"}
    assert master_of(context) == "redis-replica"


def test_two_masters_are_none(context: Context, said: Said) -> None:
    said.masters = set(NODES)
    with pytest.raises(
        Failed, match=r"no one master that answers \(redis-master: master; redis-replica: master\)"
    ) as caught:
        master_of(context)
    assert (caught.value.code, caught.value.exit_code) == ("no_master", ExitCode.FAILED)
    assert caught.value.actions[0] == "spokectl redis status --stack second"


def test_a_redis_that_is_silent_is_an_error_with_its_reason(context: Context, said: Said) -> None:
    context.state.ensure()
    said.silent = set(NODES)
    with pytest.raises(Failed, match="no one master that answers"):
        master_of(context)
    with pytest.raises(Failed) as caught:
        flush(context, "redis-master", 60)
    assert (caught.value.code, caught.value.retryable) == ("no_answer", True)
    assert caught.value.message.startswith("redis-master does not do it: ")
    [started, ended] = context.journal.read()
    assert (started["operation"], started["services"], ended["phase"]) == ("cache flush", ["redis-master"], "failed")


def test_a_flush_that_is_too_late_has_an_unknown_outcome_and_the_ledger_says_how_far_it_came(
    context: Context,
) -> None:
    context.state.ensure()
    with pytest.raises(OutcomeUnknown, match="after 0 s; 2 are deleted") as caught:
        flush(context, "redis-master", 0)
    assert (caught.value.code, caught.value.details) == ("timeout", {"deleted": 2})
    assert caught.value.actions == ("spokectl cache flush --stack second",)
    [_, ended] = context.journal.read()
    assert (ended["phase"], ended["code"], ended["deleted"]) == ("failed", "timeout", 2)


def test_a_node_is_asked_at_its_address_with_its_password(context: Context) -> None:
    service = context.stack.services["redis-replica"]
    service.environment["SPOKE_REDIS_PASSWORD"] = "hush"
    assert asked(context, "redis-replica", lambda *at: at) == (*service.address(6379), "hush")


@contextmanager
def serving(pages: dict[str, tuple[int, str]]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = pages.get(self.path, (404, "none"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """The test's output is its own."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


HEALTHY = (200, '{"status": "healthy"}')
PAGE = (
    200,
    "# TYPE spoke_cache_size_bytes gauge\nspoke_cache_size_bytes 7\n"
    '# TYPE took_seconds histogram\ntook_seconds_bucket{le="+Inf"} 2\ntook_seconds_sum 1\ntook_seconds_count 2\n',
)


@pytest.fixture
def spokes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """One that tells, one whose metrics are switched off, one that is killed, and a load balancer."""
    with (
        serving({"/health/ready": HEALTHY, "/metrics": PAGE}) as told,
        serving({"/health/ready": HEALTHY}) as silent,
        serving({}) as killed,
    ):
        services = {
            name: Service(
                name, Kind.SPOKE, "", HealthProbe("http", 9090, "/health/ready"), {}, name, (Port("127.0.0.1", port, 9090),)
            )
            for name, port in {"spoke-1": told, "spoke-2": silent, "spoke-3": killed}.items()
        }
        services["nginx"] = Service("nginx", Kind.LOAD_BALANCER, "", HealthProbe("http", 8080), {}, "nginx")
        seen = {name: Inspection(name, RunState.RUNNING, pid=1) for name in services}
        seen["spoke-3"] = Inspection("spoke-3", RunState.STOPPED, detail="killed")
        stack = Stack("second", (tmp_path / "stack.yml",), services, (), {})
        made = Context(stack, StackState("second", tmp_path), SeenRuntime([seen]))
        for module in (operation, metrics_operation):
            monkeypatch.setattr(module, "running_context", lambda name, file: made)
        yield made


def test_spokes_that_tell_nothing_are_named_with_the_reason_and_hide_none_that_do(spokes: Context) -> None:
    result = metrics("second", None, MetricsRequest(match="^spoke_"))
    assert [(each.name, each.values) for each in result.data.series] == [("spoke_cache_size_bytes", {"spoke-1": 7})]
    assert result.data.silent == {"spoke-2": "no metrics: /metrics is answered by 404", "spoke-3": "killed"}
    assert (result.exit_code, result.status) == (ExitCode.DEGRADED, "partial")
    assert result.error is not None
    assert "spoke-2: no metrics: /metrics is answered by 404" in result.error.message


def test_of_one_that_is_well_nothing_is_said_of_the_others(spokes: Context) -> None:
    result = metrics("second", None, MetricsRequest(service="spoke-1", match="size"))
    assert (result.exit_code, result.data.silent, len(result.data.series)) == (ExitCode.OK, {}, 1)
    assert metrics("second", None, MetricsRequest(service="spoke-1", match="hits")).data.series == []


@pytest.mark.parametrize(("service", "code"), [("nginx", "no_metrics"), ("spoke-9", "unknown_service")])
def test_a_service_without_metrics_is_not_found(spokes: Context, service: str, code: str) -> None:
    with pytest.raises(NotFound) as caught:
        metrics("second", None, MetricsRequest(service=service))
    assert (caught.value.code, caught.value.exit_code) == (code, ExitCode.NOT_FOUND)


def test_rates_come_from_two_reads_so_far_apart(spokes: Context) -> None:
    pauses: list[float] = []
    result = metrics("second", None, MetricsRequest(match="size", service="spoke-1", interval_s=2.5), pauses.append)
    assert pauses == [2.5]
    assert [each.per_second for each in result.data.series] == [{}]  # a gauge


def test_stats_keep_a_row_for_a_spoke_that_does_not_tell(spokes: Context) -> None:
    result = stats("second", None)
    assert {each.service: (each.memory_used_bytes, each.reason) for each in result.data.spokes} == {
        "spoke-1": (7, ""),
        "spoke-2": (None, "no metrics: /metrics is answered by 404"),
        "spoke-3": (None, "killed"),
    }
    assert (result.data.total.memory_used_bytes, result.exit_code) == (7, ExitCode.DEGRADED)


def test_a_spoke_that_publishes_no_port_is_a_row_with_the_reason(spokes: Context) -> None:
    lacking, services = "the stack file gives it no published port 9090", spokes.stack.services
    services["spoke-2"] = replace(services["spoke-2"], ports=())
    rows = {each.service: (each.memory_used_bytes, each.reason) for each in stats("second", None).data.spokes}
    assert (rows["spoke-1"], rows["spoke-2"]) == ((7, ""), (None, f"{lacking}; its log ends: the last words of spoke-2"))


def test_buckets_are_left_out_unless_they_are_asked_for(spokes: Context) -> None:
    def names(*, buckets: bool) -> list[str]:
        found = metrics("second", None, MetricsRequest(service="spoke-1", match="seconds", buckets=buckets)).data.series
        return [each.name for each in found]

    assert names(buckets=False) == ["took_seconds_count", "took_seconds_sum"]
    assert names(buckets=True) == ["took_seconds_bucket", "took_seconds_count", "took_seconds_sum"]
