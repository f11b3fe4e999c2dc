"""What an instance keeps in memory: answers ready to send, and the switch that spares it a dead neighbour."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

# What an entry costs besides its body: the object, its key, its headers.
ENTRY_OVERHEAD_BYTES = 1024

Clock = Callable[[], float]
Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Entry:
    """An answer: the bytes, what names these very bytes, and until when nobody need ask whether they still count."""

    digest: str
    body: bytes
    headers: Headers = field(default_factory=list)
    confirmed_s: float = 0.0


class LruCache:
    """Keeps the answers used last, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self.evictions = 0
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def keys(self) -> list[Hashable]:
        """The keys of all entries as they are now."""
        return list(self._entries)

    def get(self, key: Hashable) -> Entry | None:
        """The entry, which now counts as used last."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Hashable, entry: Entry) -> None:
        """Keeps an entry and lets go of those used longest ago; one that alone is too big is not kept."""
        self.discard(key)
        cost = len(entry.body) + ENTRY_OVERHEAD_BYTES
        if cost > self.max_bytes:
            return
        self._entries[key] = entry
        self.used_bytes += cost
        while self.used_bytes > self.max_bytes:
            oldest = next(iter(self._entries))
            self.discard(oldest)
            self.evictions += 1

    def discard(self, key: Hashable) -> None:
        """Forgets an entry if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.used_bytes -= len(entry.body) + ENTRY_OVERHEAD_BYTES


class Breaker:
    """Opens after some failures in a row; then lets one try through each time the pause is over, until one succeeds."""

    def __init__(self, *, failures: int = 3, pause_s: float = 0.5, max_pause_s: float = 2.0, clock: Clock = time.monotonic):
        self._limit = failures
        self._first_pause_s = pause_s
        self._max_pause_s = max_pause_s
        self._clock = clock
        self._failures = 0
        self._pause_s = pause_s
        self._retry_at_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether tries are held back."""
        return self._failures >= self._limit

    def allow(self) -> bool:
        """Whether to try now. With the breaker open, a yes counts as the one try of this pause."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._retry_at_s:
            return False
        self._retry_at_s = now + self._pause_s
        return True

    def succeeded(self) -> None:
        """Closes the breaker."""
        self._failures = 0
        self._pause_s = self._first_pause_s

    def failed(self) -> None:
        """Counts a failure; each one while open doubles the pause."""
        if self.is_open:
            self._pause_s = min(self._pause_s * 2, self._max_pause_s)
        self._failures += 1
        if self.is_open:
            self._retry_at_s = self._clock() + self._pause_s
