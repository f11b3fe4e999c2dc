"""The cluster record, which says who may be primary, and one status file a node, which says what is.

Both lie in one folder that both nodes share. The record is the only thing that is remembered rather than observed; it is
to one machine what etcd is to many.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pgguard.lsn import format_lsn, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1
RECORD_NAME = "cluster.json"
SYNCHRONOUS, DEGRADED, ASYNCHRONOUS = "synchronous", "degraded", "asynchronous"
MODES = (SYNCHRONOUS, DEGRADED, ASYNCHRONOUS)
_LOCK_TIMEOUT_S = 5.0


class RecordError(Exception):
    """The record cannot be read, or it cannot be changed as asked."""


class RecordExistsError(RecordError):
    """Somebody else has claimed the cluster first."""


class Move(NamedTuple):
    """How the primary role left its last holder: what a returning old primary must know about its own last writes."""

    primary: str
    mode: str
    since_lsn: int | None


class Record(NamedTuple):
    """Who is primary. `system_identifier` is None between the claim and the end of initdb."""

    system_identifier: str | None
    epoch: int
    primary: str
    mode: str
    since_lsn: int | None = None
    moved_from: Move | None = None
    changed_by: str = ""
    reason: str = ""
    time: str = ""

    def changed(self, changed_by: str, reason: str, **fields: Any) -> Record:
        return self._replace(**fields, changed_by=changed_by, reason=reason, time=utc_now())

    def moved(self, primary: str, lsn: int | None, changed_by: str, reason: str) -> Record:
        """Names another primary: a new epoch, unprotected until its standby is there."""
        mode = ASYNCHRONOUS if self.mode == ASYNCHRONOUS else DEGRADED
        return self.changed(
            changed_by,
            reason,
            epoch=self.epoch + 1,
            primary=primary,
            mode=mode,
            since_lsn=lsn if mode == DEGRADED else None,
            moved_from=Move(self.primary, self.mode, self.since_lsn),
        )

    def protection_of(self, node: str) -> str:
        """The mode that held for the last writes of `node`: that of its own last term, else the present one."""
        return self.moved_from.mode if self.moved_from and self.moved_from.primary == node else self.mode


def utc_now() -> str:
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


class RecordStore:
    """Reads and writes the shared folder. Writers lock the folder itself, write a new file, fsync it and rename it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / RECORD_NAME

    def read(self) -> Record | None:
        """Returns the record, or None when there is none; raises RecordError when it cannot be read."""
        try:
            return _parse(self._path.read_bytes())
        except FileNotFoundError:
            if self._directory.is_dir():
                return None
            raise RecordError(f"the cluster folder {self._directory} does not exist") from None
        except OSError as error:
            raise RecordError(f"{self._path} cannot be read: {error.strerror}") from error

    def create(self, record: Record) -> None:
        """Claims the cluster: writes the first record, or raises RecordExistsError when there is one."""
        with self._locked():
            temporary = self._write_temporary(RECORD_NAME, _encode(record), durable=True)
            try:
                # link() refuses an existing name, so a claim is exclusive even against a writer without the lock.
                os.link(temporary, self._path)
            except FileExistsError:
                raise RecordExistsError(f"{self._path} exists already") from None
            finally:
                temporary.unlink()
            self._sync_directory()

    def replace(self, expected: Record, record: Record) -> None:
        """Writes `record` if the stored one is still `expected`, else raises RecordError and changes nothing."""
        with self._locked():
            stored = self.read()
            if stored != expected:
                epoch = stored.epoch if stored else None
                raise RecordError(f"the cluster record has changed meanwhile (epoch {epoch}, expected {expected.epoch})")
            self._write_temporary(RECORD_NAME, _encode(record), durable=True).rename(self._path)
            self._sync_directory()

    def write_status(self, node: str, status: dict[str, Any]) -> None:
        """Writes the node's status file. It is an observation, renewed each second, so it is not fsynced."""
        self._write_temporary(node, json.dumps(status).encode(), durable=False).rename(self._directory / f"{node}.json")

    def read_status(self, node: str) -> dict[str, Any]:
        """Returns a node's last status, or {} when there is none or it cannot be read."""
        try:
            status = json.loads((self._directory / f"{node}.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return status if isinstance(status, dict) else {}

    def status_age_s(self, node: str) -> float:
        """How long ago the node's status was written; infinite when there is none."""
        try:
            return time.time() - (self._directory / f"{node}.json").stat().st_mtime
        except OSError:
            return float("inf")

    def change_stamp(self) -> tuple[int, int] | None:
        """Returns a value that changes whenever the record does: one stat(), no read."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _write_temporary(self, name: str, content: bytes, *, durable: bool) -> Path:
        temporary = self._directory / f".{name}.{os.getpid()}"
        # One that a killed claim has left may be the record itself under a second name: never write into it.
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            # Readable for all: the invoking root and the server's own user both read it, and it holds no secret.
            os.fchmod(descriptor, 0o644)
            if os.write(descriptor, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return temporary

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            deadline = time.monotonic() + _LOCK_TIMEOUT_S
            while not _try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise RecordError(f"the lock on {self._directory} was not free within {_LOCK_TIMEOUT_S:.0f} s")
                time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def render(record: Record) -> dict[str, Any]:
    """Returns the record as the JSON document that is stored."""

    def lsn(value: int | None) -> str | None:
        return None if value is None else format_lsn(value)

    document = {"format": FORMAT, **record._asdict(), "since_lsn": lsn(record.since_lsn)}
    if record.moved_from:
        document["moved_from"] = {**record.moved_from._asdict(), "since_lsn": lsn(record.moved_from.since_lsn)}
    return document


def _encode(record: Record) -> bytes:
    return (json.dumps(render(record), indent=1, ensure_ascii=False) + "\n").encode()


def _parse(content: bytes) -> Record:
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise RecordError(f"the cluster record has format {document['format']}; this guard reads format {FORMAT}")
        moved = document["moved_from"]
        record = Record(
            system_identifier=document["system_identifier"],
            epoch=int(document["epoch"]),
            primary=str(document["primary"]),
            mode=document["mode"],
            since_lsn=_lsn(document["since_lsn"]),
            moved_from=Move(str(moved["primary"]), moved["mode"], _lsn(moved["since_lsn"])) if moved else None,
            changed_by=str(document["changed_by"]),
            reason=str(document["reason"]),
            time=str(document["time"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"the cluster record is damaged: {type(error).__name__}: {error}") from error
    if record.mode not in MODES:
        raise RecordError(f"the cluster record is damaged: unknown mode {record.mode!r}")
    return record


def _lsn(value: str | None) -> int | None:
    return None if value is None else parse_lsn(value)
