"""Redis nodes and Sentinels as they are now. Each asked by itself, all at once, and compared with each other."""

from dataclasses import dataclass
from pathlib import Path

from spokectl.model import Kind
from spokectl.operations.context import Context, broken_off, running_context
from spokectl.operations.health import WHO_AGREE, ServiceStatus, judged, observe
from spokectl.operations.outlook import Outlook, outlook
from spokectl.result import Result


@dataclass(frozen=True)
class RedisStatus:
    nodes: list[ServiceStatus]
    sentinels: list[ServiceStatus]
    outlook: list[Outlook]


def status(name: str, file: Path | None) -> Result:
    """Nodes and Sentinels, and what a loss of the master would mean."""
    context = running_context(name, file)
    seen = _observe(context)
    nodes, sentinels = (_of(kind, seen) for kind in (Kind.REDIS, Kind.SENTINEL))
    return judged(name, RedisStatus(nodes, sentinels, outlook(name, seen, None)), seen, *broken_off(context))


def nodes(name: str, file: Path | None) -> Result:
    """Every Redis node with its memory, evictions, keys and hits."""
    seen = _of(Kind.REDIS, _observe(running_context(name, file)))
    return judged(name, seen, seen)


def sentinels(name: str, file: Path | None) -> Result:
    """Every Sentinel: whom it thinks master, whether it could act, its epoch, whom it knows."""
    seen = _of(Kind.SENTINEL, _observe(running_context(name, file)))
    return judged(name, seen, seen)


def _of(kind: Kind, seen: list[ServiceStatus]) -> list[ServiceStatus]:
    return [each for each in seen if each.kind is kind]


def _observe(context: Context) -> list[ServiceStatus]:
    return observe(context, [each.name for each in context.stack.services.values() if each.kind in WHO_AGREE])
