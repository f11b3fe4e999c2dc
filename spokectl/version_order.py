"""The order of versions, which decides what `latest` is. The registry decides; this is its rule, for lists."""

import re
from collections.abc import Iterable

_SEMVER = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII)
_DIGITS_OR_TEXT = re.compile(r"\d+|\D+", re.ASCII)

Identifiers = list[tuple[int, int, str]]
Key = tuple[bool, tuple[int, ...], bool, Identifiers]


def version_key(version: str) -> Key:
    """Sorts semantic versions after all others and by semver 2.0.0 section 11; others by their runs of digits and text."""
    semver = _SEMVER.fullmatch(version)
    if semver is None:
        return False, (), True, [_identifier(part) for part in _DIGITS_OR_TEXT.findall(version)]
    pre_release = semver[4].split(".") if semver[4] is not None else []
    release = tuple(int(number) for number in semver.group(1, 2, 3))
    return True, release, semver[4] is None, [_identifier(part) for part in pre_release]


def latest_of(newest_first: Iterable[str]) -> str | None:
    """The highest version; of equal ones the newest."""
    return max(newest_first, key=version_key, default=None)


def _identifier(part: str) -> tuple[int, int, str]:
    """Numbers before texts, and by their value."""
    return (0, int(part), "") if part.isdigit() else (1, 0, part)
