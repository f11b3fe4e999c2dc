"""PostgreSQL over a published port: what a node says it is, asked with the operator's role."""

import select
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq.abc import PGconn

from spokectl.clients.postgres_answers import LOOK, SESSIONS, facts, sessions
from spokectl.facts import PostgresFacts, Sessions
from spokectl.wait import Deadline

_CONNECT_TIMEOUT_S = 2


@dataclass(frozen=True)
class Credentials:
    user: str
    password: str
    database: str


@dataclass(frozen=True)
class PostgresNode:
    """What a node says of itself, with what a probe goes by at hand."""

    version: str
    facts: PostgresFacts

    @property
    def role(self) -> str:
        return self.facts.role

    @property
    def in_recovery(self) -> bool:
        return self.facts.role == "standby"

    @property
    def streaming(self) -> bool:
        """Whether a standby receives WAL now."""
        return self.facts.receiver is not None and self.facts.receiver.status == "streaming"

    @property
    def standbys(self) -> int:
        """How many stream from this node."""
        return sum(each.state == "streaming" for each in self.facts.followers)

    @property
    def commits_wait(self) -> bool:
        """What is committed here is acknowledged only once a standby has it."""
        return self.facts.commits_wait

    @property
    def max_connections(self) -> int:
        """As it is in force now."""
        return self.facts.connections_max


class PostgresUnavailable(Exception):
    """The node did not answer; the text says why in one line."""


def observe_node(host: str, port: int, credentials: Credentials, *, timeout_s: float) -> PostgresNode:
    """Asks the node itself. PostgresUnavailable when it does not answer within `timeout_s`."""
    [(standby, version, document)] = _ask(host, port, credentials, LOOK, timeout_s)
    return PostgresNode(version.split()[0].decode(), facts(standby, document))


def observe_sessions(host: str, port: int, credentials: Credentials, *, timeout_s: float) -> list[Sessions]:
    """Who is connected to the node, the largest group first. PostgresUnavailable as above."""
    return sessions(_ask(host, port, credentials, SESSIONS, timeout_s))


def server_time_s(host: str, port: int, credentials: Credentials, *, timeout_s: float) -> float:
    """The node's clock, in seconds since 1970. PostgresUnavailable as above."""
    [[said]] = _ask(host, port, credentials, b"SELECT extract(epoch FROM clock_timestamp())", timeout_s)
    return float(said)


def connect(
    host: str, port: int, credentials: Credentials, *, timeout_s: float, options: str = ""
) -> psycopg.Connection[Any]:
    """A connection of the operator's; psycopg.Error when there is none. `options` are for the server's session."""
    return psycopg.connect(
        host=host,
        port=port,
        user=credentials.user,
        password=credentials.password,
        dbname=credentials.database,
        connect_timeout=max(2, round(timeout_s)),
        options=options,
        application_name="spokectl",
        sslmode="prefer",
        autocommit=True,
    )


def conninfo_of_primary(nodes: Sequence[tuple[str, int]], credentials: Credentials) -> str:
    """For the clients of a drill: leads to whichever of the nodes takes writes, as a URL that names them all does."""
    return psycopg.conninfo.make_conninfo(
        host=",".join(host for host, _ in nodes),
        port=",".join(str(port) for _, port in nodes),
        user=credentials.user,
        password=credentials.password,
        dbname=credentials.database,
        target_session_attrs="read-write",
        connect_timeout=_CONNECT_TIMEOUT_S,
        application_name="spokectl drill",
    )


def await_answer(connection: PGconn, query: bytes, deadline: Deadline) -> None:
    """Sends the query and returns when its results can be read. PostgresUnavailable when they do not come in time.

    A server that is frozen meanwhile does not keep its own statement_timeout.
    """
    connection.send_query(query)
    while connection.is_busy():
        if not select.select([connection.socket], [], [], deadline.remaining_s)[0]:
            raise PostgresUnavailable(f"no answer within {deadline.timeout_s:g} s")
        connection.consume_input()


def _ask(host: str, port: int, credentials: Credentials, query: bytes, timeout_s: float) -> list[list[bytes]]:
    limit = f"-c statement_timeout={round(timeout_s * 1000)}"
    try:
        with closing(connect(host, port, credentials, timeout_s=timeout_s, options=limit)) as connection:
            return _answer(connection.pgconn, query, timeout_s)
    except psycopg.Error as error:
        raise PostgresUnavailable(_first_line(error)) from error


def _answer(connection: PGconn, query: bytes, timeout_s: float) -> list[list[bytes]]:
    """The rows as texts."""
    await_answer(connection, query, Deadline(timeout_s))
    result = connection.get_result()
    if result is None or result.nfields == 0:
        raise PostgresUnavailable(connection.get_error_message() or "it gave no answer")
    return [[result.get_value(row, column) or b"" for column in range(result.nfields)] for row in range(result.ntuples)]


def _first_line(error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
