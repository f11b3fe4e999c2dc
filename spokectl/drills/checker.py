"""Whether a history could be that of a registry that keeps its word. Pure: requests in, what speaks against it out.

The rules are those of linearizability for keys that are written once and never changed: once a key is known to be there,
because its write was acknowledged or somebody has read it, whoever asks from then on finds it, and it is there at the end.
A write in doubt may be there or not. Two requests that overlap in time prove nothing about each other.
Source: Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects", 1990.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from spokectl.drills.history import Outcome, Read, Request, Write


@dataclass(frozen=True)
class Kept:
    """One entry that the registry has at the end; `whole`: with the content that was written."""

    key: str
    whole: bool = True


@dataclass(frozen=True)
class Findings:
    """What speaks against the history, each with the keys. `in_doubt` speaks against nothing: it is counted.

    `lost`: known to be there, and not there at the end. `unwanted`: there although refused. `foreign`: nobody wrote it.
    `stale`: reads that did not find what was known to be there when they began, or found it otherwise.
    """

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    stale: list[Read] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)
    in_doubt_kept: int = 0

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.wrong or self.unwanted or self.foreign or self.stale)


def check(history: Iterable[Request], kept: Iterable[Kept]) -> Findings:
    """Holds the history against what is there at the end. ValueError when two writes have the same key."""
    requests = list(history)
    writes = _by_key([each for each in requests if isinstance(each, Write)])
    reads = [each for each in requests if isinstance(each, Read)]
    there = list(kept)
    counts = Counter(each.key for each in there)
    known = _known_since(writes, reads)
    doubtful = sorted(key for key, write in writes.items() if write.outcome is Outcome.IN_DOUBT)
    return Findings(
        lost=sorted(key for key in known if key not in counts),
        duplicated=sorted(key for key, count in counts.items() if count > 1),
        wrong=sorted({each.key for each in there if not each.whole}),
        unwanted=sorted(key for key, write in writes.items() if write.outcome is Outcome.REFUSED and key in counts),
        foreign=sorted(key for key in counts if key not in writes),
        stale=[each for each in reads if _is_stale(each, known.get(each.key))],
        in_doubt=doubtful,
        in_doubt_kept=sum(key in counts for key in doubtful),
    )


def _by_key(writes: list[Write]) -> dict[str, Write]:
    found = {each.key: each for each in writes}
    if len(found) != len(writes):
        again = next(key for key, count in Counter(each.key for each in writes).items() if count > 1)
        raise ValueError(f"{again} was written twice: writes could not be told apart")
    return found


def _known_since(writes: dict[str, Write], reads: Iterable[Read]) -> dict[str, float]:
    """From when on each key is there for everybody who asks."""
    known = {key: write.ended_s for key, write in writes.items() if write.ok}
    for read in reads:
        if read.found and read.key in writes:
            known[read.key] = min(read.ended_s, known.get(read.key, read.ended_s))
    return known


def _is_stale(read: Read, known_since_s: float | None) -> bool:
    if read.found:
        return not read.whole
    return read.found is False and known_since_s is not None and read.began_s > known_since_s
