"""Waiting that ends: with success, or at a deadline with the last reason why not."""

import time
from collections.abc import Callable, Sequence

from spokectl.errors import OutcomeUnknown


class Deadline:
    """A point in time on the monotonic clock, `timeout_s` seconds from now."""

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout_s = timeout_s
        self._clock = clock
        self._end = clock() + timeout_s

    @property
    def remaining_s(self) -> float:
        return max(0.0, self._end - self._clock())

    @property
    def passed(self) -> bool:
        return self.remaining_s == 0.0

    def capped(self, timeout_s: float) -> "Deadline":
        """The earlier one of this deadline and `timeout_s` from now."""
        return Deadline(min(timeout_s, self.remaining_s), self._clock)


def wait_until(
    blocker: Callable[[], str | None],
    deadline: Deadline,
    *,
    what: str,
    actions: Sequence[str] = (),
    interval_s: float = 0.05,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Returns once `blocker` gives None; it is asked at least once, also after the deadline.

    `blocker` returns the reason why the wait is not over. OutcomeUnknown (code `timeout`) carries the last one, and
    `actions`: what to type when it was in vain.
    """
    while True:
        reason = blocker()
        if reason is None:
            return
        if deadline.passed:
            raise OutcomeUnknown(
                "timeout",
                f"{what}: still not so after {round(deadline.timeout_s, 2):g} s: {reason}",
                details={"timeout_s": deadline.timeout_s, "reason": reason},
                retryable=True,
                actions=actions,
            )
        pause(min(interval_s, max(deadline.remaining_s, 0.001)))
