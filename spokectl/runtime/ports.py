"""Whether the stack's ports are free, and who has those that are not."""

import errno
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from spokectl.errors import Refused
from spokectl.model import Port, Stack
from spokectl.settings import command_line

_OFFSET_STEP = 1_000
_LAST_PORT = 65_535
# A process may end between the question who holds a port and the one whose it is, and leave the port to a sibling.
_LOOKS = 3


@dataclass(frozen=True)
class Wanted:
    """A port that a service is about to listen on."""

    service: str
    port: Port

    def __str__(self) -> str:
        return f"{self.port.published} ({self.service})"


Describe = Callable[[int], str | None]
"""Says in a runtime's own words who holds a port, or None when it does not know."""


def require_free(
    wanted: Collection[Wanted],
    own: Callable[[], Collection[int]],
    *,
    stack: Stack,
    described: Describe = lambda _: None,
) -> None:
    """Refused (`port_taken`) names every port that a process other than our `own` listens on, with that process.

    Also refused: a port that this user may not open, and an address that is not this machine's.
    """
    taken = []
    for want in wanted:
        problem = _problem(want.port)
        if problem in {errno.EACCES, errno.EPERM}:
            raise _forbidden(want, stack)
        if problem == errno.EADDRNOTAVAIL:
            raise _not_ours(want, stack.name)
        if problem is not None:
            taken.append(want)
    strangers: Sequence[Wanted] = taken
    holders: Mapping[int, int] = {}
    for _ in range(_LOOKS):
        if not strangers:
            return
        # What a killed `down` was stopping goes on ending meanwhile. Who holds a port is asked first and who is ours then,
        # so that a process of ours is known as such; and a port that is free by now is held by nobody.
        holders = _holders({want.port.published for want in strangers})
        ours = own()
        strangers = [w for w in strangers if holders.get(w.port.published, -1) not in ours and _problem(w.port) is not None]
    if strangers:
        raise _taken(strangers, holders, stack, described)


def still_listening(wanted: Iterable[Wanted]) -> list[Wanted]:
    """The ports that something still listens on."""
    return [want for want in wanted if _problem(want.port) == errno.EADDRINUSE]


def up_elsewhere(stack: Stack) -> list[str]:
    """The command that moves the whole stack to where all of its ports are free now; none when there is no such place."""
    hosts = {port.host for service in stack.services.values() for port in service.ports}
    defaults = stack.port_settings.values()
    for offset in range(_OFFSET_STEP, _LAST_PORT + 1 - max(defaults, default=_LAST_PORT), _OFFSET_STEP):
        if not any(_problem(Port(host, port + offset, 0)) for host in hosts for port in defaults):
            return [command_line(stack.name, f"up --port-offset {offset}")]
    return []


def _problem(port: Port) -> int | None:
    """The error number of listening on the port, or None when it is free."""
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections of an earlier run that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host, port.published))
        except OSError as error:
            return error.errno or errno.EADDRINUSE
    return None


def _holders(published: Collection[int]) -> dict[int, int]:
    """The process at each port, as far as this user may see it; one that listens goes before one that only connects."""
    try:
        everyone: list[tuple[Any, int | None]] = [
            (connection, connection.pid) for connection in psutil.net_connections(kind="tcp")
        ]
    except psutil.AccessDenied:
        everyone = _connections_one_by_one()
    holders: dict[int, int] = {}
    for connection, pid in sorted(everyone, key=lambda pair: pair[0].status == psutil.CONN_LISTEN):
        if pid and connection.laddr and connection.laddr.port in published:
            holders[connection.laddr.port] = pid
    return holders


def _connections_one_by_one() -> list[tuple[Any, int | None]]:
    """macOS shows an ordinary user the connections of one process at a time, and only of his own."""
    found: list[tuple[Any, int | None]] = []
    for process in psutil.process_iter():
        try:
            found += [(connection, process.pid) for connection in process.net_connections(kind="tcp")]
        except psutil.Error:
            continue
    return found


def _taken(strangers: Sequence[Wanted], holders: Mapping[int, int], stack: Stack, described: Describe) -> Refused:
    pids = [holders.get(want.port.published) for want in strangers]
    who = [described(want.port.published) or _describe(pid) for want, pid in zip(strangers, pids, strict=True)]
    said = [f"{want} is held by {holder}" for want, holder in zip(strangers, who, strict=True)]
    other = next((name for pid in pids if (name := _native_stack_of(pid)) not in (None, stack.name)), None) or "NAME"
    return Refused(
        "port_taken",
        f"a port is taken: {said[0]}" if len(said) == 1 else "\n  ".join([f"{len(said)} ports are taken:", *said]),
        actions=[
            *up_elsewhere(stack),
            ("if another stack holds them: " if other == "NAME" else "") + command_line(other, "down"),
        ],
        details={
            "ports": [
                {"port": want.port.published, "service": want.service, "pid": pid, "holder": holder}
                for want, pid, holder in zip(strangers, pids, who, strict=True)
            ]
        },
        retryable=True,
    )


def _describe(pid: int | None) -> str:
    if pid is None:
        return "a process of another user, or a connection that is still closing"
    try:
        process = psutil.Process(pid)
        whose = _native_stack_of(pid)
        return f"{process.name()} (pid {pid}, of {process.username()})" + (f" of the stack {whose}" if whose else "")
    except psutil.Error:
        return f"pid {pid}"


def _native_stack_of(pid: int | None) -> str | None:
    """The stack in whose state folder lies the configuration of the supervisord above the process, if there is one."""
    try:
        above = [process.cmdline() for process in psutil.Process(pid).parents()] if pid else []
    except psutil.Error:
        return None
    configurations = [Path(words[-1]) for words in above if words[-2:-1] == ["-c"]]
    return next((path.parent.name for path in configurations if path.name == "supervisord.conf"), None)


def _forbidden(want: Wanted, stack: Stack) -> Refused:
    return Refused(
        "port_forbidden",
        f"this user may not listen on port {want}: ports below 1024 are root's",
        actions=up_elsewhere(stack) or [f"publish ports of 1024 and above in {stack.files[0]}"],
    )


def _not_ours(want: Wanted, stack: str) -> Refused:
    return Refused(
        "bad_bind_address",
        f"{want.service} is to listen on {want.port.host}, which is not an address of this machine",
        actions=[command_line(stack, "config set SPOKE_BIND=127.0.0.1")],
    )
