"""WAL positions and timelines: where two copies of one cluster went different ways. Pure rules."""

from __future__ import annotations

from typing import NamedTuple


class Branch(NamedTuple):
    """One timeline of a cluster's past: it begins at `begin` and was left at `end` (None: it is the current one)."""

    timeline: int
    begin: int
    end: int | None


class Divergence(NamedTuple):
    """What one node has written, up to `timeline`, after the point where the other one went its own way."""

    fork_lsn: int
    last_lsn: int | None
    timeline: int

    @property
    def bytes(self) -> int | None:
        return None if self.last_lsn is None else max(0, self.last_lsn - self.fork_lsn)


def parse_lsn(text: str) -> int:
    """Reads PostgreSQL's notation `16/B374D848`."""
    high, slash, low = text.strip().partition("/")
    if not slash:
        raise ValueError(f"not a WAL position: {text!r}")
    return (int(high, 16) << 32) + int(low, 16)


def format_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_history(timeline: int, text: str) -> list[Branch]:
    """Reads a timeline history file: lines of `parent timeline, switch point, reason` (PostgreSQL's timeline.c)."""
    branches: list[Branch] = []
    begin = 0
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        end = parse_lsn(fields[1])
        branches.append(Branch(int(fields[0]), begin, end))
        begin = end
    branches.append(Branch(timeline, begin, None))
    return branches


def divergence(
    own: list[Branch], own_last: int | None, source: list[Branch], source_end: int | None = None
) -> Divergence | None:
    """Says what `own` holds that `source` does not, or None when `own` can simply follow `source`.

    `own_last` is the start of the last record of the own WAL (None: unknown, which counts as diverged where it matters);
    `source_end` is how far the source has written. The common ancestor is found as pg_rewind does it
    (findCommonAncestorTimeline): the last timeline that both have with the same beginning.
    """
    shared = 0
    while shared < min(len(own), len(source)) and own[shared][:2] == source[shared][:2]:
        shared += 1
    if shared == 0:
        return Divergence(0, own_last, own[-1].timeline)
    mine, theirs = own[shared - 1], source[shared - 1]
    if theirs.end is None:
        # The source still writes the timeline that both share.
        fork = source_end if mine.end is None else mine.end
    else:
        fork = theirs.end if mine.end is None else min(mine.end, theirs.end)
    if fork is None:
        return None
    if shared == len(own) and own_last is not None and own_last < fork:
        return None
    return Divergence(fork, own_last, own[-1].timeline)
