"""What became of each write of a client, and what is reckoned from that. Pure; times are seconds since 1970."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise


class Outcome(StrEnum):
    """`REFUSED`: not applied for sure. `IN_DOUBT`: no answer, or one that leaves open whether it was applied."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True)
class Write:
    """One write, told apart from all others by its `key`; `why` it was not acknowledged."""

    key: str
    answered_s: float
    outcome: Outcome
    why: str = ""


def acknowledged(writes: Iterable[Write]) -> list[Write]:
    """Those that count as kept for ever, in the order of their answers."""
    return sorted((each for each in writes if each.outcome is Outcome.ACKNOWLEDGED), key=lambda each: each.answered_s)


def longest_gap_s(writes: Iterable[Write], since_s: float) -> float:
    """The longest time from `since_s` to the last acknowledged write in which no client had one; infinite without any."""
    answered = [each.answered_s for each in acknowledged(writes) if each.answered_s >= since_s]
    return max((later - earlier for earlier, later in pairwise([since_s, *answered])), default=float("inf"))


def first_after_s(writes: Iterable[Write], since_s: float) -> float:
    """How long after `since_s` a write was acknowledged again; infinite when none was."""
    return next((each.answered_s - since_s for each in acknowledged(writes) if each.answered_s >= since_s), float("inf"))


def lost(writes: Iterable[Write], found: Iterable[str]) -> list[str]:
    """The keys of acknowledged writes that are not among those found. A write in doubt may be there or not."""
    present = set(found)
    return [each.key for each in acknowledged(writes) if each.key not in present]
