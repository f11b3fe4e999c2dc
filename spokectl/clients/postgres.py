"""PostgreSQL over a published port: what a node says it is, asked with the operator's role."""

from dataclasses import dataclass

import psycopg

_OBSERVE = """
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
        with psycopg.connect(
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
        ) as connection:
            row = connection.execute(_OBSERVE).fetchone()
    except psycopg.Error as error:
        raise PostgresUnavailable(_first_line(error)) from error
    assert row is not None  # noqa: S101 - a SELECT without FROM gives exactly one row
    return PostgresNode(bool(row[0]), str(row[1]).split()[0], row[2] == "streaming", int(row[3]))


def _first_line(error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
