"""Which values a setting can take. Pure: a stack and a value in, what was expected out."""

import re
from collections.abc import Mapping

from spokectl.model import Kind, Setting, Stack
from spokectl.operations.secret_settings import expected_of_secret, is_secret
from spokectl.units import bytes_of, seconds_of

# The default says of which kind a setting is.
_SHAPES = (
    (re.compile(r"\d+\Z"), re.compile(r"\d+\Z", re.ASCII), "a whole number"),
    (re.compile(r"(true|false)\Z"), re.compile(r"(true|false)\Z"), "true or false"),
    (
        re.compile(r"\d+(ms|s|m|h)\Z"),
        re.compile(r"(\d+(\.\d+)?(ms|s|m|h))+\Z", re.ASCII),
        "a duration such as 300ms or 1m30s",
    ),
    (re.compile(r"\d+[kMG]B\Z"), re.compile(r"\d+[kMGT]B\Z", re.ASCII), "a size such as 64MB"),
    (re.compile(r"\d+mb\Z"), re.compile(r"\d+(kb|mb|gb)\Z", re.ASCII), "a size such as 256mb"),
)
_CHOICES = {
    "SPOKE_LOG_LEVEL": ("debug", "info", "warn", "error"),
    "SPOKE_POSTGRES_SYNCHRONOUS": ("on", "off"),
    "SPOKE_REDIS_MAXMEMORY_POLICY": (
        *("allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction"),
        *("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"),
    ),
}
# The servers' own bounds, where they have some: a value beyond them would be found out by a server that does not start.
RANGES: Mapping[str, tuple[int, int]] = {
    "SPOKE_L1_CACHE_SIZE": (0, 1 << 40),
    "SPOKE_MAX_BODY_MIB": (1, 256),
    "SPOKE_NGINX_READ_TIMEOUT_S": (1, 86400),
    "SPOKE_POSTGRES_MAX_CONNECTIONS": (1, 262143),
    "SPOKE_POSTGRES_MAX_CONNS": (1, 1000),
    "SPOKE_POSTGRES_MIN_CONNS": (0, 1000),
    "SPOKE_REDIS_POOL_SIZE": (1, 1000),
    # Sentinel counts in milliseconds and beats once in 100.
    "SPOKE_SENTINEL_DOWN_AFTER_MS": (100, 86_400_000),
    "SPOKE_SENTINEL_FAILOVER_TIMEOUT_MS": (100, 86_400_000),
}
_QUORUM = "SPOKE_SENTINEL_QUORUM"
# As the guard reads it: a standby is missed for a moment at each of its restarts.
_DEGRADE_AFTER, _MIN_DEGRADE_AFTER_S, _NEVER = "SPOKE_POSTGRES_DEGRADE_AFTER", 2.0, "never"
# Limits of containers, as Compose writes them. The engine takes none that are smaller.
_NO_LIMIT = "0"
_CPUS, _MIN_CPUS = re.compile(r"\d{1,6}(\.\d{1,6})?\Z", re.ASCII), 0.01
_MEMORY, _MIN_MEMORY_BYTES = re.compile(r"\d{1,9}(\.\d{1,6})?[kmgt](i?b)?\Z", re.ASCII | re.IGNORECASE), 6 << 20


def expected(stack: Stack, setting: Setting, value: str) -> str | None:
    """What was expected in place of the value; None when it is one that the setting can take."""
    name = setting.name
    if is_secret(name):
        return expected_of_secret(name, value)
    if name in _CHOICES:
        return None if value in _CHOICES[name] else " or ".join(_CHOICES[name])
    if name.endswith("_CPUS"):
        return None if value == _NO_LIMIT or _is_share_of_processors(value) else "processors such as 0.5, or 0: no limit"
    if name.endswith("_MEMORY"):
        return None if value == _NO_LIMIT or _is_memory(value) else "a size such as 512M or 2G, from 6M, or 0: no limit"
    if name == _DEGRADE_AFTER and value == _NEVER:
        return None
    for default, shape, words in _SHAPES:
        if setting.default is not None and default.match(setting.default) and not shape.match(value):
            return f"{words} (the default: {setting.default})"
    if name == _DEGRADE_AFTER:
        return _too_short(value)
    return _out_of_range(_range(stack, name), value)


def _range(stack: Stack, name: str) -> tuple[int, int] | None:
    return (1, len(stack.of_kind(Kind.SENTINEL))) if name == _QUORUM else RANGES.get(name)


def _out_of_range(bounds: tuple[int, int] | None, value: str) -> str | None:
    if bounds is None:
        return None
    low, high = bounds
    # Before it is converted: Python refuses numbers of thousands of digits.
    digits = value.lstrip("0") or "0"
    fits = len(digits) <= len(str(high)) and low <= int(digits) <= high
    return None if fits else f"a whole number from {low} to {high}"


def _is_share_of_processors(value: str) -> bool:
    return _CPUS.match(value) is not None and float(value) >= _MIN_CPUS


def _is_memory(value: str) -> bool:
    return _MEMORY.match(value) is not None and bytes_of(value) >= _MIN_MEMORY_BYTES


def _too_short(degrade_after: str) -> str | None:
    try:
        long_enough = seconds_of(degrade_after) >= _MIN_DEGRADE_AFTER_S
    except ValueError:
        long_enough = False  # longer than a year: `never` is meant
    return None if long_enough else f"at least {_MIN_DEGRADE_AFTER_S:g}s, or {_NEVER}"
