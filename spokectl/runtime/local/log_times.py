"""The time that a log line itself tells. Pure; one pattern for each kind of server."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_MONTHS = {name: number for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}  # noqa: SIM905
# Where a line's own time stands: near its beginning. Further on, a time belongs to what the line talks about.
_SEARCHED_CHARACTERS = 120

# PostgreSQL (`… 08:00:00.123 UTC [17]`), Python's logging (`…,123`), ISO 8601, and a Spoke's JSON, which holds one.
_ISO = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[T ](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d{1,9}))?(?P<zone> ?(?:Z|UTC|GMT)\b|[+-]\d\d(?::?\d\d)?)?"
)
# Redis, in local time: `123:M 23 Nov 2026 08:00:00.123 * …`
_REDIS = re.compile(
    r"\d+:[A-Z] (?P<day>\d\d) (?P<month>[A-Z][a-z]{2}) (?P<year>\d{4}) (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"\.(?P<fraction>\d{3}) "
)
# NGINX's error log, in local time: `2026/11/23 08:00:00 [error] …`
_NGINX = re.compile(
    r"(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d) (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?P<fraction>)"
)


def time_of(line: str, local: tzinfo | None = None) -> datetime | None:
    """When the line was written, in UTC; None when it does not say. `local` is the zone of times without one."""
    start = line[:_SEARCHED_CHARACTERS]
    for pattern in (_REDIS, _NGINX):
        match = pattern.match(start)
        if match:
            return _moment(match, None, local)
    match = _ISO.search(line if start.startswith("{") else start)
    return _moment(match, match["zone"], local) if match else None


def _moment(match: re.Match[str], zone: str | None, local: tzinfo | None) -> datetime | None:
    month = match["month"]
    fraction = (match["fraction"] or "0")[:6].ljust(6, "0")
    try:
        naive = datetime(
            int(match["year"]),
            int(month) if month.isdecimal() else _MONTHS[month],
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            int(match["second"]),
            int(fraction),
        )
    except (ValueError, KeyError):
        return None
    aware = naive.replace(tzinfo=_zone(zone) or local)
    try:
        return aware.astimezone(UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _zone(text: str | None) -> tzinfo | None:
    if not text:
        return None
    text = text.strip()
    if text[0] not in "+-":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
