"""The data directory: what it holds, and how it is made, copied, rewound and swapped so that a crash is seen and done again.

Names beside `data`: `data.new` (being made), `data.old` (being replaced), `data.rewinding` (the mark of a rewind under
way), `data.divergent-TIME` (WAL saved before a rewind), `data.lock` (held by the one guard of this directory).
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pgguard.configuration import conninfo, role_statements, write_configuration, write_private
from pgguard.decision import DataFacts
from pgguard.lsn import Branch, Divergence, format_lsn, parse_history, parse_lsn
from pgguard.processes import ProgramError
from pgguard.settings import STANDBY_NAME, SUPERUSER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgguard.processes import Programs
    from pgguard.settings import Settings

_KEPT_DIVERGENT = 3
_STANDBY_SIGNAL = "standby.signal"
_HELD = re.compile(r"held in epoch ([0-9]+)\n", re.ASCII)
CLEAN_PRIMARY_STATE = "shut down"
# A segment's name is its timeline, then where it begins.
_OLDEST_WAL_SQL = """
SELECT min(substr(w.name, 9)), s.setting FROM pg_ls_waldir() AS w, pg_settings AS s
WHERE w.name ~ '^[0-9A-F]{24}$' AND s.name = 'wal_segment_size' GROUP BY s.setting"""
_ASK_TIMEOUT_S = 5.0
_STOPPED_IN_RECOVERY_STATE = "shut down in recovery"


class ControlData(NamedTuple):
    """What pg_controldata says: the proof of how a server ended."""

    system_identifier: str
    state: str
    checkpoint_lsn: int
    redo_lsn: int
    timeline: int


def read_facts(path: Path) -> DataFacts:
    """Looks at a data directory and at the mark beside it."""
    try:
        names = {entry.name for entry in path.iterdir()}
    except FileNotFoundError:
        names = set()
    if not names:
        return DataFacts(set_aside=_sibling(path, "old").exists())
    try:
        major = int((path / "PG_VERSION").read_text())
        # The first field of pg_control has been the system identifier in every version.
        raw = (path / "global" / "pg_control").read_bytes()[:8]
    except (OSError, ValueError):
        return DataFacts(strange=True)
    return DataFacts(
        present=True,
        system_identifier=str(int.from_bytes(raw, sys.byteorder)),
        major_version=major,
        standby_signal=_STANDBY_SIGNAL in names,
        half_rewound=_is_marked(path),
        held_epoch=_held_epoch(path),
    )


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _held_epoch(path: Path) -> int | None:
    # PostgreSQL asks only whether the file is there. A copy, a rewind and a promotion leave none with this mark.
    try:
        found = _HELD.fullmatch((path / _STANDBY_SIGNAL).read_text())
    except (OSError, ValueError):
        return None
    return int(found[1]) if found else None


def _is_marked(path: Path) -> bool:
    # The mark names the directory it speaks of, so that one left behind says nothing about a fresh copy.
    try:
        return int(_sibling(path, "rewinding").read_text()) == path.stat().st_ino
    except (FileNotFoundError, ValueError):
        return False


class DataDirectory:
    """One node's data directory and its siblings."""

    def __init__(self, settings: Settings, programs: Programs, major_version: int, extra: Sequence[str]) -> None:
        self._settings = settings
        self._programs = programs
        self._major_version = major_version
        self._extra = extra
        self.path = settings.data_dir
        self._mark = _sibling(self.path, "rewinding")
        self._new = _sibling(self.path, "new")
        self._old = _sibling(self.path, "old")

    def lock(self) -> bool:
        """Takes the directory for this guard until it dies; returns False while another guard has it."""
        descriptor = os.open(_sibling(self.path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        return True

    # What it holds

    def facts(self) -> DataFacts:
        """Looks at the directory without changing it."""
        return read_facts(self.path)

    def control(self) -> ControlData:
        """Asks pg_controldata."""
        values = {}
        for line in self._programs.run(["pg_controldata", "-D", str(self.path)]).splitlines():
            name, _, value = line.partition(":")
            values[name.strip()] = value.strip()
        try:
            ending = int(values["Min recovery ending loc's timeline"])
            return ControlData(
                system_identifier=values["Database system identifier"],
                state=values["Database cluster state"],
                checkpoint_lsn=parse_lsn(values["Latest checkpoint location"]),
                redo_lsn=parse_lsn(values["Latest checkpoint's REDO location"]),
                timeline=max(int(values["Latest checkpoint's TimeLineID"]), ending),
            )
        except (KeyError, ValueError) as error:
            raise ProgramError(f"pg_controldata says what cannot be understood: {error}") from error

    def history(self, timeline: int) -> list[Branch]:
        """Returns the way that leads to a timeline, from the history file that the server keeps."""
        if timeline == 1:
            return [Branch(1, 0, None)]
        path = self.path / "pg_wal" / f"{timeline:08X}.history"
        try:
            return parse_history(timeline, path.read_text())
        except (OSError, ValueError, IndexError) as error:
            raise ProgramError(f"the timeline history {path} cannot be understood: {error}") from error

    def last_record_lsn(self, control: ControlData) -> int | None:
        """Returns where the last WAL record begins: the shutdown checkpoint, or what pg_waldump finds after a crash."""
        if control.state == CLEAN_PRIMARY_STATE:
            return control.checkpoint_lsn
        argv = [
            "pg_waldump",
            "-p",
            str(self.path / "pg_wal"),
            "-t",
            str(control.timeline),
            "-s",
            format_lsn(control.redo_lsn),
        ]
        found = re.findall(r"lsn: ([0-9A-F]+/[0-9A-F]+)", self._programs.tail(argv))
        return parse_lsn(found[-1]) if found else None

    # How it is made

    def initdb(self) -> str:
        """Makes the cluster with its roles, database and slot, and puts it in place; returns its system identifier."""
        self.remove_leftovers()
        options = ["-U", SUPERUSER, "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        self._programs.run(["initdb", "-D", str(self._new), *options, "-k", "-A", "reject"])
        self.configure(self._new, waits=False)
        self._single_user(self._new, role_statements(self._settings))
        self._put_in_place()
        identifier = self.facts().system_identifier
        if identifier is None:
            raise ProgramError("initdb left no data directory")
        return identifier

    def _single_user(self, directory: Path, statements: str) -> None:
        # Statements hold passwords: an error must not repeat them in the log.
        quiet = ["-c", "log_min_error_statement=panic", "-c", "log_statement=none"]
        output = self._programs.run(
            ["postgres", "--single", "-j", "-D", str(directory), *quiet, "template1"], stdin=statements
        )
        errors = [line for line in output.splitlines() if re.search(r"\b(ERROR|FATAL|PANIC):", line)]
        if errors:
            raise ProgramError(f"postgres --single failed: {errors[0]}")

    def base_backup(self) -> None:
        """Copies the peer's data into a sibling directory and swaps it in."""
        self.remove_leftovers()
        source = self._peer_conninfo(self._settings.replicator.user, application_name=STANDBY_NAME + "_copy")
        # Only a copy that shows its progress has the primary reckon how much is to come (pg_stat_progress_basebackup).
        options = ["-X", "stream", "-c", "fast", "--no-manifest", "--progress"]
        self._programs.run(["pg_basebackup", "-w", "-d", source, "-D", str(self._new), *options])
        write_private(self._new / _STANDBY_SIGNAL, "")
        self.configure(self._new, waits=True)
        self._put_in_place()

    def rewind(self) -> None:
        """Rewinds to the peer's history: what only this node has is gone afterwards.

        A failure or a crash leaves the mark, which makes the directory count as unusable: a base backup replaces it. So does
        a pg_rewind that sees nothing to do: here it is known that there was something.
        """
        before = self.control().timeline
        source = self._peer_conninfo(self._settings.operator.user, dbname=self._settings.database)
        # pg_rewind reads the source's control file, which names the new timeline only after a checkpoint.
        self._programs.run(["psql", "-XAtqw", "-d", source, "-c", "CHECKPOINT"])
        self.configure(self.path, waits=True)
        write_private(self._mark, f"{self.path.stat().st_ino}\n")
        _sync(self.path.parent)
        self._end_crash_recovery()
        self._programs.run(["pg_rewind", "-D", str(self.path), "--source-server", source])
        if self.control().timeline == before:
            raise ProgramError("pg_rewind has changed nothing, although the data here has diverged")
        write_private(self.path / _STANDBY_SIGNAL, "")
        self.drop_stale_slots()
        _sync(self.path)
        self._mark.unlink()
        _sync(self.path.parent)

    def _end_crash_recovery(self) -> None:
        # A primary that was stopped while it recovered from a crash has not found the end of its WAL. pg_rewind takes it for
        # a clean standby that is behind, and would rewind nothing; it recovers by itself only what does not look clean.
        if self.control().state == _STOPPED_IN_RECOVERY_STATE and not self.has_standby_signal():
            self._single_user(self.path, "")

    def save_divergent_wal(self, divergence: Divergence) -> Path:
        """Copies the WAL that only this node has into a sibling directory, which it returns."""
        timeline = divergence.timeline
        folder = _sibling(self.path, time.strftime("divergent-%Y%m%dT%H%M%SZ", time.gmtime()))
        folder.mkdir(mode=0o700, exist_ok=True)
        first = self._segment_name(timeline, divergence.fork_lsn)
        wal = self.path / "pg_wal"
        own = f"{timeline:08X}"
        segments = sorted(p for p in wal.iterdir() if re.fullmatch(r"[0-9A-F]{24}", p.name) and p.name.startswith(own))
        wanted = [str(path) for path in segments if path.name >= first]
        if wanted:
            self._programs.run(["cp", "-p", *wanted, str(folder)])
        last = "unknown" if divergence.last_lsn is None else format_lsn(divergence.last_lsn)
        note = f"timeline {timeline}\nfirst divergent position {format_lsn(divergence.fork_lsn)}\nlast record {last}\n"
        write_private(folder / "README", note + "Read it with: pg_waldump -p . -t TIMELINE -s POSITION\n")
        older = sorted(self.path.parent.glob(f"{self.path.name}.divergent-*"))[:-_KEPT_DIVERGENT]
        self._remove(*older)
        return folder

    def _segment_name(self, timeline: int, lsn: int) -> str:
        sizes = [p.stat().st_size for p in (self.path / "pg_wal").iterdir() if re.fullmatch(r"[0-9A-F]{24}", p.name)]
        if not sizes:
            raise ProgramError(f"{self.path / 'pg_wal'} holds no WAL")
        size = sizes[0]
        number, per_id = lsn // size, (1 << 32) // size
        return f"{timeline:08X}{number // per_id:08X}{number % per_id:08X}"

    def oldest_wal_of_peer(self) -> int:
        """Where the oldest WAL begins that the peer's server still has."""
        source = self._peer_conninfo(self._settings.operator.user, dbname=self._settings.database)
        answer = self._programs.run(
            ["psql", "-XAtqw", "-F", " ", "-d", source, "-c", _OLDEST_WAL_SQL], timeout_s=_ASK_TIMEOUT_S
        )
        name, size = answer.split()
        return (int(name[:8], 16) << 32) + int(name[8:], 16) * int(size)

    def _peer_conninfo(self, user: str, **more: object) -> str:
        peer = self._settings.peer
        return conninfo(host=peer.host, port=peer.port, user=user, connect_timeout=5, sslmode="disable", **more)

    # How it is changed

    def configure(self, directory: Path, *, waits: bool) -> None:
        """Writes the server's configuration; `waits`: commits wait for the standby."""
        write_configuration(self._settings, directory, self._major_version, self._extra, waits=waits)

    def set_standby_signal(self, wanted: bool, *, held_epoch: int | None = None) -> None:
        """Makes the next start one as a standby, or as a primary; it lasts even if the machine stops right now.

        `held_epoch`: the data is the primary's of that epoch.
        """
        signal_file = self.path / _STANDBY_SIGNAL
        if wanted:
            write_private(signal_file, "" if held_epoch is None else f"held in epoch {held_epoch}\n")
            _sync(signal_file)
        else:
            signal_file.unlink(missing_ok=True)
            (self.path / "recovery.signal").unlink(missing_ok=True)
        _sync(self.path)

    def has_standby_signal(self) -> bool:
        return (self.path / _STANDBY_SIGNAL).exists()

    def held_epoch(self) -> int | None:
        """The epoch whose primary's data this was when it was held."""
        return _held_epoch(self.path)

    def drop_stale_slots(self) -> None:
        """Removes replication slots of a former life as primary: on a standby they would only hold WAL back."""
        self._remove(*(self.path / "pg_replslot").glob("*"))

    def remove_leftovers(self) -> None:
        """Removes what an interrupted initdb or base backup left; the replaced data only once its replacement is there."""
        leftovers = [self._new, self._old] if self.path.exists() else [self._new]
        self._remove(*(path for path in leftovers if path.exists()))

    def _remove(self, *paths: Path) -> None:
        if paths:
            self._programs.run(["rm", "-rf", "--", *map(str, paths)])

    def _put_in_place(self) -> None:
        if self.path.exists() and not any(self.path.iterdir()):
            self.path.rmdir()
        elif self.path.exists():
            self.path.rename(self._old)
        self._new.rename(self.path)
        self._mark.unlink(missing_ok=True)
        _sync(self.path.parent)
        self._remove(*([self._old] if self._old.exists() else []))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
