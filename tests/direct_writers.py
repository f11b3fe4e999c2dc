"""Clients that write one unique row after the other to one PostgreSQL node each, and remember what was acknowledged when."""

from __future__ import annotations

import select
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PAUSE_S = 0.005
_LOOK_UP_EVERY_S = 0.1
_PAUSE_AFTER_A_FAILURE_S = 0.05
TABLE = "CREATE TABLE IF NOT EXISTS written (word text PRIMARY KEY)"


class WriteFailed(Exception):
    """Read-only, gone, or in doubt: whatever it is, it is not acknowledged."""


class Session(Protocol):
    """One connection. `begin` sends a statement; `answered` says whether it has succeeded yet, or raises WriteFailed."""

    def begin(self, statement: str) -> None: ...

    def answered(self, timeout_s: float) -> bool: ...

    def close(self) -> None:
        """Leaves a statement that is under way, unacknowledged and not cancelled."""


class TcpSession:
    """A session over the node's port."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._wire = connection.pgconn

    def begin(self, statement: str) -> None:
        self._wire.send_query(statement.encode())

    def answered(self, timeout_s: float) -> bool:
        if not select.select([self._wire.socket], [], [], timeout_s)[0]:
            return False
        try:
            self._wire.consume_input()
        except psycopg.Error as error:
            raise WriteFailed(str(error)) from error
        if self._wire.is_busy():
            return False
        result = self._wire.get_result()
        if result is None or result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise WriteFailed("refused" if result is None else result.error_message.decode(errors="replace"))
        while self._wire.get_result():
            pass
        return True

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Target:
    """A node as its clients reach it; `connect` raises WriteFailed or a psycopg.Error while it cannot be reached."""

    name: str
    connect: Callable[[], Session]


@dataclass
class Write:
    """One row. Times are of this process's monotonic clock: before it was sent, and after its acknowledgement."""

    word: str
    node: str
    sent_s: float
    acknowledged_s: float | None = None


class Writers:
    """`writes` holds every row that was sent, in no order."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self._ended = threading.Event()

    @property
    def acknowledged(self) -> dict[str, str]:
        """The node that acknowledged it, for each acknowledged row."""
        return {write.word: write.node for write in self.writes if write.acknowledged_s is not None}

    def of(self, node: str) -> list[Write]:
        return [write for write in self.writes if write.node == node]

    def count(self, node: str) -> int:
        return sum(write.acknowledged_s is not None for write in self.of(node))

    def _write(self, target: Target, number: int) -> None:
        session: Session | None = None
        step = 0
        while not self._ended.is_set():
            step += 1
            try:
                session = session or target.connect()
                self._insert(session, target.name, f"{target.name} {number} {step} {time.monotonic_ns()}")
            except (WriteFailed, psycopg.Error):
                if session is not None:
                    session.close()
                session = None
                self._ended.wait(_PAUSE_AFTER_A_FAILURE_S)
            self._ended.wait(_PAUSE_S)
        if session is not None:
            session.close()

    def _insert(self, session: Session, node: str, word: str) -> None:
        write = Write(word, node, time.monotonic())
        self.writes.append(write)
        session.begin(f"INSERT INTO written VALUES ('{word}')")
        while not session.answered(_LOOK_UP_EVERY_S):
            if self._ended.is_set():
                return
        write.acknowledged_s = time.monotonic()


@contextmanager
def writing(*targets: Target, each: int = 3) -> Iterator[Writers]:
    """Has `each` clients write to each of the targets until the end of the block."""
    writers = Writers()
    threads = [
        threading.Thread(target=writers._write, args=(target, number), daemon=True)
        for number, target in enumerate(target for target in targets for _ in range(each))
    ]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        writers._ended.set()
        for thread in threads:
            thread.join()
