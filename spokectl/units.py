"""Durations and sizes as people write them."""

import math
import re

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|m|s)", re.ASCII)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\Z", re.IGNORECASE | re.ASCII)
_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def seconds_of(text: str) -> float:
    """`90`, `90s`, `1m30s`, `500ms`: seconds. ValueError says what was expected."""
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        value = float(text)
    else:
        parts = _DURATION_PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(f"{text!r} is not a duration: write 90s, 1m30s or 500ms")
        value = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not math.isfinite(value) or value > 366 * 86400:
        raise ValueError(f"{text!r} is too long a duration")
    return value


def duration(seconds: float) -> str:
    """A duration as `seconds_of` takes it, in the largest unit that divides it: `2m`, `90s`, `0.5s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:g}m" if minutes and not rest else f"{seconds:g}s"


def bytes_of(text: str) -> int:
    """`512M`, `1g`, `1.5GiB`, `100`: bytes, with 1024 to the step as Compose counts. ValueError says what was expected."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size: write 512M or 1G")
    return int(float(match[1]) * _BYTES[match[2].lower()])


def human_bytes(count: int) -> str:
    """A size for people: three digits at most and a binary unit."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    """A duration for people, in the one unit that says most: 0.2 ms, 350 ms, 4.2 s, 3 m, 5 h, 2 d."""
    if seconds < 1:
        milliseconds = seconds * 1000
        return f"{milliseconds:.0f} ms" if milliseconds >= 1 or milliseconds == 0 else f"{milliseconds:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    size, unit = next((size, unit) for size, unit in ((86400, "d"), (3600, "h"), (60, "m")) if seconds >= size)
    return f"{int(seconds // size)} {unit}"
