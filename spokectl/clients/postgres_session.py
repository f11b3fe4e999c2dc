"""One session of the operator's on a PostgreSQL node, for what a move of the primary role asks and does.

A frozen server keeps no statement_timeout of its own, so every wait here is this side's.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg

from spokectl.clients.postgres import Credentials, PostgresUnavailable, await_answer, connect
from spokectl.lsn import lsn_number
from spokectl.wait import Deadline

_POSITION = """
SELECT pg_is_in_recovery(), pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(),
       (SELECT status FROM pg_stat_wal_receiver), pg_is_in_recovery() AND pg_is_wal_replay_paused(),
       (SELECT system_identifier FROM pg_control_system()),
       (SELECT count(*) FROM pg_stat_progress_basebackup), (SELECT count(*) FROM pg_prepared_xacts),
       (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND xact_start < now() - interval '30 seconds')
"""
# A standby refuses to start when one of these is lower than on its primary.
# Source: PostgreSQL's manual, "Hot Standby", 26.4.3 Administrator's Overview.
_NOT_LOWER = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)
_LIMITS = "SELECT " + ", ".join(f"current_setting('{name}')" for name in _NOT_LOWER)
# The copy that a guard makes calls itself so.
_COPY = """
SELECT p.backup_streamed, p.backup_total FROM pg_stat_progress_basebackup p JOIN pg_stat_activity a USING (pid)
WHERE a.application_name = 'spoke_standby_copy'
"""
_SENDERS = """
SELECT sync_state, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)
FROM pg_stat_replication WHERE application_name = 'spoke_standby' AND state = 'streaming'
"""


@dataclass(frozen=True)
class Position:
    """Where a node is. `received` and `replayed` (LSN as numbers of bytes) are a standby's."""

    in_recovery: bool
    received: int | None
    replayed: int | None
    receiving: bool
    replay_paused: bool
    system_identifier: str
    base_backups: int
    prepared_transactions: int
    long_transactions: int


@dataclass(frozen=True)
class Sender:
    """What a primary says of its standby; the lag in bytes of WAL."""

    synchronous: bool
    replay_lag_bytes: int


@dataclass(frozen=True)
class Copied:
    """How far a base backup has come. `total_bytes` is an estimate, None until it is made."""

    bytes: int
    total_bytes: int | None


class PostgresSession:
    """PostgresUnavailable from every call when the node does not answer in time, or answers with an error."""

    def __init__(self, host: str, port: int, credentials: Credentials, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        try:
            self._connection = connect(host, port, credentials, timeout_s=timeout_s)
        except psycopg.Error as error:
            raise PostgresUnavailable(" ".join(str(error).split())) from error

    def position(self) -> Position:
        row = self._row(_POSITION)
        return Position(
            in_recovery=row[0] == "t",
            received=_lsn(row[1]),
            replayed=_lsn(row[2]),
            receiving=row[3] == "streaming",
            replay_paused=row[4] == "t",
            system_identifier=row[5] or "",
            base_backups=int(row[6] or 0),
            prepared_transactions=int(row[7] or 0),
            long_transactions=int(row[8] or 0),
        )

    def limits(self) -> dict[str, int]:
        """The settings that a standby may not have lower than its primary."""
        return {name: int(value or 0) for name, value in zip(_NOT_LOWER, self._row(_LIMITS), strict=True)}

    def sender(self) -> Sender | None:
        """The standby that streams from this primary; None when none does."""
        rows = self._rows(_SENDERS, self._timeout_s)
        if not rows:
            return None
        synchronous, replay = rows[0]
        return Sender(synchronous in ("sync", "quorum"), int(replay or 0))

    def copied(self) -> Copied | None:
        """How far the copy that a standby's guard takes from here has come; None when none is taken."""
        rows = self._rows(_COPY, self._timeout_s)
        return Copied(int(rows[0][0] or 0), int(rows[0][1]) if rows[0][1] else None) if rows else None

    def checkpoint(self, timeout_s: float) -> None:
        self._rows("CHECKPOINT", timeout_s)

    def promote(self, timeout_s: float) -> None:
        """Ends recovery and returns when the node is a primary; nothing to do when it is one."""
        if self._row("SELECT pg_is_in_recovery()")[0] == "f":
            return
        row = self._rows(f"SELECT pg_promote(true, {max(1, round(timeout_s))})", timeout_s + self._timeout_s)[0]
        if row[0] != "t":
            raise PostgresUnavailable(f"it was told to become primary and is not after {timeout_s:.0f} s")

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _row(self, sql: str) -> list[str | None]:
        return self._rows(sql, self._timeout_s)[0]

    def _rows(self, sql: str, timeout_s: float) -> list[list[str | None]]:
        try:
            return self._ask(sql, Deadline(timeout_s))
        except psycopg.Error as error:
            raise PostgresUnavailable(" ".join(str(error).split())) from error

    def _ask(self, sql: str, deadline: Deadline) -> list[list[str | None]]:
        server = self._connection.pgconn
        try:
            await_answer(server, sql.encode(), deadline)
        except PostgresUnavailable:
            self._connection.close()
            raise
        rows: list[list[str | None]] = []
        while (result := server.get_result()) is not None:
            if result.error_message:
                raise PostgresUnavailable(" ".join(result.error_message.decode(errors="replace").split()))
            for row in range(result.ntuples):
                values = (result.get_value(row, column) for column in range(result.nfields))
                rows.append([None if value is None else value.decode() for value in values])
        return rows


def _lsn(text: str | None) -> int | None:
    return None if text is None else lsn_number(text)
