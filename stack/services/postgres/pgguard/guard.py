"""The guard's loop: look, decide, act; PostgreSQL runs only as this process's child and only in the role decided."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from pgguard import observe
from pgguard.configuration import write_passfile
from pgguard.datadir import CLEAN_PRIMARY_STATE, DataDirectory
from pgguard.decision import Action, DataFacts, Decision, PeerFacts, RunFacts, StartFacts, decide_running, decide_start
from pgguard.lsn import Divergence, divergence, format_lsn
from pgguard.processes import ProgramError, Programs, StopRequestedError, Wakeups
from pgguard.record import ASYNCHRONOUS, DEGRADED, Record, RecordError, RecordExistsError, RecordStore
from pgguard.server import Server, remove_stale_locks, stop_leftovers
from pgguard.status import StatusReporter, log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgguard.settings import Settings

_RUNNING_TICK_S = 0.5
_RUNNING_TICK_WITHOUT_SOCKET_S = 5.0
_STARTING_TICK_S = 0.02
_WAITING_TICK_S = 0.05
_REFUSED_TICK_S = 0.5
_ASK_READY_PEER_EVERY_S = 0.2
_ASK_SILENT_PEER_EVERY_S = 2.0
_NOT_STREAMING_CHECK_S = 5.0
_FENCE_IMMEDIATE_AFTER_S = 10.0
_MAX_BACKOFF_S = 10.0


class Guard:
    """One node's guard. `run()` returns the process's exit code."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], extra: Sequence[str]) -> None:
        self._settings = settings
        self._extra = extra
        self._wakeups = Wakeups()
        self._store = RecordStore(settings.cluster_dir)
        self._status = StatusReporter(self._store, settings.node, settings.listen.port)
        self._programs = Programs(environ, settings.passfile, self._wakeups, self._status.renew)
        self._major_version = observe.major_version(self._programs)
        self._data = DataDirectory(settings, self._programs, self._major_version, extra)
        self._own = observe.OwnServer(settings, self._programs)
        self._server: Server | None = None
        self._record: Record | None = None
        self._record_error: str | None = None
        self._record_stamp: tuple[int, int] | None = (0, 0)
        self._system_identifier = ""
        self._request: dict[str, Any] = {}
        self._peer_asked_at = 0.0
        self._peer: observe.PeerState | None = None
        self._streaming_at = 0.0
        self._backoff_s = 1.0

    def run(self) -> int:
        """Guards until SIGTERM (0) or until PostgreSQL ends by itself (1: whoever started the guard restarts it)."""
        try:
            self._take_directory()
            self._settings.request_path.unlink(missing_ok=True)
            while not self._wakeups.stop_requested:
                self._read_request()
                pause_s = self._start() if self._server is None else self._supervise(self._server)
                if pause_s is None:
                    return 1
                self._wakeups.wait(pause_s)
        except StopRequestedError:
            pass
        self._shut_down()
        return 0

    def _take_directory(self) -> None:
        while not self._data.lock():
            self._status.update(state="waiting", message=f"another guard has {self._settings.data_dir}", code="locked")
            self._pause(0.2)
        write_passfile(self._settings)
        left = stop_leftovers(self._settings.data_dir, self._wakeups)
        if left:
            log(f"stopped what a dead guard had left running: {', '.join(map(str, left))}")
        remove_stale_locks(self._settings)

    def _pause(self, seconds: float) -> None:
        self._wakeups.wait(seconds)
        if self._wakeups.stop_requested:
            raise StopRequestedError

    def _shut_down(self) -> None:
        if self._server is not None:
            self._status.update(state="stopping", message="", code="", command="")
            self._own.forget()
            self._server.stop(self._wakeups, self._status.update)
        self._status.update(state="stopped", role=None, server_pid=None, streaming=False, message="", code="", command="")

    # While the server is down

    def _start(self) -> float:
        """One look at the start table; returns how long to pause."""
        if self._request.get("action") == "hold":
            return self._hold()
        try:
            self._read_record()
            facts = self._start_facts()
            decision = decide_start(facts)
            pause_s = self._act(decision, facts)
        except (ProgramError, RecordError, OSError) as error:
            self._status.update(state="failed", code="failed", message=f"{error}; trying again", command="", role=None)
            self._backoff_s = min(_MAX_BACKOFF_S, self._backoff_s * 2)
            return self._backoff_s
        self._backoff_s = 1.0
        return pause_s

    def _start_facts(self) -> StartFacts:
        settings, data = self._settings, self._data.facts()
        return StartFacts(
            node=settings.node,
            peer_node=settings.peer_node,
            first_role=settings.first_role,
            server_major=self._major_version,
            record=self._record,
            record_error=self._record_error,
            data=data,
            peer=self._peer_facts(data),
            told_to_rejoin=self._request.get("action") == "rejoin",
            may_discard=bool(self._request.get("discard")),
        )

    def _peer_facts(self, data: DataFacts) -> PeerFacts:
        shown = self._store.read_status(self._settings.peer_node)
        has_data = bool(shown.get("system_identifier"))
        if self._record is None or self._record.primary != self._settings.peer_node:
            return PeerFacts(has_data)
        peer = self._ask_peer(shown)
        if peer is None or peer.in_recovery:
            return PeerFacts(has_data)
        same_cluster = data.present and data.system_identifier == peer.system_identifier and not data.half_rewound
        lost = self._divergence_from(peer, data) if same_cluster and data.major_version == self._major_version else None
        return PeerFacts(has_data, is_primary=True, system_identifier=peer.system_identifier, divergence=lost)

    def _ask_peer(self, shown: dict[str, Any]) -> observe.PeerState | None:
        # Asking costs a process; the peer's status file says when it is worth it, and now and then it is asked all the same.
        says_ready = shown.get("state") == "running" and shown.get("role") == "primary"
        since_s = time.monotonic() - self._peer_asked_at
        if since_s < (_ASK_READY_PEER_EVERY_S if says_ready else _ASK_SILENT_PEER_EVERY_S):
            return self._peer if says_ready else None
        self._peer = observe.ask_peer(self._settings, self._programs)
        self._peer_asked_at = time.monotonic()
        return self._peer

    def _divergence_from(self, peer: observe.PeerState, data: DataFacts) -> Divergence | None:
        control = self._data.control()
        if data.standby_signal and control.timeline == peer.timeline:
            # Only ever a follower on this timeline: all that it has came from the primary.
            return None
        own_last = self._data.last_record_lsn(control)
        return divergence(self._data.history(control.timeline), own_last, peer.history, peer.lsn)

    def _act(self, decision: Decision, facts: StartFacts) -> float:
        waiting = {Action.WAIT: ("waiting", _WAITING_TICK_S), Action.REFUSE: ("refused", _REFUSED_TICK_S)}
        state, pause_s = waiting.get(decision.action, ("starting", 0.0))
        self._status.update(
            state=state,
            role=None,
            message=decision.message,
            code=decision.code,
            command=decision.command,
            server_pid=None,
            streaming=False,
            system_identifier=facts.data.system_identifier,
            major_version=facts.data.major_version,
            request=self._request.get("id") if state != "starting" else None,
        )
        if decision.action is Action.CLAIM:
            self._claim()
        elif decision.action in (Action.INITDB, Action.COMPLETE_CLAIM):
            self._complete_claim(self._data.initdb() if decision.action is Action.INITDB else facts.data.system_identifier)
        elif decision.action is Action.BASE_BACKUP:
            self._data.base_backup()
            self._request.pop("discard", None)
        elif decision.action is Action.REWIND and facts.peer.divergence is not None:
            self._rewind(facts.peer.divergence)
        elif decision.action in (Action.START_PRIMARY, Action.START_STANDBY):
            self._start_server(facts.data.system_identifier, as_standby=decision.action is Action.START_STANDBY)
        if pause_s == 0.0:
            # What was done has changed the facts: ask the peer anew at once.
            self._peer_asked_at = 0.0
        return pause_s

    def _claim(self) -> None:
        mode = DEGRADED if self._settings.synchronous else ASYNCHRONOUS
        claim = Record(None, 1, self._settings.node, mode).changed(self._settings.node, "first start")
        try:
            self._store.create(claim)
        except RecordExistsError:
            log("another node has claimed the cluster first")

    def _complete_claim(self, system_identifier: str | None) -> None:
        if self._record is not None:
            completed = self._record.changed(self._settings.node, "first start", system_identifier=system_identifier)
            self._store.replace(self._record, completed)

    def _rewind(self, lost: Divergence) -> None:
        saved = self._data.rewind(lost, self._data.control().timeline)
        log(f"rewound to {format_lsn(lost.fork_lsn)}; the WAL after it is kept in {saved}")

    def _start_server(self, system_identifier: str | None, *, as_standby: bool) -> None:
        self._data.remove_leftovers()
        if as_standby != self._data.has_standby_signal():
            self._data.set_standby_signal(as_standby)
        if as_standby:
            self._data.drop_stale_slots()
        self._data.configure(self._settings.data_dir)
        self._system_identifier = system_identifier or ""
        self._server = Server(self._settings, self._programs, self._extra, as_standby=as_standby)
        self._streaming_at = time.monotonic()
        self._status.update(server_pid=self._server.pid, request=self._forget_request(), control=None)

    # While the server runs

    def _supervise(self, server: Server) -> float | None:
        """One look at the running table; returns how long to pause, or None when PostgreSQL has ended by itself."""
        exit_code = server.exit_code()
        if exit_code is not None:
            message = f"PostgreSQL ended by itself (exit code {exit_code}); its last log lines say why"
            self._status.update(state="failed", role=None, server_pid=None, message=message, code="server-ended", command="")
            return None
        if self._request.get("action") in ("hold", "reinit"):
            self._stop_server(server, "stopping as asked", immediate_after_s=None)
            return 0.0
        self._read_record()
        readiness = server.readiness()
        state = self._own.state() if readiness == "ready" else None
        decision = decide_running(self._run_facts(server, state))
        if decision.action is Action.STOP:
            log(decision.message)
            self._stop_server(server, decision.message)
            return 0.0
        if decision.action is Action.TAKE_RECORD and state is not None:
            self._take_record(state, decision.message)
            return 0.0
        if state is not None and self._request:
            # Asked for the role that it has already.
            self._status.update(request=self._forget_request())
        self._report(server, readiness, state, decision)
        if state is not None and not state.in_recovery and state.slot_status in (None, "lost"):
            self._own.ensure_slot(state.slot_status)
        if readiness != "ready":
            return _STARTING_TICK_S
        return _RUNNING_TICK_S if self._settings.socket_path else _RUNNING_TICK_WITHOUT_SOCKET_S

    def _run_facts(self, server: Server, state: observe.OwnState | None) -> RunFacts:
        return RunFacts(
            node=self._settings.node,
            peer_node=self._settings.peer_node,
            record=self._record,
            record_error=self._record_error,
            system_identifier=self._system_identifier,
            in_recovery=None if state is None else state.in_recovery,
            started_as_standby=server.started_as_standby,
            divergence=self._running_divergence(state),
            told_to_rejoin=self._request.get("action") == "rejoin",
        )

    def _running_divergence(self, state: observe.OwnState | None) -> Divergence | None:
        """A standby that does not stream although its primary is there may have left the primary's history."""
        now = time.monotonic()
        if state is None or not state.in_recovery or state.streaming:
            self._streaming_at = now
            return None
        if now - self._streaming_at < _NOT_STREAMING_CHECK_S or state.timeline is None or state.lsn is None:
            return None
        self._streaming_at = now
        shown = self._store.read_status(self._settings.peer_node)
        peer = self._ask_peer(shown) if shown.get("role") == "primary" else None
        if peer is None or peer.in_recovery or peer.timeline == state.timeline:
            return None
        return divergence(self._data.history(state.timeline), state.lsn - 1, peer.history, peer.lsn)

    def _report(self, server: Server, readiness: str, state: observe.OwnState | None, decision: Decision) -> None:
        silent = readiness == "ready" and state is None
        self._status.update(
            state="running" if state is not None else "silent" if silent else "starting",
            role=None if state is None else "standby" if state.in_recovery else "primary",
            timeline=state.timeline if state else None,
            lsn=format_lsn(state.lsn) if state and state.lsn is not None else None,
            streaming=bool(state and state.streaming),
            server_pid=server.pid,
            code=decision.code,
            message=decision.message,
            command=decision.command,
        )

    def _take_record(self, state: observe.OwnState, reason: str) -> None:
        if self._record is None:
            return
        try:
            self._store.replace(
                self._record, self._record.moved(self._settings.node, state.lsn, self._settings.node, reason)
            )
            log(f"{reason}: the record now names this node (epoch {self._record.epoch + 1})")
        except RecordError as error:
            # Somebody else was faster; the next look decides by what the record says now.
            log(str(error))

    def _stop_server(
        self, server: Server, message: str, *, immediate_after_s: float | None = _FENCE_IMMEDIATE_AFTER_S
    ) -> None:
        self._status.update(state="stopping", message=message, code="", command="")
        self._own.forget()
        server.stop(self._wakeups, self._status.update, immediate_after_s=immediate_after_s)
        self._server = None
        self._peer_asked_at = 0.0
        self._status.update(server_pid=None, role=None, streaming=False)

    # What an operator asks for

    def _read_request(self) -> None:
        try:
            request = json.loads(self._settings.request_path.read_bytes())
        except FileNotFoundError:
            self._request = {}
            return
        except (OSError, ValueError):
            return
        if request.get("id") != self._request.get("id"):
            self._request = request

    def _forget_request(self) -> str | None:
        handled = self._request.get("id")
        self._request = {}
        self._settings.request_path.unlink(missing_ok=True)
        return handled

    def _hold(self) -> float:
        """Keeps the server down; a restart of the guard must not make it primary again, so that is arranged first."""
        if self._status_is_held():
            self._status.update()
            return _REFUSED_TICK_S
        data = self._data.facts()
        proof: dict[str, Any] | None = None
        if data.present:
            control = self._data.control()
            if control.state == CLEAN_PRIMARY_STATE and not data.standby_signal:
                self._data.set_standby_signal(True)
            proof = {
                **control._asdict(),
                "checkpoint_lsn": format_lsn(control.checkpoint_lsn),
                "redo_lsn": format_lsn(control.redo_lsn),
            }
        self._status.update(
            state="held",
            role=None,
            message="held down as asked",
            code="held",
            command="",
            control=proof,
            request=self._request["id"],
        )
        return _REFUSED_TICK_S

    def _status_is_held(self) -> bool:
        return bool(self._status.get("state") == "held" and self._status.get("request") == self._request["id"])

    def _read_record(self) -> None:
        """Reads the record when it has changed; what cannot be read is kept as a reason, beside the last good record."""
        stamp = self._store.change_stamp()
        if stamp is not None and stamp == self._record_stamp and self._record_error is None:
            return
        try:
            self._record = self._store.read()
            self._record_error = None
        except RecordError as error:
            self._record_error = str(error)
        self._record_stamp = stamp
