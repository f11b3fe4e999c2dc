"""Whether the stack's ports are free, and who has those that are not."""

import errno
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from spokectl.errors import Refused
from spokectl.model import Port
from spokectl.settings import command_line

SUGGESTED_OFFSET = 1_000


@dataclass(frozen=True)
class Wanted:
    """A port that a service is about to listen on."""

    service: str
    port: Port

    def __str__(self) -> str:
        return f"{self.port.published} ({self.service})"


def require_free(wanted: Collection[Wanted], own: Collection[int], *, stack: str) -> None:
    """Refused (`port_taken`) names every port that a process other than `own` listens on, with that process.

    Also refused: a port that this user may not open, and an address that is not this machine's.
    """
    taken = []
    for want in wanted:
        problem = _problem(want.port)
        if problem in {errno.EACCES, errno.EPERM}:
            raise _forbidden(want, stack)
        if problem == errno.EADDRNOTAVAIL:
            raise _not_ours(want, stack)
        if problem is not None:
            taken.append(want)
    if not taken:
        return
    holders = _holders({want.port.published for want in taken})
    strangers = [want for want in taken if holders.get(want.port.published, -1) not in own]
    # Who ended since the first look holds nothing any more.
    strangers = [want for want in strangers if want.port.published in holders or _problem(want.port) is not None]
    if strangers:
        raise _taken(strangers, holders, stack)


def still_listening(wanted: Iterable[Wanted]) -> list[Wanted]:
    """The ports that something still listens on."""
    return [want for want in wanted if _problem(want.port) == errno.EADDRINUSE]


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


def _taken(strangers: Collection[Wanted], holders: Mapping[int, int], stack: str) -> Refused:
    said = [f"{want} is held by {_describe(holders.get(want.port.published))}" for want in strangers]
    details = [
        {"port": want.port.published, "service": want.service, "pid": holders.get(want.port.published)} for want in strangers
    ]
    return Refused(
        "port_taken",
        f"{'a port is' if len(said) == 1 else 'ports are'} taken: {'; '.join(said)}",
        actions=[
            command_line(stack, f"up --port-offset {SUGGESTED_OFFSET}"),
            "if another stack holds them: spokectl down --stack NAME",
        ],
        details={"ports": details},
        retryable=True,
    )


def _describe(pid: int | None) -> str:
    if pid is None:
        return "a process of another user, or a connection that is still closing"
    try:
        process = psutil.Process(pid)
        return f"{process.name()} (pid {pid}, of {process.username()})"
    except psutil.Error:
        return f"pid {pid}"


def _forbidden(want: Wanted, stack: str) -> Refused:
    return Refused(
        "port_forbidden",
        f"this user may not listen on port {want}: ports below 1024 are root's",
        actions=[command_line(stack, f"up --port-offset {SUGGESTED_OFFSET}")],
    )


def _not_ours(want: Wanted, stack: str) -> Refused:
    return Refused(
        "bad_bind_address",
        f"{want.service} is to listen on {want.port.host}, which is not an address of this machine",
        actions=[command_line(stack, "config set SPOKE_BIND=127.0.0.1")],
    )
