"""What the guard tells the world: its status file, renewed each second, and its log lines."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from pgguard.record import utc_now

if TYPE_CHECKING:
    from pgguard.record import RecordStore

STATUS_FORMAT = 1
_RENEW_S = 1.0


def log(message: str) -> None:
    """Writes one line in the form of PostgreSQL's own (`%m [%p] `)."""
    stamp = utc_now().replace("T", " ").replace("Z", " UTC")
    sys.stderr.write(f"{stamp} [{os.getpid()}] guard: {message}\n")
    sys.stderr.flush()


class StatusReporter:
    """Keeps the node's status file true: written at each change and renewed each second, also while PostgreSQL is down."""

    def __init__(self, store: RecordStore, node: str, port: int) -> None:
        self._store = store
        self._node = node
        self._fields: dict[str, Any] = {
            "format": STATUS_FORMAT,
            "node": node,
            "state": "starting",
            "role": None,
            "code": "",
            "message": "",
            "command": "",
            "system_identifier": None,
            "major_version": None,
            "timeline": None,
            "lsn": None,
            "streaming": False,
            "free_bytes": None,
            "replication": None,
            "guard_pid": os.getpid(),
            "server_pid": None,
            "port": port,
            "request": None,
            "copied": None,
            "divergent": None,
            "control": None,
        }
        self._written_at = 0.0
        self._logged = ""
        self._write_failed = False

    def update(self, **fields: Any) -> None:
        """Changes what is reported; a new message or state is also logged, once."""
        changed = any(self._fields[name] != value for name, value in fields.items())
        self._fields.update(fields)
        if changed and self._noteworthy() != self._logged:
            self._logged = self._noteworthy()
            log(self._logged)
        if changed or time.monotonic() - self._written_at > _RENEW_S:
            self.renew()

    def get(self, name: str) -> Any:
        return self._fields[name]

    def renew(self) -> None:
        """Writes the file again with the present time."""
        self._written_at = time.monotonic()
        try:
            self._store.write_status(self._node, {**self._fields, "time": utc_now()})
            self._write_failed = False
        except OSError as error:
            if not self._write_failed:
                log(f"the status file cannot be written: {error}")
            self._write_failed = True

    def _noteworthy(self) -> str:
        fields = self._fields
        text = str(fields["state"])
        if fields["role"] and fields["state"] == "running":
            text += f" as {fields['role']}"
        if fields["message"]:
            text += f": {fields['message']}"
        return text + (f"; type: {fields['command']}" if fields["command"] else "")
