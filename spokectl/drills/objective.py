"""What a drill promises, and whether what was measured keeps it. Pure."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from spokectl.errors import UsageError
from spokectl.units import seconds_of


@dataclass(frozen=True)
class Figure:
    """Something that every trial measures. `seconds`: a time; else a count."""

    name: str
    means: str
    seconds: bool = False


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("rto", "longest time without an acknowledged write through the load balancer", seconds=True),
        Figure("read_gap", "longest time without a good read through the load balancer", seconds=True),
        Figure("client_gap", "longest time that a single client waited for a good answer", seconds=True),
        Figure("p99", "what 99 of 100 good answers through the load balancer took at most, from the fault on", seconds=True),
        Figure("postgres_gap", "longest time without a commit in PostgreSQL itself", seconds=True),
        Figure("redis_gap", "longest time without a write in Redis's master itself", seconds=True),
        Figure("failed", "requests through the load balancer that did not go well"),
        Figure("lost", "acknowledged writes that are not there afterwards (registry and PostgreSQL)"),
        Figure("duplicated", "writes that are there more than once"),
        Figure("wrong", "writes that are there with another content"),
        Figure("unwanted", "writes that were refused, and are there"),
        Figure("foreign", "entries that no client wrote"),
        Figure("stale", "reads that did not show what was known to be there"),
        Figure("in_doubt", "writes of which no client knows whether they were applied"),
        Figure("redis_lost", "acknowledged writes that Redis itself does not have afterwards"),
    )
}

# What no fault excuses: a registry that does one of these has lied to a client.
NEVER = dict.fromkeys(("lost", "duplicated", "wrong", "unwanted", "foreign", "stale"), 0.0)


@dataclass(frozen=True)
class Measure:
    """One figure of one trial. `found` is None for a time without an end, `bound` where none was promised.

    Not `measured`: nothing in the trial could tell it. What no fault excuses (`NEVER`) has to be measured to hold.
    """

    name: str
    found: float | None
    bound: float | None = None
    measured: bool = True

    @property
    def held(self) -> bool:
        if not self.measured:
            return self.name not in NEVER
        return self.bound is None or (self.found is not None and self.found <= self.bound)


@dataclass(frozen=True)
class Objective:
    """The most that each figure may be. What no fault excuses (`NEVER`) is 0 unless it is said otherwise."""

    bounds: Mapping[str, float] = field(default_factory=dict)

    def with_bounds(self, bounds: Mapping[str, float]) -> "Objective":
        return Objective({**self.bounds, **bounds})

    def judge(self, found: Mapping[str, float], unmeasured: Collection[str] = ()) -> list[Measure]:
        """Every figure that was measured, in the order of FIGURES; an endless time is infinite.

        Then those that should have been and could not be (`unmeasured`), and those that have a bound and were not.
        """
        bounds = {**NEVER, **self.bounds}
        measured = [Measure(name, finite(found[name]), bounds.get(name)) for name in FIGURES if name in found]
        missing = [name for name in FIGURES if name not in found and name in (*self.bounds, *unmeasured)]
        return measured + [Measure(name, None, bounds.get(name), measured=False) for name in missing]

    @property
    def text(self) -> str:
        """As it is typed: `rto=8s,lost=0`."""
        return ",".join(f"{name}={as_typed(name, bound)}" for name, bound in {**self.bounds, "lost": self.lost}.items())

    @property
    def lost(self) -> float:
        return self.bounds.get("lost", 0.0)


def finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


def as_typed(name: str, bound: float) -> str:
    """A bound, or what was found, of the figure `name`: `1.5s`, `0`."""
    return f"{bound:g}s" if FIGURES[name].seconds else f"{bound:g}"


def parse_bounds(text: str) -> dict[str, float]:
    """`rto=1s,lost=0,failed=0` as bounds. UsageError (`bad_objective`) says what was expected."""
    bounds: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        figure = FIGURES.get(name)
        if figure is None or not equals:
            raise _bad(f"{part.strip()!r} is none of NAME=BOUND with a name of: {', '.join(FIGURES)}")
        if name in bounds:
            raise _bad(f"{name} is given twice")
        bounds[name] = _seconds(name, value) if figure.seconds else _count(name, value)
    return bounds


def _seconds(name: str, value: str) -> float:
    try:
        return seconds_of(value)
    except ValueError as error:
        raise _bad(f"{name} is a time: {error}") from error


def _count(name: str, value: str) -> float:
    if not (value.isascii() and value.isdecimal()):
        raise _bad(f"{name} is a count, not {value!r}")
    return float(value)


def _bad(message: str) -> UsageError:
    return UsageError("bad_objective", f"--objective: {message}", actions=["--objective rto=1s,lost=0,failed=0"])
