"""From what clients saw to what a drill is judged by. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from spokectl.drills.checker import Findings, Kept, check
from spokectl.drills.evidence import IDS_KEPT, TICK_S, Layer, Stretch, Tick
from spokectl.drills.gaps import Gap, failed, good_answers, longest_gap
from spokectl.drills.history import Read, Request, Write
from spokectl.drills.objective import finite

API, POSTGRES, REDIS = "api", "postgres", "redis"
# Redis is a cache, and replicates without waiting: what it has lost is counted apart.
_DURABLE = (API, POSTGRES)
_BY_WHAT_IS_KEPT = frozenset({"lost", "duplicated", "wrong", "unwanted", "foreign", "redis_lost"})


@dataclass(frozen=True)
class Seen:
    """One trial's figures by name, the same by layer, per tenth of a second, and which writes they count.

    `unmeasured`: figures that nobody could tell.
    """

    figures: dict[str, float]
    layers: list[Layer]
    ticks: list[Tick]
    ids: dict[str, list[str]]
    unmeasured: frozenset[str] = frozenset()


def seen(
    requests: Sequence[Request],
    kept: Mapping[str, Iterable[Kept]] | None,
    since_s: float,
    stuck_s: float | None = None,
) -> Seen:
    """`kept`: what each layer has at the end; None where nobody could look. `since_s`: when something was first done.

    `stuck_s`: when clients were given up that had no good answer any more; None where all had one in the end.
    """
    by_layer = {layer: [each for each in requests if each.layer == layer] for layer in (API, POSTGRES, REDIS)}
    layers = [_layer(name, own, since_s, stuck_s) for name, own in by_layer.items() if own]
    findings = {name: check(own, (kept or {}).get(name, ())) for name, own in by_layer.items() if own}
    ids = _ids(findings, by_layer)
    if kept is None:
        ids = {name: found for name, found in ids.items() if name not in _BY_WHAT_IS_KEPT}
    figures = {name: float(len(found)) for name, found in ids.items()}
    gaps = {layer.name: layer.write_gap for layer in layers}
    for figure, name in (("rto", API), ("postgres_gap", POSTGRES), ("redis_gap", REDIS)):
        if name in gaps:
            figures[figure] = _seconds(gaps[name])
    if (reads := next((layer.read_gap for layer in layers if layer.name == API), None)) is not None:
        figures["read_gap"] = _seconds(reads)
    figures["client_gap"] = max((_seconds(each) for each in _of_clients(by_layer[API], since_s, stuck_s)), default=0.0)
    if (slow := _p99_s([each for each in by_layer[API] if each.ok and each.ended_s >= since_s])) is not None:
        figures["p99"] = slow
    kept_ids = {name: found[:IDS_KEPT] for name, found in ids.items() if found}
    unmeasured = _BY_WHAT_IS_KEPT if kept is None else frozenset[str]()
    return Seen(figures, layers, ticks(by_layer[API]), kept_ids, unmeasured)


def _ids(findings: Mapping[str, Findings], by_layer: Mapping[str, Sequence[Request]]) -> dict[str, list[str]]:
    durable = [findings[name] for name in _DURABLE if name in findings]
    found = {
        "failed": [f"{each.key}: {each.why}" for each in failed(by_layer[API])],
        "lost": [key for each in durable for key in each.lost],
        "duplicated": [key for each in durable for key in each.duplicated],
        "wrong": [key for each in durable for key in each.wrong],
        "unwanted": [key for each in durable for key in each.unwanted],
        "foreign": [key for each in durable for key in each.foreign],
        "stale": [f"{read.key} (read by {read.client})" for each in durable for read in each.stale],
        "in_doubt": [key for each in durable for key in each.in_doubt],
    }
    return found | ({"redis_lost": findings[REDIS].lost} if REDIS in findings else {})


def _layer(name: str, requests: Sequence[Request], since_s: float, stuck_s: float | None) -> Layer:
    writes = [each for each in requests if isinstance(each, Write)]
    reads = [each for each in requests if isinstance(each, Read)]
    return Layer(
        name,
        len(writes),
        len(reads),
        len(failed(requests)),
        _stretch(writes, since_s, stuck_s),
        _stretch(reads, since_s, stuck_s),
    )


def _of_clients(requests: Sequence[Request], since_s: float, stuck_s: float | None) -> Iterator[Stretch | None]:
    """The longest wait of each client, from its own last good answer on."""
    for client in dict.fromkeys(each.client for each in requests):
        yield _stretch([each for each in requests if each.client == client], since_s, stuck_s)


def _p99_s(answered: Sequence[Request]) -> float | None:
    """The time within which 99 of 100 were answered, one of those measured: nothing is interpolated."""
    took_s = sorted(each.ended_s - each.began_s for each in answered)
    return took_s[math.ceil(len(took_s) * 0.99) - 1] if took_s else None


def _stretch(requests: Sequence[Request], since_s: float, stuck_s: float | None) -> Stretch | None:
    if not requests:
        return None
    gap: Gap = longest_gap(requests, _before(requests, since_s))
    last_s = max(good_answers(requests), default=since_s)
    if stuck_s is not None and stuck_s - last_s > gap.seconds:
        return Stretch(last_s, None)
    return Stretch(gap.since_s, finite(gap.until_s))


def _before(requests: Iterable[Request], since_s: float) -> float:
    """The last good answer before; a gap that spans the fault begins there."""
    return max((each for each in good_answers(requests) if each <= since_s), default=since_s)


def _seconds(stretch: Stretch | None) -> float:
    if stretch is None:
        return 0.0
    return float("inf") if stretch.until_s is None else stretch.until_s - stretch.since_s


def ticks(requests: Iterable[Request]) -> list[Tick]:
    """How many requests ended in each tenth of a second, from the first to the last, also where there were none."""
    ended = [(int(each.ended_s / TICK_S), each) for each in requests]
    if not ended:
        return []
    writes = Counter(number for number, each in ended if each.ok and isinstance(each, Write))
    reads = Counter(number for number, each in ended if each.ok and isinstance(each, Read))
    bad = Counter(number for number, each in ended if not each.ok)
    numbers = [number for number, _ in ended]
    return [
        Tick(round(number * TICK_S, 1), writes[number], reads[number], bad[number])
        for number in range(min(numbers), max(numbers) + 1)
    ]
