"""What this node knows of its peer: from its status file, and from its server when that is worth the cost of asking."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from pgguard import observe
from pgguard.decision import DataFacts, PeerFacts
from pgguard.lsn import Divergence, divergence
from pgguard.processes import ProgramError, Programs
from pgguard.status import log

if TYPE_CHECKING:
    from pgguard.datadir import DataDirectory
    from pgguard.record import Record, RecordStore
    from pgguard.settings import Settings

_ASK_READY_EVERY_S = 0.2
_ASK_SILENT_EVERY_S = 2.0
_NOT_STREAMING_CHECK_S = 5.0


class Parting(NamedTuple):
    """`left_behind`: the primary has dropped WAL that this standby has not received."""

    divergence: Divergence | None = None
    left_behind: bool = False


class Peer:
    """The other node, and what the data here holds that its server does not."""

    def __init__(self, settings: Settings, store: RecordStore, programs: Programs, data: DataDirectory) -> None:
        self._settings = settings
        self._store = store
        self._programs = programs
        self._data = data
        self._asked_at = 0.0
        self._said: observe.PeerState | None = None
        self._streaming_at = 0.0

    def ask_anew(self) -> None:
        """Has the next look ask the server, however short ago the last one was: something has changed."""
        self._asked_at = 0.0

    def expect_streaming(self) -> None:
        """From now on the own server is to stream from the peer; it is given time to begin."""
        self._streaming_at = time.monotonic()

    def facts(self, record: Record | None, data: DataFacts, server_major: int, *, may_discard: bool) -> PeerFacts:
        """What the start table looks at; the server is asked only where the record names the peer.

        Data that may be discarded need not be readable.
        """
        shown = self._store.read_status(self._settings.peer_node)
        has_data = bool(shown.get("system_identifier"))
        if record is None or record.primary != self._settings.peer_node:
            return PeerFacts(has_data)
        peer = self._ask(shown)
        if peer is None or peer.in_recovery:
            return PeerFacts(has_data)
        same_cluster = data.present and data.system_identifier == peer.system_identifier and not data.half_rewound
        lost = None
        if same_cluster and data.major_version == server_major:
            try:
                lost = self._divergence_from(peer, data)
            except ProgramError as error:
                if not may_discard:
                    raise
                log(f"what only this node has cannot be read: {error}")
        return PeerFacts(has_data, is_primary=True, system_identifier=peer.system_identifier, divergence=lost)

    def parting(self, state: observe.OwnState | None) -> Parting:
        """Why a standby does not stream although its primary is there, where that does not pass by itself."""
        now = time.monotonic()
        if state is None or not state.in_recovery or state.streaming:
            self._streaming_at = now
            return Parting()
        if now - self._streaming_at < _NOT_STREAMING_CHECK_S or state.timeline is None or state.lsn is None:
            return Parting()
        self._streaming_at = now
        shown = self._store.read_status(self._settings.peer_node)
        peer = self._ask(shown) if shown.get("role") == "primary" else None
        if peer is None or peer.in_recovery:
            return Parting()
        try:
            lost = None
            if peer.timeline != state.timeline:
                lost = divergence(self._data.history(state.timeline), state.lsn - 1, peer.history, peer.lsn)
            return Parting(lost, left_behind=lost is None and state.lsn < self._data.oldest_wal_of_peer())
        except ProgramError as error:
            log(str(error))
            return Parting()

    def _ask(self, shown: dict[str, Any]) -> observe.PeerState | None:
        # Asking costs a process; the peer's status file says when it is worth it, and now and then it is asked all the same.
        says_ready = shown.get("state") == "running" and shown.get("role") == "primary"
        since_s = time.monotonic() - self._asked_at
        if since_s < (_ASK_READY_EVERY_S if says_ready else _ASK_SILENT_EVERY_S):
            return self._said if says_ready else None
        self._said = observe.ask_peer(self._settings, self._programs)
        self._asked_at = time.monotonic()
        return self._said

    def _divergence_from(self, peer: observe.PeerState, data: DataFacts) -> Divergence | None:
        control = self._data.control()
        if data.standby_signal and control.timeline == peer.timeline:
            # Only ever a follower on this timeline: all that it has came from the primary.
            return None
        own_last = self._data.last_record_lsn(control)
        return divergence(self._data.history(control.timeline), own_last, peer.history, peer.lsn)
