"""Waiting for Redis and its Sentinels, with what to type when it was in vain."""

from collections.abc import Callable, Sequence

from spokectl.errors import OutcomeUnknown
from spokectl.wait import Deadline, wait_until


def wait_or_advise(
    blocker: Callable[[], str | None],
    deadline: Deadline,
    *,
    what: str,
    actions: Sequence[str],
    interval_s: float = 0.05,
) -> None:
    """As `wait_until`; its OutcomeUnknown carries the commands in `actions`."""
    try:
        wait_until(blocker, deadline, what=what, interval_s=interval_s)
    except OutcomeUnknown as error:
        raise OutcomeUnknown(
            error.code, error.message, actions=actions, details=error.details, retryable=error.retryable
        ) from error
