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

Connection: TypeAlias = psycopg.AsyncConnection[Any]

CONNECT_TIMEOUT_S = 2


class Node(NamedTuple):
    """A node: its address and how to connect to it."""

    address: str
    conninfo: str


class NobodyAnswers(Exception):
    """No node has the role; says of each why not."""


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
        Node(f"{host}:{port}", make_conninfo("", **given, host=host, port=port))
        for host, port in zip(hosts, ports, strict=True)
    ]


async def find(nodes: list[Node], role: str) -> tuple[Node, Connection]:
    """Connects to all nodes at once; the first that has the role wins (libpq's target_session_attrs)."""
    tasks = {
        asyncio.create_task(
            psycopg.AsyncConnection.connect(f"{node.conninfo} target_session_attrs={role}", autocommit=True)
        ): node
        for node in nodes
    }
    unwanted, waiting = set(tasks), set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None:
                    unwanted.remove(task)
                    return tasks[task], task.result()
    finally:
        for task in unwanted:
            task.add_done_callback(_close_unwanted)
            task.cancel()
    raise NobodyAnswers("; ".join(f"{node.address}: {in_few_words(task.exception())}" for task, node in tasks.items()))


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
        return "standby"
    return words[:1].lower() + words[1:]


def _close_unwanted(task: asyncio.Task[Connection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().pgconn.finish()
