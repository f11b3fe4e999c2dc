"""WAL that only this node has: what joining the primary would lose, and what was kept of it when it went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgguard.lsn import format_lsn
from pgguard.status import log

if TYPE_CHECKING:
    from pathlib import Path

    from pgguard.datadir import DataDirectory
    from pgguard.lsn import Divergence
    from pgguard.record import Record
    from pgguard.status import StatusReporter


class DivergentWal:
    """Tells of it in the status (`divergent`), and keeps it before a rewind or a copy takes its place."""

    def __init__(self, data: DataDirectory, status: StatusReporter) -> None:
        self._data = data
        self._status = status
        self._kept: tuple[Divergence, Path] | None = None

    def show(self, lost: Divergence | None, record: Record | None) -> None:
        """Says what would be lost, or nothing; what has been kept is still told."""
        shown = self._status.get("divergent")
        if lost is not None:
            self._status.update(divergent=_shown(lost, record, None))
        elif shown and shown["kept_in"] is None:
            self._status.update(divergent=None)

    def keep(self, lost: Divergence, record: Record | None) -> None:
        """Saves it beside the data, once however often what follows is tried, and says where."""
        if self._kept is None or self._kept[0] != lost:
            self._kept = lost, self._data.save_divergent_wal(lost)
            shown = _shown(lost, record, self._kept[1])
            log(
                f"{'an unknown number of' if lost.bytes is None else lost.bytes} bytes of WAL that only this node had "
                f"(timeline {lost.timeline}, {shown['from_lsn']} to {shown['to_lsn'] or 'its end'}) "
                f"are kept in {shown['kept_in']}"
            )
        self._status.update(divergent=_shown(lost, record, self._kept[1]))


def _shown(lost: Divergence, record: Record | None, kept_in: Path | None) -> dict[str, Any]:
    return {
        # Of whose term it was lost to: a later move of the role is another story.
        "epoch": record.epoch if record else None,
        "timeline": lost.timeline,
        "from_lsn": format_lsn(lost.fork_lsn),
        "to_lsn": None if lost.last_lsn is None else format_lsn(lost.last_lsn),
        "bytes": lost.bytes,
        "kept_in": str(kept_in) if kept_in else None,
    }
