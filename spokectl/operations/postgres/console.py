"""A conversation with a node's guard (docs/postgres-guard.md, `guard.py console`): many questions, one process."""

import json
import os
import select
import subprocess
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from spokectl.errors import Failed, OutcomeUnknown, SpokectlError
from spokectl.runtime.base import Runtime
from spokectl.wait import Deadline

_CONSOLE = 'exec "${SPOKE_PYTHON:-python3}" "${SPOKE_SERVICE_DIR:-/opt/spoke/services/postgres}/guard.py" console'
# The guard's own limit comes first, and says more.
_GRACE_S = 5.0


class GuardUnavailable(Failed):
    """The guard, or the process that speaks for it, is not there."""

    def __init__(self, service: str, why: str) -> None:
        super().__init__("guard_unavailable", f"the guard of {service} cannot be asked: {why}")


class GuardConsole:
    """Speaks to the guard of one node. Every call ends; GuardUnavailable when nobody is there to answer."""

    def __init__(self, runtime: Runtime, service: str) -> None:
        self._service = service
        self._unread = b""
        self.in_step = True
        """Whether the last question has had its answer: one that comes later would be taken for that of the next."""
        try:
            invocation = runtime.invocation(service, ["sh", "-c", _CONSOLE])
            self._process = subprocess.Popen(
                invocation.argv,
                env=invocation.environment,
                cwd=invocation.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                # A terminal's Ctrl-C is for the operation, which needs the guards to put everything back.
                process_group=0,
            )
        except (SpokectlError, OSError) as error:
            raise GuardUnavailable(service, str(error)) from error

    def status(self) -> dict[str, Any]:
        """The node's status, its peer's and the record, as they are now."""
        return self._ask({"command": "status"}, Deadline(10.0))

    def demote(self, deadline: Deadline) -> dict[str, Any]:
        """Has the server stopped cleanly and held down; the status holds pg_controldata's proof in `control`."""
        return self._ask({"command": "demote", "timeout_s": deadline.remaining_s}, deadline)

    def rejoin(self, deadline: Deadline) -> dict[str, Any]:
        """Has the server run again in the role that the record says."""
        return self._ask({"command": "rejoin", "timeout_s": deadline.remaining_s}, deadline)

    def begin_reinit(self, *, discard: bool) -> str:
        """Asks for a copy of the primary's data in place of the node's; the status names what is returned in `copied`."""
        return str(self._ask({"command": "begin-reinit", "discard": discard}, Deadline(10.0))["request"])

    def adopt(self, by: str, reason: str) -> None:
        """Writes a cluster record that names this node, where there is none."""
        self._ask({"command": "adopt", "by": by, "reason": reason}, Deadline(15.0))

    def name_primary(self, node: str, expected_epoch: int, by: str, reason: str) -> dict[str, Any]:
        """Names another primary in the record, if its epoch is still the expected one; gives the record."""
        request = {"command": "name-primary", "node": node, "expected_epoch": expected_epoch, "by": by, "reason": reason}
        return self._ask(request, Deadline(15.0))

    def close(self) -> None:
        """Ends the conversation, and with it the process; the guard goes on with what it was told."""
        if not self.in_step:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, request: dict[str, object], deadline: Deadline) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self.in_step = False
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(
                self._line(str(request["command"]), Deadline(deadline.remaining_s + _GRACE_S))
            )
        except (OSError, ValueError) as error:
            raise GuardUnavailable(self._service, str(error)) from error
        self.in_step = True
        if "error" in answer:
            raise Failed("guard_refused", f"the guard of {self._service} has not done it: {answer['error']}")
        found: dict[str, Any] = answer["ok"]
        return found

    def _line(self, command: str, deadline: Deadline) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            if not select.select([descriptor], [], [], deadline.remaining_s)[0]:
                raise OutcomeUnknown("timeout", f"the guard of {self._service} has not answered {command} in time")
            more = os.read(descriptor, 65536)
            if not more:
                raise GuardUnavailable(self._service, "the conversation has ended")
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line


class Guards:
    """Conversations with the guards of a stack's nodes, each begun when it is first needed and kept until it breaks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._consoles: dict[str, GuardConsole] = {}

    def of(self, node: str) -> GuardConsole:
        """GuardUnavailable when nobody is there. One that was broken off, say by Ctrl-C, is begun anew."""
        if node in self._consoles and not self._consoles[node].in_step:
            self.forget(node)
        if node not in self._consoles:
            self._consoles[node] = GuardConsole(self._runtime, node)
        return self._consoles[node]

    def status(self, node: str) -> dict[str, Any]:
        """As `GuardConsole.status`; a conversation that has broken is begun anew the next time."""
        try:
            return self.of(node).status()
        except GuardUnavailable:
            self.forget(node)
            raise

    def silence(self, node: str, since: datetime) -> str:
        """Why the word of the node's guard is not to be relied on; empty when it acts, and has said something since then."""
        try:
            found = self.status(node)
        except GuardUnavailable as error:
            return error.message
        if not found["guard_alive"] or datetime.fromisoformat(found["status"]["time"]) < since:
            return "its guard does not act yet"
        return ""

    def record(self, nodes: Iterable[str]) -> dict[str, Any]:
        """The cluster record, as the first of the nodes has it that can be asked.

        GuardUnavailable when none can be; Failed when it cannot be read (`record_unreadable`), or when there is none
        (`record_missing`).
        """
        problem: SpokectlError | None = None
        for node in nodes:
            try:
                found = self.status(node)
            except GuardUnavailable as error:
                problem = problem or error
                continue
            if found["record"] is not None:
                record: dict[str, Any] = found["record"]
                return record
            if found["record_error"]:
                problem = Failed("record_unreadable", f"the cluster record cannot be read: {found['record_error']}")
            else:
                problem = Failed("record_missing", "there is no cluster record")
        assert problem is not None  # noqa: S101 - nobody asks for the record of no node
        raise problem

    def forget(self, node: str) -> None:
        """Ends the conversation with one that is not there any more."""
        console = self._consoles.pop(node, None)
        if console is not None:
            console.close()

    def close(self) -> None:
        for node in list(self._consoles):
            self.forget(node)
