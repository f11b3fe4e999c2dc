"""Whether series of metrics are there, and whether they move. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spokectl.clients.metrics import Sample


@dataclass(frozen=True)
class Series:
    """One that the stack's README names; `name` is how it is exposed. `counts`: it only grows, and does under load."""

    readme: str
    name: str
    counts: bool = True


ACTIVE = "spoke_db_connections_active"
HITS, MISSES = "spoke_cache_hits_total", "spoke_cache_misses_total"
SERIES = (
    Series("http_server_requests", "spoke_http_server_requests_total"),
    Series("http_server_duration", "spoke_http_server_duration_seconds_count"),
    Series("db_connections_active", ACTIVE, counts=False),
    Series("cache_hits_total", HITS),
    Series("cache_misses_total", MISSES),
)

Totals = Mapping[str, float]
"""The sum of one series by instance."""


def totals(page: Iterable[Sample], name: str, instance: str = "") -> dict[str, float]:
    """What the page says of the series. `instance`: whose page it is; a collector's names the instances in a label."""
    found: dict[str, float] = {}
    for sample in page:
        if sample.name == name:
            whose = instance or sample.label("instance")
            found[whose] = found.get(whose, 0.0) + sample.value
    return found


def absent(seen: Totals, instances: Sequence[str]) -> list[str]:
    """The instances that the series is not there for."""
    return [name for name in instances if name not in seen]


def still(before: Totals, now: Totals, instances: Sequence[str]) -> list[str]:
    """The instances for which the series is not there, or has not changed. One that began anew has."""
    return [name for name in instances if name not in now or now[name] == before.get(name, 0.0)]


def grown(before: Totals, now: Totals) -> float:
    """By how much it has grown over all instances."""
    return sum(now.values()) - sum(before.values())


def told(before: Totals, now: Totals) -> str:
    """`spoke-1 20 to 25, spoke-2 7 to 9`."""
    return ", ".join(f"{name} {before.get(name, 0.0):g} to {now[name]:g}" for name in sorted(now))
