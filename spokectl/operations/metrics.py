"""The series of the Spokes, and of the collector where there is one, read from their pages of metrics."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spokectl.errors import NotFound
from spokectl.model import Kind, Service
from spokectl.operations.context import Context, running_context, services_of
from spokectl.operations.health import PROBE_TIMEOUT_S, ServiceStatus, judged, observe
from spokectl.operations.patterns import pattern_of
from spokectl.operations.registry import reached
from spokectl.result import Result
from spokectl.settings import command_line

if TYPE_CHECKING:
    from spokectl.clients.metrics import Sample

SPOKES = "spokes"
_COLLECTORS_PORT = "SPOKE_OTEL_METRICS_PORT"
_GROWING = frozenset({"counter", "histogram"})
_OF_COLLECTION = frozenset({"instance", "job", "otel_scope_name", "otel_scope_version", "otel_scope_schema_url"})
"""Labels by which a collector says where a series comes from; the Spoke's own page has none of them."""


@dataclass(frozen=True)
class Series:
    """One series with its value at each instance. `source` is `spokes`, or the collector that told it.

    `kind` is counter (only grows), gauge, histogram, or the page's own word. `per_second`: by how much it grew between two
    reads, by instance; empty unless that was asked for, and for what does not only grow.
    """

    name: str
    labels: dict[str, str]
    kind: str
    source: str
    values: dict[str, float | None]
    per_second: dict[str, float]

    @property
    def text(self) -> str:
        """As Prometheus writes it: `name{label="value"}`."""
        return self.name + label_text(self.labels)


@dataclass(frozen=True)
class Metrics:
    """`silent`: the services that have no answer, with the reason."""

    series: list[Series]
    silent: dict[str, str]


@dataclass(frozen=True)
class Page:
    """What one service told, and when on the monotonic clock; `silence` says why there is nothing."""

    service: str
    kind: Kind
    samples: "Sequence[Sample]"
    at_s: float
    silence: str = ""


@dataclass(frozen=True)
class MetricsRequest:
    """`interval_s`: read twice, so long apart, for the growth a second; None reads once."""

    match: str | None = None
    service: str | None = None
    interval_s: float | None = None
    buckets: bool = False


def metrics(name: str, file: Path | None, request: MetricsRequest, pause: Callable[[float], None] = time.sleep) -> Result:
    """The series that match; degraded (10) with the reason when a service does not tell its own."""
    wanted = pattern_of("--match", request.match) if request.match is not None else None
    context = running_context(name, file)
    sources = _sources(context, request.service)
    before = read_pages(sources) if request.interval_s is not None else []
    if request.interval_s is not None:
        pause(request.interval_s)
    pages = read_pages(sources)
    found = [
        each
        for each in table_of(pages, before)
        if (request.buckets or not each.name.endswith("_bucket")) and (wanted is None or wanted.search(each.text))
    ]
    statuses = silent_ones(context, pages)
    return judged(name, Metrics(found, {each.service: each.reason for each in statuses}), statuses)


def read_pages(services: Sequence[Service]) -> list[Page]:
    """Every service's page, asked for at once."""
    with ThreadPoolExecutor(max_workers=max(1, len(services))) as pool:
        return list(pool.map(read_page, services))


def read_page(service: Service) -> Page:
    """The page of a Spoke or a collector. It never raises: no answer is an answer."""
    from spokectl.clients.metrics import read_metrics
    from spokectl.clients.probe import NoAnswer

    samples: Sequence[Sample] = ()
    silence = ""
    try:
        samples = read_metrics(*_place_of_page(service), timeout_s=PROBE_TIMEOUT_S)
    except NoAnswer as error:
        silence = str(error)
    return Page(service.name, service.kind, samples, time.monotonic(), silence)


