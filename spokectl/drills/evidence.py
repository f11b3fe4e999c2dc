"""What a drill leaves behind: who saw what and when, as plain values that are kept, compared and drawn.

Times are seconds since 1970, as in a ledger. A time without an end is None: JSON has no infinity.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from spokectl.drills.objective import Measure, as_typed


class Verdict(StrEnum):
    """`BROKEN`: the drill itself could not be carried out to its end; `why` of the trial says what stood in its way."""

    HELD = "held"
    MISSED = "missed"
    SKIPPED = "skipped"
    BROKEN = "broken"


class Mark(StrEnum):
    """What a moment of the timeline is."""

    PHASE = "phase"
    FAULT = "fault"
    HEALED = "healed"
    COMMAND = "command"
    DETECTED = "detected"
    PROMOTED = "promoted"
    FIRST_GOOD_WRITE = "first good write"
    REJOINED = "rejoined"
    NOTE = "note"


@dataclass(frozen=True)
class Moment:
    """Something that happened at one point in time. `subject`: the service, where it was about one."""

    at_s: float
    mark: Mark
    sentence: str
    subject: str = ""


@dataclass(frozen=True)
class Check:
    """One thing that had to be so, as it was found; not a figure."""

    name: str
    ok: bool
    found: str


@dataclass(frozen=True)
class Stretch:
    """A time without a good answer. `until_s` is None when none came any more."""

    since_s: float
    until_s: float | None


@dataclass(frozen=True)
class Layer:
    """What the clients of one way (`api`, `postgres`, `redis`) saw. A gap goes from one good answer to the next."""

    name: str
    writes: int
    reads: int
    failed: int
    write_gap: Stretch | None
    read_gap: Stretch | None


@dataclass(frozen=True)
class Tick:
    """How many requests ended in one tenth of a second that begins at `at_s`, through the load balancer."""

    at_s: float
    writes: int
    reads: int
    failed: int


TICK_S = 0.1


@dataclass(frozen=True)
class Trial:
    """One drill, carried out once. `ids`: by the name of a figure, the writes that it counts (at most IDS_KEPT of each)."""

    drill: str
    number: int
    verdict: Verdict
    began_s: float
    ended_s: float
    why: str = ""
    measures: list[Measure] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)
    ids: dict[str, list[str]] = field(default_factory=dict)
    ledger: str = ""
    """The file with every request, in the run's folder."""
    breaks: str = ""
    holds: str = ""
    """What was broken and what had to hold, as the drill said it at the time."""

    @property
    def missed(self) -> list[str]:
        """What was promised and not kept, a sentence each."""
        return [_missed(each) for each in self.measures if not each.held] + [
            f"{each.name}: {each.found}" for each in self.checks if not each.ok
        ]


IDS_KEPT = 100


def _missed(measure: Measure) -> str:
    if not measure.measured:
        return (
            f"{measure.name} could not be measured, and at most {as_typed(measure.name, measure.bound or 0.0)} was promised"
        )
    found = "without an end" if measure.found is None else as_typed(measure.name, measure.found)
    return f"{measure.name} was {found}, and at most {as_typed(measure.name, measure.bound or 0.0)} was promised"


@dataclass(frozen=True)
class Run:
    """One `drill run`: `id` names its folder, and sorts by time. `words`: what was typed after `drill run`."""

    id: str
    stack: str
    runtime: str
    version: str
    words: list[str]
    began_s: float
    ended_s: float
    trials: list[Trial]
    seed: int | None = None
    """What a random soak was made from; the same number repeats it."""

    @property
    def verdict(self) -> Verdict:
        """The worst of its trials; HELD also where all were skipped beside one that held."""
        return worst(trial.verdict for trial in self.trials)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    order = [Verdict.SKIPPED, Verdict.HELD, Verdict.MISSED, Verdict.BROKEN]
    return max(verdicts, key=order.index, default=Verdict.SKIPPED)
