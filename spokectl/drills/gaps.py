"""How long clients noticed a fault, from the times of their requests. Pure; seconds, infinite where it has no end.

A gap ends with an answer, not when a request is sent, and it begins with the last good answer before: as CloudNativePG
measures a failover.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from spokectl.drills.history import Request


@dataclass(frozen=True)
class Gap:
    """A time without a good answer. `until_s` is infinite when none came any more."""

    since_s: float
    until_s: float

    @property
    def seconds(self) -> float:
        return self.until_s - self.since_s


def good_answers(requests: Iterable[Request]) -> list[float]:
    """When each request that went well was answered, in order."""
    return sorted(each.ended_s for each in requests if each.ok)


def longest_gap(requests: Iterable[Request], since_s: float) -> Gap:
    """The longest time from `since_s` on in which no client had a good answer, up to the last good answer of all."""
    answered = [each for each in good_answers(requests) if each >= since_s]
    if not answered:
        return Gap(since_s, float("inf"))
    return max((Gap(*each) for each in pairwise([since_s, *answered])), key=lambda gap: gap.seconds)


def first_after_s(requests: Iterable[Request], since_s: float) -> float:
    """How long after `since_s` there was a good answer again."""
    return next((each - since_s for each in good_answers(requests) if each >= since_s), float("inf"))


def failed(requests: Iterable[Request]) -> list[Request]:
    """Those that did not go well, in the order in which they ended."""
    return sorted((each for each in requests if not each.ok), key=lambda each: each.ended_s)
