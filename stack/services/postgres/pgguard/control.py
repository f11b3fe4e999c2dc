"""What operations ask of a guard, from a second process beside it: status, demote, rejoin, reinit, adopt, name-primary."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pgguard.datadir import read_facts
from pgguard.decision import MOVE_UNFINISHED
from pgguard.record import ASYNCHRONOUS, DEGRADED, Record, RecordError, RecordExistsError, RecordStore, render
from pgguard.requests import write_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgguard.settings import Settings

# Writes may stand still meanwhile.
_POLL_S = 0.005
# A guard that lives renews its status each second.
_RENEWED_WITHIN_S = 5.0
# The words of a guard that has dealt with a request; one that waits, say for its peer, is still on the way.
_SETTLED = ("running", "refused")


class ControlError(Exception):
    """The request was not carried out; the text says why and what the guard reports."""


class Control:
    """Speaks to the guard of this node through its request file; the answer is its status file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = RecordStore(settings.cluster_dir)

    def status(self) -> dict[str, Any]:
        """Returns the node's status, the peer's and the record, as they are now.

        `guard_alive`: it is there and does its work; one that is frozen is not.
        """
        own = self._store.read_status(self._settings.node)
        try:
            record, record_error = self._store.read(), None
        except RecordError as error:
            record, record_error = None, str(error)
        return {
            "node": self._settings.node,
            "guard_alive": self._guard_acts(own),
            "status": own,
            "peer": self._store.read_status(self._settings.peer_node),
            "record": render(record) if record else None,
            "record_error": record_error,
        }

    def demote(self, timeout_s: float) -> dict[str, Any]:
        """Stops the server cleanly and has the guard hold it; returns the status with pg_controldata's proof.

        Afterwards the data starts as a standby, whatever restarts the guard, until `rejoin`.
        """
        status = self._request("hold", timeout_s, lambda found: found.get("state") == "held")
        state = (status.get("control") or {}).get("state")
        if state not in ("shut down", "shut down in recovery"):
            raise ControlError(f"the server is down, but not cleanly: pg_controldata says {state!r}")
        return status

    def rejoin(self, timeout_s: float) -> dict[str, Any]:
        """Brings the server back in the role that the record says; fails when the guard refuses, or at the deadline.

        It fails too where the record names a standby that must be promoted: the server runs then, read-only.
        """
        status = self._settled("rejoin", timeout_s)
        if status.get("code") == MOVE_UNFINISHED:
            raise ControlError(f"{status['message']}; type: {status['command']}")
        return status

    def reinit(self, timeout_s: float, *, discard: bool) -> dict[str, Any]:
        """Replaces this node's data with a copy of the primary's; data that holds more than that needs `discard`."""
        self._require_source()
        status = self._settled("reinit", timeout_s, discard=discard)
        if status["copied"] != status["request"]:
            raise ControlError(f"it was not copied, because {self._settings.peer_node} did not answer its guard")
        return status

    def begin_reinit(self, *, discard: bool) -> dict[str, Any]:
        """Asks for the same and returns at once; the status names the request in `copied` when the copy is in place."""
        self._require_source()
        return {"request": self._leave("reinit", discard=discard)}

    def _require_source(self) -> None:
        record = self._store.read()
        if record is None or record.primary != self._settings.peer_node:
            raise ControlError(f"the record does not name {self._settings.peer_node} primary: there is nothing to copy from")
        if self._store.read_status(self._settings.peer_node).get("role") != "primary":
            raise ControlError(f"{self._settings.peer_node} is not running as primary: there is nothing to copy from")

    def adopt(self, by: str, reason: str) -> Record:
        """Writes a record that names this node primary, where there is none."""
        facts = read_facts(self._settings.data_dir)
        if facts.system_identifier is None:
            raise ControlError("there is no data here to adopt")
        mode = DEGRADED if self._settings.synchronous else ASYNCHRONOUS
        record = Record(facts.system_identifier, 1, self._settings.node, mode).changed(by, reason)
        try:
            self._store.create(record)
        except RecordExistsError as error:
            raise ControlError(f"{error}; it is never overwritten") from error
        return record

    def name_primary(self, node: str, expected_epoch: int, by: str, reason: str) -> Record:
        """Names another primary in the record, if its epoch is still the expected one: the fence of every failover."""
        record = self._store.read()
        if record is None or record.epoch != expected_epoch:
            raise ControlError(f"the record is at epoch {record.epoch if record else None}, expected {expected_epoch}")
        if node not in (self._settings.node, self._settings.peer_node):
            raise ControlError(f"{node} is neither {self._settings.node} nor {self._settings.peer_node}")
        moved = record.moved(node, None, by, reason)
        self._store.replace(record, moved)
        # The commits of a server that is promoted wait until its guard has read this.
        self._wake_guard()
        return moved

    def _ask_guard(self, action: str, *, discard: bool) -> str:
        identity = write_request(self._settings.request_path, action, discard=discard)
        self._wake_guard()
        return identity

    def _wake_guard(self) -> None:
        """Has this node's guard look now instead of at its next turn."""
        own = self._store.read_status(self._settings.node)
        if self._guard_acts(own):
            with suppress(OSError):
                os.kill(own["guard_pid"], signal.SIGUSR1)

    def _guard_acts(self, own: dict[str, Any]) -> bool:
        # The number of a guard that is gone may be anybody's by now.
        return self._store.status_age_s(self._settings.node) < _RENEWED_WITHIN_S and _alive(own.get("guard_pid"))

    def _settled(self, action: str, timeout_s: float, *, discard: bool = False) -> dict[str, Any]:
        status = self._request(action, timeout_s, lambda found: found.get("state") in _SETTLED, discard=discard)
        if status["state"] != "running":
            advice = f"; type: {status['command']}" if status["command"] else ""
            raise ControlError(f"the guard {status['state']}: {status['message']}{advice}")
        return status

    def _request(
        self, action: str, timeout_s: float, done: Callable[[dict[str, Any]], bool], *, discard: bool = False
    ) -> dict[str, Any]:
        identity = self._leave(action, discard=discard)
        deadline = time.monotonic() + timeout_s
        was_there = True
        while time.monotonic() < deadline:
            found = self._store.read_status(self._settings.node)
            if found.get("request") == identity and done(found):
                return found
            if found.get("state") in ("failed", "stopped") or not _alive(found.get("guard_pid")):
                raise ControlError(f"the guard {found.get('state')}: {found.get('message')}")
            is_there = self._settings.request_path.exists()
            if not (is_there or was_there or discard or found.get("request") == identity):
                # A guard that starts throws away what it finds. This was left before it had looked, by the word of the
                # guard before it: in a container both have the same number.
                identity = self._ask_guard(action, discard=discard)
            was_there = is_there
            time.sleep(_POLL_S)
        raise ControlError(
            f"{action} was not done within {timeout_s:.0f} s; the guard says: {found.get('state')} {found.get('message')}"
        )

    def _leave(self, action: str, *, discard: bool) -> str:
        own = self._store.read_status(self._settings.node)
        if not _alive(own.get("guard_pid")):
            raise ControlError(f"the guard of {self._settings.node} is not running")
        return self._ask_guard(action, discard=discard)


def _alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
