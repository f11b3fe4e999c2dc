"""Logs of services merged by time, filtered."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spokectl.errors import UsageError
from spokectl.model import LogLine
from spokectl.operations.context import open_context, services_of
from spokectl.operations.patterns import pattern_of
from spokectl.units import seconds_of


def read(
    name: str,
    file: Path | None,
    services: list[str],
    *,
    since: str | None,
    tail: int | None,
    grep: str | None,
    follow: bool,
) -> Iterator[LogLine]:
    """Log lines, oldest first. `tail` counts lines that match `grep`."""
    wanted = pattern_of("--grep", grep) if grep is not None else None
    context = open_context(name, file)
    chosen = services_of(context.stack, services)
    after = moment(since, datetime.now(UTC)) if since is not None else None
    if wanted is None:
        return context.runtime.logs(chosen, since=after, tail=tail, follow=follow)
    return _matching(context.runtime.logs(chosen, since=after, tail=None, follow=follow), wanted, tail, follow=follow)


def moment(text: str, now: datetime) -> datetime:
    """`10m` (so long ago) or an ISO time; one without a zone is local time. UsageError when it is neither."""
    try:
        return now - timedelta(seconds=seconds_of(text))
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            "bad_time", f"{text!r} is neither a duration such as 10m nor a time such as 2026-01-31T12:00"
        ) from None


def _matching(lines: Iterator[LogLine], wanted: re.Pattern[str], tail: int | None, *, follow: bool) -> Iterator[LogLine]:
    found = (line for line in lines if wanted.search(line.text))
    if tail is None or follow:
        yield from found
        return
    from collections import deque

    yield from deque(found, maxlen=tail)
