"""PostgreSQL over a published port: what a node says it is, asked with the operator's role."""

import select
from contextlib import closing
from dataclasses import dataclass

import psycopg
from psycopg.pq.abc import PGconn

from spokectl.wait import Deadline

_OBSERVE = b"""
SELECT pg_is_in_recovery(), current_setting('server_version'),
       (SELECT status FROM pg_stat_wal_receiver),
       (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming')
"""


@dataclass(frozen=True)
class Credentials:
    user: str
    password: str
    database: str


@dataclass(frozen=True)
class PostgresNode:
    """`streaming`: a standby receives WAL now. `standbys`: how many stream from this primary."""

    in_recovery: bool
    version: str
    streaming: bool
    standbys: int

    @property
    def role(self) -> str:
        return "standby" if self.in_recovery else "primary"


class PostgresUnavailable(Exception):
    """The node did not answer; the text says why in one line."""


def observe_node(host: str, port: int, credentials: Credentials, *, timeout_s: float) -> PostgresNode:
    """Asks the node itself. PostgresUnavailable when it does not answer within `timeout_s`."""
    try:
        connection = psycopg.connect(
            host=host,
            port=port,
            user=credentials.user,
            password=credentials.password,
            dbname=credentials.database,
            connect_timeout=max(2, round(timeout_s)),
            options=f"-c statement_timeout={round(timeout_s * 1000)}",
            application_name="spokectl",
            sslmode="prefer",
            autocommit=True,
        )
        with closing(connection):
            in_recovery, version, receiver, standbys = _answer(connection.pgconn, timeout_s)
    except psycopg.Error as error:
        raise PostgresUnavailable(_first_line(error)) from error
    return PostgresNode(in_recovery == b"t", version.split()[0].decode(), receiver == b"streaming", int(standbys))


def _answer(connection: PGconn, timeout_s: float) -> list[bytes]:
    """The one row of `_OBSERVE`, as texts. A server that is frozen meanwhile does not keep its own statement_timeout."""
    connection.send_query(_OBSERVE)
    deadline = Deadline(timeout_s)
    while connection.is_busy():
        if not select.select([connection.socket], [], [], deadline.remaining_s)[0]:
            raise PostgresUnavailable(f"no answer within {timeout_s:g} s")
        connection.consume_input()
    result = connection.get_result()
    if result is None or result.ntuples != 1:
        raise PostgresUnavailable(connection.get_error_message() or "it gave no answer")
    return [result.get_value(0, column) or b"" for column in range(result.nfields)]


def _first_line(error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