def _place_of_page(service: Service) -> tuple[str, int]:
    """NoAnswer where the stack file, which may be one of the user's own, does not say."""
    from spokectl.clients.probe import NoAnswer

    try:
        port = int(service.environment[_COLLECTORS_PORT]) if service.kind is Kind.COLLECTOR else service.health.port
        return reached(service.address(port))
    except KeyError as error:
        raise NoAnswer(f"the stack file gives it no {error.args[0]}") from None
    except ValueError:
        raise NoAnswer(f"the stack file gives it a {_COLLECTORS_PORT} that is no number") from None


def silent_ones(context: Context, pages: Sequence[Page]) -> list[ServiceStatus]:
    """The services without a page, each with the reason: what is seen of the service, else what came instead."""
    silences = {each.service: each.silence for each in pages if each.silence}
    return [
        replace(each, health="unhealthy", reason=f"no metrics: {silences[each.service]}") if each.ok else each
        for each in (observe(context, silences) if silences else [])
    ]


def table_of(pages: Sequence[Page], before: Sequence[Page] = ()) -> list[Series]:
    """The series of the pages by name, those of the Spokes first; `before` holds the same pages, read earlier. Pure."""
    earlier = {page.service: (page, _values(page)) for page in before if not page.silence}
    found: dict[tuple[str, str, str], Series] = {}
    for page in pages:
        for (name, labels, instance), sample in _values(page).items():
            source = page.service if page.kind is Kind.COLLECTOR else SPOKES
            series = found.setdefault(
                (source, name, label_text(labels)), Series(name, dict(labels), sample.kind, source, {}, {})
            )
            # NaN and infinity are no JSON.
            series.values[instance] = sample.value if math.isfinite(sample.value) else None
            if sample.kind in _GROWING and page.service in earlier:
                first, values = earlier[page.service]
                was = values.get((name, labels, instance))
                grown_s = max(page.at_s - first.at_s, 1e-9)
                series.per_second[instance] = _grown(was.value if was else 0.0, sample.value) / grown_s
    return [found[key] for key in sorted(found, key=lambda key: (key[0] != SPOKES, *key))]


def _grown(before: float, now: float) -> float:
    """By how much a counter has grown; one that is smaller has begun anew."""
    return now - before if now >= before else now


def _values(page: Page) -> "dict[tuple[str, tuple[tuple[str, str], ...], str], Sample]":
    """The page's samples by name, labels and instance. A collector's page names the instances in a label."""
    if page.kind is not Kind.COLLECTOR:
        return {(each.name, each.labels, page.service): each for each in page.samples}
    return {
        (
            each.name,
            tuple(pair for pair in each.labels if pair[0] not in _OF_COLLECTION),
            each.label("instance") or page.service,
        ): each
        for each in page.samples
    }


def label_text(labels: "Mapping[str, str] | Sequence[tuple[str, str]]") -> str:
    """`{cache_type="memory"}`; nothing without labels."""
    pairs = labels.items() if isinstance(labels, Mapping) else labels
    inside = ",".join(f'{name}="{value}"' for name, value in pairs)
    return f"{{{inside}}}" if inside else ""


def _sources(context: Context, chosen: str | None) -> list[Service]:
    """Who is asked. NotFound for a service that is not in the stack, has no metrics, or is not run here."""
    left_out = context.runtime.left_out()
    services = [each for kind in (Kind.SPOKE, Kind.COLLECTOR) for each in context.stack.of_kind(kind)]
    if chosen is None:
        return [each for each in services if each.name not in left_out]
    services_of(context.stack, [chosen])
    found = [each for each in services if each.name == chosen]
    why = left_out.get(chosen) or ("" if found else "it has no page of metrics; Spokes and the collector have")
    if why:
        names = [each.name for each in services if each.name not in left_out]
        raise NotFound(
            "no_metrics",
            f"no metrics of {chosen}: {why}",
            details={"services": names},
            actions=[command_line(context.stack.name, f"metrics --service {name}") for name in names[:1]],
        )
    return found
