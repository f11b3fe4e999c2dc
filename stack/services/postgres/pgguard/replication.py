"""Carries out what the rules of protection decide: one step a look, on the primary that the record names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pgguard.lsn import format_lsn
from pgguard.processes import ProgramError
from pgguard.protection import Do, ProtectionFacts, decide_protection
from pgguard.record import RecordError
from pgguard.status import log

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from pgguard.observe import OwnServer, OwnState
    from pgguard.record import Record, RecordStore
    from pgguard.settings import Settings

# Between two looks further apart than this the guard itself was frozen or starved: that time says nothing of the standby.
_BLIND_S = 3.0


class Replication:
    """What the guard knows of the own server's commits and of the standby that they wait for."""

    def __init__(self, settings: Settings, store: RecordStore, own: OwnServer, tell: Callable[[bool], None]) -> None:
        """`tell` writes into the server's configuration whether commits wait, and has the server read it."""
        self._settings = settings
        self._store = store
        self._own = own
        self._tell = tell
        self._told = self._proven = True
        self._proof: subprocess.Popen[bytes] | None = None
        self._goal_lsn: int | None = None
        self._protected_lsn: int | None = None
        self._reply: str | None = None
        self._heard_at = self._looked_at = 0.0

    def begin(self, *, told: bool) -> None:
        """The server has just been started with commits that wait, or that do not."""
        self.end()
        self._told = self._proven = told
        self._goal_lsn = self._protected_lsn = self._reply = None
        self._looked_at = 0.0

    def end(self) -> None:
        """The server is being stopped."""
        if self._proof is not None:
            self._proof.kill()
            self._proof.wait()
            self._proof = None

    def look(self, state: OwnState, record: Record, node: str) -> bool:
        """Takes the next step on a primary that the record names; returns whether another may follow at once."""
        self._observe(state)
        step = decide_protection(self._facts(state, record))
        try:
            if step.do is Do.RECORD:
                self._store.replace(record, record.changed(node, step.reason, mode=step.mode, since_lsn=step.since_lsn))
                log(f"the record now says {step.mode}: {step.reason}")
            elif step.do in (Do.WAIT, Do.STOP_WAITING):
                self._switch(waits=step.do is Do.WAIT)
            elif step.do is Do.PROVE and self._proof is None:
                self._proof = self._own.start_proof()
        except (RecordError, ProgramError, OSError) as error:
            # Somebody else was faster, such as a standby that was promoted, or the disk is full: the next look tells.
            log(f"{step.do.value}: {error}")
            return False
        return step.do in (Do.RECORD, Do.WAIT, Do.STOP_WAITING)

    def _switch(self, *, waits: bool) -> None:
        self._tell(waits)
        self.end()
        self._told, self._proven, self._goal_lsn = waits, False, None

    def report(self, state: OwnState, record: Record) -> dict[str, Any]:
        """What the status file says of it."""
        standby = state.standby
        return {
            "mode": record.mode,
            "since_lsn": None if record.since_lsn is None else format_lsn(record.since_lsn),
            "since": record.time,
            "commits_wait": state.waits,
            "standby": standby.state if standby else None,
            "standby_lsn": format_lsn(standby.flush_lsn) if standby and standby.flush_lsn is not None else None,
        }

    def _observe(self, state: OwnState) -> None:
        now = time.monotonic()
        if now - self._looked_at > _BLIND_S:
            self._heard_at = now
        self._looked_at = now
        standby = state.standby
        if standby is not None and standby.state == "streaming" and standby.reply != self._reply:
            self._reply, self._heard_at = standby.reply, now
        if standby is not None and standby.flush_lsn is not None:
            self._protected_lsn = standby.flush_lsn
        elif self._protected_lsn is None:
            # Until its standby comes a server that has just started knows only that commits waited before.
            self._protected_lsn = state.checkpoint_lsn
        if self._proof is not None and self._proof.poll() is not None:
            self._proven = self._proof.returncode == 0
            self._proof = None
        if self._told and self._proven and state.waits and self._goal_lsn is None:
            self._goal_lsn = state.lsn

    def _facts(self, state: OwnState, record: Record) -> ProtectionFacts:
        standby = state.standby
        return ProtectionFacts(
            record=record,
            wanted=self._settings.synchronous,
            degrade_after_s=self._settings.degrade_after_s,
            told=self._told,
            waits=state.waits,
            proven=self._proven,
            standby_streaming=standby is not None and standby.state == "streaming",
            standby_silent_s=time.monotonic() - self._heard_at,
            standby_lsn=standby.flush_lsn if standby else None,
            lsn=state.lsn or 0,
            protected_lsn=self._protected_lsn,
            goal_lsn=self._goal_lsn,
        )
