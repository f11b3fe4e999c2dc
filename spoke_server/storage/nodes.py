"""The nodes of PostgreSQL: how to connect to each, which one has a role, and in few words why none has it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any, NamedTuple, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from spoke_server.settings import Settings
from spoke_server.storage.addresses import Addresses

Connection: TypeAlias = psycopg.AsyncConnection[Any]

CONNECT_TIMEOUT_S = 2
_STANDBY = "standby"
# libpq passes no SQLSTATE on when a connection is refused. PostgreSQL's words for 53300, of which one always comes.
_FULL = ("too many clients already", "remaining connection slots are reserved", "too many connections for")


class Node(NamedTuple):
    """A node: its address and how to connect to it; once it is connected, at which of its host's addresses."""

    address: str
    conninfo: str
    host: str


class NobodyAnswers(Exception):
    """No node has the role; says of each why not, and which ones only have no connection to spare."""

    def __init__(self, reasons: dict[Node, str]) -> None:
        super().__init__("; ".join(f"{node.address}: {reason}" for node, reason in reasons.items()))
        self.full = {node.address for node, reason in reasons.items() if _is_full(reason)}


def candidates(settings: Settings) -> list[Node]:
    """All nodes that the URL names."""
    try:
        given = conninfo_to_dict(settings.postgres_url)
    except psycopg.ProgrammingError as error:
        raise ValueError(f"SPOKE_POSTGRES_URL: {in_few_words(error)}") from None
    hosts = str(given.pop("host", "localhost")).split(",")
    ports = str(given.pop("port", "5432")).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    given.pop("target_session_attrs", None)
    if settings.postgres_password:
        given["password"] = settings.postgres_password
    # A client that stops in the middle of a transaction must not keep its locks.
    limits = "-c idle_in_transaction_session_timeout=5s -c lock_timeout=5s"
    given["options"] = f"{given.get('options', '')} {limits}".strip()
    given.setdefault("connect_timeout", CONNECT_TIMEOUT_S)
    given.setdefault("application_name", settings.node)
    # A peer whose network is cut is noticed within seconds, not after the kernel's quarter of an hour.
    network = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 5000}
    given.update({key: value for key, value in network.items() if key not in given})
    return [
        Node(f"{host}:{port}", make_conninfo("", **given, host=host, port=port), host)
        for host, port in zip(hosts, ports, strict=True)
    ]


async def spare_connections(connection: Connection) -> int:
    """How many connections the node gives to all its clients together."""
    cursor = await connection.execute(
        """
        SELECT sum(CASE name WHEN 'max_connections' THEN setting::int ELSE -setting::int END) FROM pg_settings
        WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
        """
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def find(
    nodes: list[Node], role: str, addresses: Addresses, *, standby: Node | None = None
) -> tuple[Node, Connection]:
    """Connects to all nodes at once; the first that has the role wins (libpq's target_session_attrs).

    Further connections to the node found go where this one went, and only while it has the role. `standby` is known to be
    one, and is not asked.
    """
    asked = [node for node in nodes if standby is None or node.address != standby.address]
    tasks = {asyncio.create_task(_connect(node, role, addresses)): node for node in asked}
    unwanted, waiting = set(tasks), set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None:
                    unwanted.remove(task)
                    connection = task.result()
                    return as_found(tasks[task], connection, role), connection
    finally:
        for task in unwanted:
            task.add_done_callback(_close_unwanted)
            task.cancel()
    reasons = {node: in_few_words(task.exception()) for task, node in tasks.items()}
    raise NobodyAnswers({node: reasons.get(node, _STANDBY) for node in nodes})


def as_found(node: Node, connection: Connection, role: str) -> Node:
    """The node, for further connections to where this one went, and only while it has the role."""
    where = {"hostaddr": connection.info.hostaddr or None, "target_session_attrs": role}
    return node._replace(conninfo=make_conninfo(node.conninfo, **where))


async def _connect(node: Node, role: str, addresses: Addresses) -> Connection:
    given: dict[str, Any] = {"target_session_attrs": role}
    if not _is_socket(node.host) and "hostaddr" not in conninfo_to_dict(node.conninfo):
        found = await addresses.of(node.host, CONNECT_TIMEOUT_S)
        given |= {"host": ",".join([node.host] * len(found)), "hostaddr": ",".join(found)}
    return await psycopg.AsyncConnection.connect(make_conninfo(node.conninfo, **given), autocommit=True)


def _is_socket(host: str) -> bool:
    """Whether libpq takes the host for the folder of a Unix socket."""
    return not host or host.startswith(("/", "@"))


def hang_up(connection: Connection) -> None:
    """Ends a connection under a statement, which then fails, without asking the server to cancel the statement.

    A COMMIT that waits for its synchronous standby must not be cancelled: PostgreSQL would show what no standby has.
    """
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def in_few_words(error: BaseException | None) -> str:
    """What went wrong, without what libpq says around it."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    words = lines[0].rpartition(" failed: ")[2].removeprefix("FATAL:").strip()
    if words == "session is read-only":
        return _STANDBY
    words = words[:1].lower() + words[1:]
    return f"{words} (lower SPOKE_POSTGRES_MAX_CONNS or raise its max_connections)" if _is_full(words) else words


def _is_full(words: str) -> bool:
    return any(full in words for full in _FULL)


def _close_unwanted(task: asyncio.Task[Connection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().pgconn.finish()
