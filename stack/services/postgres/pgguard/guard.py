"""The guard's loop: look, decide, act; PostgreSQL runs only as this process's child and only in the role decided."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pgguard import observe
from pgguard.configuration import refuse_reserved, write_passfile
from pgguard.datadir import CLEAN_PRIMARY_STATE, DataDirectory
from pgguard.decision import LEFT_BEHIND, Action, Decision, RunFacts, StartFacts, decide_running, decide_start
from pgguard.divergent import DivergentWal
from pgguard.lsn import Divergence, format_lsn
from pgguard.peer import Peer
from pgguard.processes import ProgramError, Programs, StopRequestedError, Wakeups
from pgguard.protection import describe, must_wait
from pgguard.record import ASYNCHRONOUS, DEGRADED, SYNCHRONOUS, Record, RecordError, RecordExistsError, RecordStore
from pgguard.replication import Replication
from pgguard.requests import Request
from pgguard.server import Server, remove_stale_locks, stop_leftovers
from pgguard.status import StatusReporter, log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgguard.settings import Settings

_RUNNING_TICK_S = 0.5
# Each look costs a process then; a fence must still come within a second.
_RUNNING_TICK_WITHOUT_SOCKET_S = 1.0
# While commits are not protected there is something to wait for.
_EAGER_TICK_S = 0.1
# The role is on its way here: from the promotion until the guard's next look every commit waits for a standby in vain.
_PROMOTION_TICK_S = 0.02
_STARTING_TICK_S = 0.02
_WAITING_TICK_S = 0.05
_REFUSED_TICK_S = 0.5
# A refusal that stands waits for a person, whose requests wake the guard: each look costs some processes.
_STANDING_REFUSAL_TICK_S = 3.0
_REFUSAL_STANDS_AFTER_S = 10.0
_FENCE_IMMEDIATE_AFTER_S = 10.0
_MAX_BACKOFF_S = 10.0


class Guard:
    """One node's guard. `run()` returns the process's exit code."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], extra: Sequence[str]) -> None:
        refuse_reserved(extra)
        self._settings = settings
        self._extra = extra
        self._wakeups = Wakeups()
        self._store = RecordStore(settings.cluster_dir)
        self._status = StatusReporter(self._store, settings.node, settings.listen.port)
        # Before anything can write the status: whoever has read that this guard is there may ask it.
        self._request = Request(settings.request_path)
        self._programs = Programs(environ, settings.passfile, self._wakeups, self._status.renew)
        self._major_version = observe.major_version(self._programs)
        self._data = DataDirectory(settings, self._programs, self._major_version, extra)
        self._divergent = DivergentWal(self._data, self._status)
        self._peer = Peer(settings, self._store, self._programs, self._data)
        self._own = observe.OwnServer(settings, self._programs)
        self._replication = Replication(settings, self._store, self._own, self._tell)
        self._server: Server | None = None
        self._record: Record | None = None
        self._record_error: str | None = None
        self._record_stamp: tuple[int, int] | None = (0, 0)
        self._system_identifier = ""
        self._nothing_acknowledged = False
        self._left_behind = False
        self._backoff_s = 1.0
        self._refused_since: float | None = None

    def run(self) -> int:
        """Guards until SIGTERM (0) or until PostgreSQL ends by itself (1: whoever started the guard restarts it)."""
        try:
            self._take_directory()
            self._request.clear()
            while not self._wakeups.stop_requested:
                self._request.read()
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
            self._leave_server()
            self._server.stop(self._wakeups, self._status.update)
        self._status.update(state="stopped", role=None, server_pid=None, streaming=False, message="", code="", command="")

    # While the server is down

    def _start(self) -> float:
        """One look at the start table; returns how long to pause."""
        try:
            if self._request.action == "hold":
                return self._hold()
            self._read_record()
            facts = self._start_facts()
            decision = decide_start(facts)
            pause_s = self._act(decision, facts)
        except (ProgramError, RecordError, OSError) as error:
            message = f"{error}; trying again"
            self._status.update(
                state="failed",
                code="failed",
                message=message,
                command="",
                role=None,
                free_bytes=observe.free_bytes(self._settings.data_dir),
                request=self._request.id,
            )
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
            peer=self._peer.facts(self._record, data, self._major_version, may_discard=self._request.may_discard),
            told_to_rejoin=self._request.action == "rejoin",
            may_discard=self._request.may_discard,
            nothing_acknowledged=self._nothing_acknowledged,
            told_to_copy=self._request.wants_copy,
            left_behind=self._left_behind,
        )

    def _act(self, decision: Decision, facts: StartFacts) -> float:
        waiting = {Action.WAIT: ("waiting", _WAITING_TICK_S), Action.REFUSE: ("refused", self._refused_tick_s(decision))}
        state, pause_s = waiting.get(decision.action, ("starting", 0.0))
        told = self._status.get("state"), self._status.get("code")
        if decision.code == "record-missing" and told != (state, decision.code):
            self._show_last_position()
        lost = facts.peer.divergence
        self._divergent.show(lost if decision.code == "diverged-unprotected" else None, self._record)
        self._status.update(
            state=state,
            role=None,
            message=decision.message,
            code=decision.code,
            command=decision.command,
            server_pid=None,
            streaming=False,
            free_bytes=observe.free_bytes(self._settings.data_dir),
            system_identifier=facts.data.system_identifier,
            major_version=facts.data.major_version,
            request=self._request.id if state != "starting" else None,
        )
        if decision.action is Action.CLAIM:
            self._claim()
        elif decision.action in (Action.INITDB, Action.COMPLETE_CLAIM):
            self._complete_claim(self._data.initdb() if decision.action is Action.INITDB else facts.data.system_identifier)
        elif decision.action is Action.BASE_BACKUP:
            self._copy(lost)
        elif decision.action is Action.REWIND and lost is not None:
            self._divergent.keep(lost, self._record)
            self._data.rewind()
            log(f"rewound to {format_lsn(lost.fork_lsn)}")
        elif decision.action in (Action.START_PRIMARY, Action.START_STANDBY):
            self._start_server(facts.data.system_identifier, as_standby=decision.action is Action.START_STANDBY)
        if pause_s == 0.0:
            # What was done has changed the facts: ask the peer anew at once.
            self._peer.ask_anew()
        return pause_s

    def _refused_tick_s(self, decision: Decision) -> float:
        now = time.monotonic()
        if decision.action is not Action.REFUSE:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        stands = self._refused_since is not None and now - self._refused_since > _REFUSAL_STANDS_AFTER_S
        return _STANDING_REFUSAL_TICK_S if stands else _REFUSED_TICK_S

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

    def _copy(self, lost: Divergence | None) -> None:
        if lost is not None:
            try:
                self._divergent.keep(lost, self._record)
            except ProgramError as error:
                # The operator has said that it may go.
                log(f"what only this node had could not be kept: {error}")
        self._data.base_backup()
        self._left_behind = False
        self._status.update(copied=self._request.id)
        self._request.copy_is_done()

    def _show_last_position(self) -> None:
        """Where the WAL here ends, for whoever has to choose between two nodes without a record."""
        try:
            control = self._data.control()
            last = self._data.last_record_lsn(control)
        except ProgramError as error:
            log(str(error))
            return
        self._status.update(timeline=control.timeline, lsn=None if last is None else format_lsn(last))

    def _start_server(self, system_identifier: str | None, *, as_standby: bool) -> None:
        self._data.remove_leftovers()
        if as_standby != self._data.has_standby_signal():
            self._data.set_standby_signal(as_standby)
        if as_standby:
            self._data.drop_stale_slots()
        waits = as_standby or must_wait(self._record, self._settings.node)
        self._nothing_acknowledged = False
        self._data.configure(self._settings.data_dir, waits=waits)
        self._replication.begin(told=waits)
        self._system_identifier = system_identifier or ""
        self._server = Server(self._settings, self._programs, self._extra, as_standby=as_standby)
        self._peer.expect_streaming()
        self._status.update(server_pid=self._server.pid, request=self._request.forget(), control=None)

    # While the server runs

    def _supervise(self, server: Server) -> float | None:
        """One look at the running table; returns how long to pause, or None when PostgreSQL has ended by itself."""
        self._read_record()
        if self._request.action == "hold" or (self._request.wants_copy and not self._is_named()):
            self._stop_server(server, "stopping as asked", immediate_after_s=None)
            return 0.0
        exit_code = server.exit_code()
        if exit_code is not None:
            message = f"PostgreSQL ended by itself (exit code {exit_code}); its last log lines say why"
            self._status.update(state="failed", role=None, server_pid=None, message=message, code="server-ended", command="")
            return None
        readiness = server.readiness()
        state = self._own.state() if readiness == "ready" else None
        decision = decide_running(self._run_facts(server, state))
        if decision.action is Action.STOP:
            log(decision.message)
            self._stop_server(server, decision.message)
            self._nothing_acknowledged = decision.code == "promotion-refused"
            self._left_behind = decision.code == LEFT_BEHIND
            return 0.0
        if decision.action is Action.TAKE_RECORD and state is not None:
            self._take_record(state, decision.message)
            return _STARTING_TICK_S
        self._report(server, readiness, state, decision)
        if state is not None and self._request.id:
            # Asked for what it does already, or may not do: what it is has just been said.
            self._status.update(request=self._request.forget())
        at_once = readiness != "ready" or self._protect(state)
        # After the step that commits may be waiting for: a slot is some files that are fsynced.
        if state is not None and not state.in_recovery and state.slot_status in (None, "lost"):
            self._own.ensure_slot(state.slot_status)
        if at_once:
            return _STARTING_TICK_S
        if self._settings.socket_path is None:
            return _RUNNING_TICK_WITHOUT_SOCKET_S
        return self._ready_tick_s(state)

    def _protect(self, state: observe.OwnState | None) -> bool:
        """Takes the next step of protection; returns whether another may follow at once."""
        if state is None or not self._is_named_primary(state) or self._record is None:
            return False
        if self._server is not None:
            # It is the primary now, however it was started: from here on it may acknowledge writes.
            self._server.started_as_standby = False
        return self._replication.look(state, self._record, self._settings.node)

    def _is_named_primary(self, state: observe.OwnState) -> bool:
        return self._record_error is None and self._is_named() and not state.in_recovery

    def _is_named(self) -> bool:
        return self._record is not None and self._record.primary == self._settings.node

    def _ready_tick_s(self, state: observe.OwnState | None) -> float:
        record = self._record
        if state is None or record is None or record.primary != self._settings.node:
            return _RUNNING_TICK_S
        if state.in_recovery:
            return _PROMOTION_TICK_S
        settled = record.mode == (SYNCHRONOUS if self._settings.synchronous else ASYNCHRONOUS)
        return _RUNNING_TICK_S if settled else _EAGER_TICK_S

    def _tell(self, waits: bool) -> None:
        self._data.configure(self._settings.data_dir, waits=waits)
        if self._server is not None:
            self._server.reload()

    def _run_facts(self, server: Server, state: observe.OwnState | None) -> RunFacts:
        parting = self._peer.parting(state)
        told_to_rejoin = self._request.action == "rejoin"
        return RunFacts(
            node=self._settings.node,
            peer_node=self._settings.peer_node,
            record=self._record,
            record_error=self._record_error,
            system_identifier=self._system_identifier,
            in_recovery=None if state is None else state.in_recovery,
            started_as_standby=server.started_as_standby,
            divergence=parting.divergence,
            left_behind=parting.left_behind,
            told_to_rejoin=told_to_rejoin,
            held_epoch=self._data.held_epoch() if told_to_rejoin else None,
        )

    def _report(self, server: Server, readiness: str, state: observe.OwnState | None, decision: Decision) -> None:
        silent = readiness == "ready" and state is None
        named = self._record if state is not None and self._is_named_primary(state) else None
        if named is not None and not decision.message:
            decision = describe(named, self._settings.peer_node)
        self._status.update(
            state="running" if state is not None else "silent" if silent else "starting",
            role=None if state is None else "standby" if state.in_recovery else "primary",
            timeline=state.timeline if state else None,
            lsn=format_lsn(state.lsn) if state and state.lsn is not None else None,
            streaming=bool(state and state.streaming),
            free_bytes=observe.free_bytes(self._settings.data_dir),
            replication=self._replication.report(state, named) if state and named else None,
            server_pid=server.pid,
            code=decision.code,
            message=decision.message,
            command=decision.command,
        )

    def _take_record(self, state: observe.OwnState, reason: str) -> None:
        if self._record is None:
            return
        try:
            # What this node wrote on its own begins where its timeline does.
            begin = self._data.history(state.timeline)[-1].begin if state.timeline else state.lsn
            self._store.replace(self._record, self._record.moved(self._settings.node, begin, self._settings.node, reason))
            log(f"{reason}: the record now names this node (epoch {self._record.epoch + 1})")
        except (RecordError, ProgramError, OSError) as error:
            # Somebody else was faster; the next look decides by what the record says now.
            log(str(error))

    def _stop_server(
        self, server: Server, message: str, *, immediate_after_s: float | None = _FENCE_IMMEDIATE_AFTER_S
    ) -> None:
        self._status.update(state="stopping", message=message, code="", command="")
        self._leave_server()
        server.stop(self._wakeups, self._status.update, immediate_after_s=immediate_after_s)
        self._server = None
        self._peer.ask_anew()
        self._status.update(server_pid=None, role=None, streaming=False)

    def _leave_server(self) -> None:
        self._own.forget()
        self._replication.end()
        self._status.update(replication=None)

    # What an operator asks for

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
                self._read_record()
                # The last one that could be read will do: should the role have moved since, so has the epoch.
                named = self._record if self._is_named() else None
                self._data.set_standby_signal(True, held_epoch=named.epoch if named else None)
            proof = {
                **control._asdict(),
                "checkpoint_lsn": format_lsn(control.checkpoint_lsn),
                "redo_lsn": format_lsn(control.redo_lsn),
            }
        self._status.update(
            state="held",
            role=None,
            message="held down as asked, until it is told to rejoin or its guard is restarted",
            code="held",
            command=f"spokectl restart {self._settings.node}",
            control=proof,
            request=self._request.id,
        )
        return _REFUSED_TICK_S

    def _status_is_held(self) -> bool:
        return bool(self._status.get("state") == "held" and self._status.get("request") == self._request.id)

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
