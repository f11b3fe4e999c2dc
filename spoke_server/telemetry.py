"""Metrics and traces, by OpenTelemetry.

The same series have the same names in both places. Instruments are named without the product (`http.server.requests`);
this server's own /metrics puts `spoke_` in front, and so does the collector, by its exporter's namespace. Units and
kinds make the rest: a counter ends in _total, seconds in _seconds.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.types import Scope

from spoke_server.settings import OtelSettings, Settings

SEND_TIMEOUT_S = 2.0
SHUTDOWN_S = 0.5
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Span(Protocol):
    """What the server says about a request it traces."""

    def set_status_code(self, status: int) -> None:
        """Records the answer's status."""


class _NoSpan:
    def set_status_code(self, status: int) -> None:
        """Nobody listens."""


_NO_SPAN = _NoSpan()


class Telemetry:
    """Counts and traces requests, and lets other parts be observed."""

    def __init__(self, settings: Settings) -> None:
        self._enabled = settings.metrics_enabled or settings.otel.enabled
        self._registry = CollectorRegistry(auto_describe=False) if settings.metrics_enabled else None
        self._traces = _Traces(settings) if settings.otel.enabled else None
        self._sender = _Sender(settings.otel) if settings.otel.enabled else None
        readers = [_Reader(self._registry or CollectorRegistry(), self._sender)] if self._enabled else []
        buckets = ExplicitBucketHistogramAggregation(BUCKETS_S)
        self._provider = MeterProvider(
            readers,
            resource=_resource(settings),
            shutdown_on_exit=False,
            # Exemplars would cost every request more than the measurement itself.
            exemplar_filter=AlwaysOffExemplarFilter(),
            views=[View(instrument_name="http.server.duration", aggregation=buckets)],
        )
        if self._sender is not None:
            self._sender.start(readers[0])
        meter = self._provider.get_meter("spoke_server")
        self._meter = meter
        self._duration = meter.create_histogram("http.server.duration", "s", "How long requests took")
        self._requests: dict[tuple[str, str, int], tuple[dict[str, str | int], list[int]]] = {}
        self._cache_counts = {(kind, tier): 0 for kind in ("hits", "misses") for tier in ("memory", "redis")}
        meter.create_observable_counter("http.server.requests", [self._observe_requests], description="Requests answered")
        for kind, words in (("hits", "Version reads that found"), ("misses", "Version reads that did not find")):
            observe = self._observer_of(kind)
            meter.create_observable_counter(f"cache.{kind}", [observe], description=f"{words} the bytes in a cache")

    def record_request(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Counts an answered request."""
        if not self._enabled:
            return
        key = (method if method in _METHODS else "OTHER", route, status)
        found = self._requests.get(key)
        if found is None:
            attributes: dict[str, str | int] = {
                "http.method": key[0],
                "http.route": route,
                "http.status_code": status,
            }
            found = self._requests[key] = (attributes, [0])
        found[1][0] += 1
        self._duration.record(duration_s, found[0])

    def cache_hit(self, tier: str) -> None:
        """Counts a version's bytes found in a tier: memory or redis."""
        self._cache_counts["hits", tier] += 1

    def cache_miss(self, tier: str) -> None:
        """Counts a version's bytes not found in a tier."""
        self._cache_counts["misses", tier] += 1

    def counter(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Shows a number that only grows and is kept elsewhere."""
        self._meter.create_observable_counter(name, [_reading(read)], description=description)

    def gauge(self, name: str, description: str, read: Callable[[], float], unit: str = "") -> None:
        """Shows a number that goes up and down and is kept elsewhere."""
        self._meter.create_observable_gauge(name, [_reading(read)], unit, description)

    @contextmanager
    def span(self, scope: Scope, route: str) -> Iterator[Span]:
        """Traces a request, if it is one of those that are traced."""
        if self._traces is None:
            yield _NO_SPAN
        else:
            with self._traces.span(scope, route) as span:
                yield span

    def exposition(self) -> tuple[bytes, str] | None:
        """All series as Prometheus text with its content type; None when they are switched off."""
        if self._registry is None:
            return None
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def shutdown(self) -> None:
        """Sends what is left, but waits for no collector that does not answer."""

        def flush() -> None:
            if self._sender is not None:
                self._sender.stop()
            if self._traces is not None:
                self._traces.shutdown()
            self._provider.shutdown(timeout_millis=SHUTDOWN_S * 1e3)

        thread = threading.Thread(target=flush, name="telemetry-flush", daemon=True)
        thread.start()
        thread.join(SHUTDOWN_S)

    def _observe_requests(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count[0], attributes) for attributes, count in list(self._requests.values())]

    def _observer_of(self, kind: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            counts = self._cache_counts.items()
            return [Observation(count, {"cache.type": tier}) for (of, tier), count in counts if of == kind]

        return observe


class _Reader(PrometheusMetricReader):
    """One reader for /metrics and for the collector: a measurement is aggregated once, not once for each of them."""

    def __init__(self, registry: CollectorRegistry, sender: _Sender | None) -> None:
        super().__init__(disable_target_info=True, prefix="spoke", scope_info_enabled=False, registry=registry)
        self._sender = sender

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        if self._sender is not None and self._sender.is_asking():
            self._sender.send(metrics_data)
        else:
            super()._receive_metrics(metrics_data, timeout_millis, **kwargs)


class _Sender:
    """Sends all series to the collector every few seconds, from a thread of its own."""

    def __init__(self, otel: OtelSettings) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        # A collector that is not there is normal (natively it is optional): its absence is not worth a line every 10 s.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = OTLPMetricExporter(endpoint=f"{otel.endpoint}/v1/metrics", timeout=SEND_TIMEOUT_S)
        self._interval_s = otel.interval_s
        self._stopping = threading.Event()
        self._asking: int | None = None

    def start(self, reader: MetricReader) -> None:
        """Begins to send what the reader collects."""
        threading.Thread(target=self._run, args=(reader,), name="telemetry-sender", daemon=True).start()

    def stop(self) -> None:
        """Ends; what came after the last time is lost with the process, as counters start anew anyway."""
        self._stopping.set()
        self._exporter.shutdown()

    def is_asking(self) -> bool:
        """Whether the collection under way in this thread is for the collector."""
        return self._asking == threading.get_ident()

    def send(self, metrics_data: MetricsData) -> None:
        """Sends a collection."""
        self._exporter.export(metrics_data)

    def _run(self, reader: MetricReader) -> None:
        self._asking = threading.get_ident()
        while not self._stopping.wait(self._interval_s):
            reader.collect()


class _Traces:
    """A server span for requests whose caller traces them, and for a share of the others."""

    def __init__(self, settings: Settings) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._ratio = settings.otel.trace_ratio
        self._provider = TracerProvider(resource=_resource(settings), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{settings.otel.endpoint}/v1/traces", timeout=SEND_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=512, max_export_batch_size=256))
        self._tracer = self._provider.get_tracer("spoke_server")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, scope: Scope, route: str) -> Iterator[Span]:
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        if not carrier and random.random() >= self._ratio:  # noqa: S311 - a sample, no secret
            yield _NO_SPAN
            return
        from opentelemetry.trace import SpanKind

        attributes = {"http.method": scope["method"], "http.route": route, "http.target": scope["path"]}
        context = self._propagator.extract(carrier)
        name = f"{scope['method']} {route}"
        with self._tracer.start_as_current_span(name, context, SpanKind.SERVER, attributes) as span:
            yield _RecordedSpan(span)

    def shutdown(self) -> None:
        self._provider.shutdown()


class _RecordedSpan:
    def __init__(self, span: Any) -> None:
        self._span = span

    def set_status_code(self, status: int) -> None:
        self._span.set_attribute("http.status_code", status)


def _reading(read: Callable[[], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(read())]


def _resource(settings: Settings) -> Resource:
    return Resource.create(
        {
            "service.name": settings.otel.service_name,
            "service.version": settings.otel.service_version,
            "service.instance.id": settings.node,
        }
    )
