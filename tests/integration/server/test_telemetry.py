"""The same series by OTLP as on /metrics, and traces of requests whose caller traces them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.server.backends import HOST, wait_for
from tests.integration.server.fixtures import Stack

pytestmark = pytest.mark.integration


class Collector(ThreadingHTTPServer):
    """Takes in what is sent by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.metrics: dict[str, str] = {}
        self.spans: dict[str, tuple[str, int]] = {}

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def take(self, path: str, body: bytes) -> None:
        """Keeps the names and units of metrics, and the names, traces and statuses of spans."""
        if path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    self.metrics.update({metric.name: metric.unit for metric in scope.metrics})
        if path == "/v1/traces":
            for traced in ExportTraceServiceRequest.FromString(body).resource_spans:
                for spans in traced.scope_spans:
                    for span in spans.spans:
                        codes = [a.value.int_value for a in span.attributes if a.key == "http.status_code"]
                        self.spans[span.trace_id.hex()] = (span.name, codes[0])


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert isinstance(self.server, Collector)
        self.server.take(self.path, body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(30)
    server.server_close()


def test_metrics_and_traces_reach_the_collector_under_the_names_it_prefixes(stack: Stack, collector: Collector) -> None:
    spoke = stack.spoke(
        SPOKE_OTEL_ENABLED="true",
        SPOKE_OTEL_ENDPOINT=f"{HOST}:{collector.port}",
        SPOKE_OTEL_INTERVAL="100ms",
        SPOKE_OTEL_TRACE_RATIO="0",
    ).start()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert httpx.get(f"{spoke.url}/modules", headers=headers, timeout=30).status_code == 200
    assert httpx.get(f"{spoke.url}/modules", timeout=30).status_code == 200
    wait_for(lambda: "http.server.requests" in collector.metrics, "the metrics")
    assert collector.metrics["http.server.duration"] == "s"
    assert {"db.connections.active", "cache.hits", "cache.misses", "redis.breaker.open"} <= collector.metrics.keys()
    shown = httpx.get(f"{spoke.health_url}/metrics", timeout=30).text
    for name in collector.metrics:
        assert f"\nspoke_{name.replace('.', '_')}" in shown
    assert spoke.stop() == 0
    assert collector.spans == {trace: ("GET /modules", 200)}
