"""What a running server says: the own one each second, the peer when it must be known."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from pgguard.configuration import conninfo
from pgguard.lsn import Branch, parse_history, parse_lsn
from pgguard.processes import ProgramError
from pgguard.settings import STANDBY_NAME, SYNCHRONOUS_NAMES
from pgguard.wire import ServerSilentError, Session

if TYPE_CHECKING:
    from pathlib import Path

    from pgguard.processes import Programs
    from pgguard.settings import Settings

_OWN_TIMEOUT_S = 1.0
_PEER_TIMEOUT_S = 5.0
_MIB = 1 << 20
# A server cannot be asked for the room on its disk. So the guard's session carries it in its name, where any look sees it.
_NAME_SQL = "SET application_name = 'spoke_guard, {} MiB free'; "
# The primary's timeline stands in the name of the WAL file it writes; the control file learns it at the next checkpoint.
_STATE_SQL = """
SELECT r, CASE WHEN r THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_lsn() END,
 CASE WHEN r THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), greatest(
   (SELECT timeline_id FROM pg_control_checkpoint()), (SELECT min_recovery_end_timeline FROM pg_control_recovery())))
  ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
 (SELECT status = 'streaming' FROM pg_stat_wal_receiver),
 (SELECT coalesce(wal_status, 'lost') FROM pg_replication_slots WHERE slot_name = '{slot}'),
 current_setting('synchronous_standby_names') = '{names}'
  AND current_setting('synchronous_commit') IN ('on', 'remote_apply'),
 (SELECT checkpoint_lsn FROM pg_control_checkpoint()),
 w.state, w.flush_lsn, w.reply_time
FROM (SELECT pg_is_in_recovery() AS r) AS s LEFT JOIN LATERAL (
  SELECT state, flush_lsn, reply_time FROM pg_stat_replication
  WHERE application_name = '{standby}' ORDER BY reply_time DESC NULLS LAST LIMIT 1) AS w ON NOT r"""


class Standby(NamedTuple):
    """What the primary's sender says of its standby; `reply` changes with each of the standby's reports."""

    state: str
    flush_lsn: int | None
    reply: str | None


class OwnState(NamedTuple):
    """`streaming`: a standby receives from its primary, or a primary sends to its standby. `waits`: commits wait for it."""

    in_recovery: bool
    lsn: int | None
    timeline: int | None
    streaming: bool
    slot_status: str | None
    waits: bool
    checkpoint_lsn: int | None
    standby: Standby | None


class PeerState(NamedTuple):
    system_identifier: str
    in_recovery: bool
    timeline: int
    lsn: int
    history: list[Branch]


def free_bytes(data_dir: Path) -> int | None:
    """What the server could still write to the disk of its data, in whole MiB; None where that cannot be asked."""
    try:
        disk = os.statvfs(data_dir)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize // _MIB * _MIB


class OwnServer:
    """Asks the own server; keeps one session while the server runs."""

    def __init__(self, settings: Settings, programs: Programs) -> None:
        self._settings = settings
        self._programs = programs
        self._session: Session | None = None

    def state(self) -> OwnState | None:
        """Returns what the server says, or None when it does not answer within a second."""
        try:
            free = free_bytes(self._settings.data_dir)
            name = "" if free is None else _NAME_SQL.format(free // _MIB)
            sql = _STATE_SQL.format(standby=STANDBY_NAME, slot=self._settings.slot, names=SYNCHRONOUS_NAMES)
            rows = self._ask(name + sql)
        except (ServerSilentError, ProgramError, OSError):
            self.forget()
            return None
        in_recovery, lsn, timeline, receiving, slot_status, waits, checkpoint, state, flushed, reply = rows[0]
        standby = Standby(state, _lsn(flushed), reply) if state else None
        return OwnState(
            in_recovery=in_recovery == "t",
            lsn=_lsn(lsn),
            timeline=int(timeline) if timeline else None,
            streaming=receiving == "t" if in_recovery == "t" else state == "streaming",
            slot_status=slot_status,
            waits=waits == "t",
            checkpoint_lsn=_lsn(checkpoint),
            standby=standby,
        )

    def start_proof(self) -> subprocess.Popen[bytes]:
        """Starts what ends with exit code 0 once the checkpointer, which alone has commits wait or not, has reloaded.

        A session says what it has read itself. The checkpointer reads the configuration between two checkpoints only, and
        the first of these two may have been asked for just after it had looked.
        """
        settings = self._settings
        login = conninfo(
            host=settings.socket_dir or "127.0.0.1",
            port=settings.listen.port,
            user=settings.operator.user,
            dbname=settings.database,
        )
        argv = ["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", login, "-c", "CHECKPOINT", "-c", "CHECKPOINT"]
        quiet = subprocess.DEVNULL
        return self._programs.spawn(argv, stdin=quiet, stdout=quiet, stderr=quiet)

    def ensure_slot(self, status: str | None) -> None:
        """Makes the standby's slot where it is missing; one that has lost its WAL is useless and is made anew."""
        slot = self._settings.slot
        try:
            if status == "lost":
                self._ask(f"SELECT pg_drop_replication_slot('{slot}')")
            self._ask(f"SELECT pg_create_physical_replication_slot('{slot}', true)")
        except (ServerSilentError, ProgramError):
            self.forget()

    def forget(self) -> None:
        """Ends the session: the server is stopping, or it has not answered."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _ask(self, sql: str) -> list[tuple[str | None, ...]]:
        settings = self._settings
        if settings.socket_path is None:
            # The path is too long for a socket: ask over TCP, where psql knows the password.
            login = conninfo(
                host="127.0.0.1", port=settings.listen.port, user=settings.operator.user, dbname=settings.database
            )
            output = self._programs.run(["psql", "-XAtqw", "-F", "\t", "-d", login, "-c", sql], timeout_s=_PEER_TIMEOUT_S)
            return [tuple(value or None for value in line.split("\t")) for line in output.splitlines()]
        if self._session is None:
            self._session = Session(settings.socket_path, settings.operator.user, settings.database, _OWN_TIMEOUT_S)
        return self._session.query(sql)


def _lsn(text: str | None) -> int | None:
    return parse_lsn(text) if text else None


def ask_peer(settings: Settings, programs: Programs) -> PeerState | None:
    """Asks the peer's server over the replication protocol who it is, or returns None when it does not answer."""
    try:
        identity, recovery = _replication(settings, programs, "IDENTIFY_SYSTEM", "SHOW in_hot_standby").splitlines()[:2]
        system_identifier, timeline_text, lsn, _ = identity.split("|")
        timeline = int(timeline_text)
        history = [Branch(1, 0, None)]
        if timeline > 1:
            answer = _replication(settings, programs, f"TIMELINE_HISTORY {timeline}")
            history = parse_history(timeline, answer.partition("|")[2])
    except (ProgramError, ValueError):
        return None
    return PeerState(system_identifier, recovery == "on", timeline, parse_lsn(lsn), history)


def _replication(settings: Settings, programs: Programs, *commands: str) -> str:
    peer = settings.peer
    login = conninfo(
        host=peer.host,
        port=peer.port,
        user=settings.replicator.user,
        replication="true",
        sslmode="disable",
        application_name="spoke_guard",
    )
    parts = [part for command in commands for part in ("-c", command)]
    return programs.run(["psql", "-XAtqw", "-F", "|", "-d", login, *parts], timeout_s=_PEER_TIMEOUT_S)


def major_version(programs: Programs) -> int:
    """Asks the server's program for its major version."""
    return int(programs.run(["postgres", "--version"]).split()[2].split(".")[0])
