"""Clients that write and read back while a role moves. Moderate: they share the machine with what is measured."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from spokectl.drills.history import Clock, Outcome, Write
from spokectl.wait import Deadline, wait_until

CLIENTS = 4
# What each waits between two writes; so a gap is told to about 50 ms / 4 clients.
PACE_S = 0.05
_GO_ON_WRITES = 10
_GO_ON_WITHIN_S = 120.0


class WriteRefused(Exception):
    """The write was not applied for sure."""


class Target(Protocol):
    """Where one client writes to, over connections of its own."""

    def write(self, key: str) -> None:
        """Returns once the write is acknowledged. WriteRefused, or any error that leaves it in doubt."""

    def read(self, key: str) -> None:
        """Any error when the write cannot be read, or reads otherwise."""

    def close(self) -> None:
        """Ends its connections."""


class Client(threading.Thread):
    """Writes one key after the other, reads back what was acknowledged, and keeps what became of it."""

    def __init__(self, name: str, target: Target) -> None:
        super().__init__(daemon=True)
        self.writes: list[Write] = []
        self.failed_reads: list[str] = []
        self._name, self._target = name, target
        self._clock = Clock()
        self._over = threading.Event()

    def run(self) -> None:
        step = 0
        while not self._over.is_set():
            step += 1
            self.once(f"{self._name}-{step}")
            self._over.wait(PACE_S)
        self._target.close()

    def once(self, key: str) -> None:
        """One write, and the read of it when it was acknowledged. Never an error: it is kept."""
        began_s = self._clock.now_s()
        try:
            self._target.write(key)
        except Exception as error:  # noqa: BLE001 - every kind of failure is what is counted
            outcome = Outcome.REFUSED if isinstance(error, WriteRefused) else Outcome.IN_DOUBT
            self.writes.append(Write(key, began_s, self._clock.now_s(), outcome, why=repr(error)))
            return
        self.writes.append(Write(key, began_s, self._clock.now_s(), Outcome.ACKNOWLEDGED))
        try:
            self._target.read(key)
        except Exception as error:  # noqa: BLE001 - as above
            self.failed_reads.append(f"{key}: {error!r}")

    def stop(self) -> None:
        self._over.set()
        self.join(timeout=_GO_ON_WITHIN_S)


class Load:
    """All clients of one kind together."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients

    @property
    def writes(self) -> list[Write]:
        return [write for client in self._clients for write in client.writes]

    @property
    def failed(self) -> list[str]:
        """Every request that did not end well: writes refused or in doubt, and reads."""
        writes = [
            f"{each.key}: {each.outcome}: {each.why}" for each in self.writes if each.outcome is not Outcome.ACKNOWLEDGED
        ]
        return writes + [reason for client in self._clients for reason in client.failed_reads]

    def go_on(self) -> None:
        """Returns once every client has had some more writes acknowledged."""
        wanted = [_count(client) + _GO_ON_WRITES for client in self._clients]

        def blocker() -> str | None:
            late = sum(_count(client) < want for client, want in zip(self._clients, wanted, strict=True))
            return f"{late} clients are stuck: {', '.join(self.failed[-1:])}" if late else None

        wait_until(blocker, Deadline(_GO_ON_WITHIN_S), what="writes go through")


@contextmanager
def under_load(name: str, make_target: Callable[[int], Target], clients: int = CLIENTS) -> Iterator[Load]:
    """Runs the clients for as long as it lasts; writes go through when it begins, and again before it ends well."""
    started = [Client(f"{name}-{number}", make_target(number)) for number in range(clients)]
    load = Load(started)
    try:
        for client in started:
            client.start()
        load.go_on()
        yield load
        load.go_on()
    finally:
        for client in started:
            client.stop()


def _count(client: Client) -> int:
    return sum(write.outcome is Outcome.ACKNOWLEDGED for write in client.writes)
