"""Clients that write and read back while the stack is broken, and what they saw: in memory, and in a ledger on disk.

Moderate: they share the machine with the stack, and it is not their number that tells something.
"""

import random
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from spokectl.clients.writers import Absent, Different, Writer, WriteRefused
from spokectl.drills.gaps import failed
from spokectl.drills.history import Clock, Ledger, Outcome, Read, Request, Write
from spokectl.wait import Deadline, wait_until

# What each client waits between two rounds; so a gap is told to about 50 ms / 4 clients.
PACE_S = 0.05
_GO_ON_WRITES = 10
_GO_ON_WITHIN_S = 120.0


@dataclass(frozen=True)
class Snapshot:
    """What has been seen so far, for those who watch. `last_good_s`: when the last write went well, by the layer."""

    acknowledged: int
    failed: int
    last_good_s: dict[str, float]


class Saw:
    """What all clients together have seen, from any number of threads.

    `trouble`: why the ledger on disk is not whole; what is in memory is.
    """

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.trouble = ""
        self._ledger = ledger
        self._over = False
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._good_keys: dict[str, list[str]] = {}
        self._good_writes: dict[str, int] = {}
        self._last_good_s: dict[str, float] = {}
        self._failed = 0

    def add(self, request: Request) -> None:
        with self._lock:
            if self._over:
                return
            self._requests.append(request)
            if not request.ok:
                self._failed += 1
            elif isinstance(request, Write):
                self._good_keys.setdefault(request.layer, []).append(request.key)
                self._good_writes[request.client] = self._good_writes.get(request.client, 0) + 1
                self._last_good_s[request.layer] = request.ended_s
            if self._ledger is not None and not self.trouble:
                try:
                    self._ledger.add(request)
                except OSError as error:
                    self.trouble = error.strerror or str(error)

    def end(self) -> list[Request]:
        """All requests; what comes in later is not heard any more."""
        with self._lock:
            self._over = True
            return list(self._requests)

    @property
    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    @property
    def snapshot(self) -> Snapshot:
        with self._lock:
            return Snapshot(sum(self._good_writes.values()), self._failed, dict(self._last_good_s))

    def good_writes(self, client: str) -> int:
        with self._lock:
            return self._good_writes.get(client, 0)

    def some_good_key(self, layer: str, chance: random.Random) -> str | None:
        """A key that somebody's acknowledged write has put there."""
        with self._lock:
            keys = self._good_keys.get(layer)
            return chance.choice(keys) if keys else None


class Client(threading.Thread):
    """Writes one key after the other; reads back what was acknowledged, and something that some client wrote before."""

    def __init__(self, name: str, layer: str, writer: Writer, saw: Saw) -> None:
        super().__init__(name=name, daemon=True)
        self.layer, self._writer, self._saw = layer, writer, saw
        self._clock = Clock()
        # Reads are spread, not secret: the same client reads the same ones again.
        self._chance = random.Random(name)  # noqa: S311
        self._over = threading.Event()

    def run(self) -> None:
        step = 0
        while not self._over.is_set():
            step += 1
            self.once(f"{self.name}.{step}")
            self._over.wait(PACE_S)
        self._writer.close()

    def once(self, key: str) -> None:
        """One write and its reads. Never an error: it is kept."""
        if self._write(key):
            self._read(key)
        if (other := self._saw.some_good_key(self.layer, self._chance)) is not None:
            self._read(other)

    def end(self) -> None:
        """Has it stop after its present round."""
        self._over.set()

    def _write(self, key: str) -> bool:
        began_s = self._clock.now_s()
        outcome, why = Outcome.ACKNOWLEDGED, ""
        try:
            self._writer.write(key)
        except Exception as error:  # noqa: BLE001 - every kind of failure is what is counted
            outcome = Outcome.REFUSED if isinstance(error, WriteRefused) else Outcome.IN_DOUBT
            why = _told(error)
        ended_s = self._clock.now_s()
        self._saw.add(Write(key, began_s, ended_s, outcome, why=why, client=self.name, layer=self.layer))
        return outcome is Outcome.ACKNOWLEDGED

    def _read(self, key: str) -> None:
        began_s = self._clock.now_s()
        found: bool | None = True
        whole, why = True, ""
        try:
            self._writer.read(key)
        except Absent as error:
            found, why = False, _told(error)
        except Different as error:
            whole, why = False, _told(error)
        except Exception as error:  # noqa: BLE001 - as above
            found, why = None, _told(error)
        ended_s = self._clock.now_s()
        self._saw.add(Read(key, began_s, ended_s, found, whole, why=why, client=self.name, layer=self.layer))


class Workload:
    """All clients together."""

    def __init__(self, clients: Sequence[Client], saw: Saw) -> None:
        self.clients, self.saw = clients, saw

    @property
    def writes(self) -> list[Write]:
        return [each for each in self.saw.requests if isinstance(each, Write)]

    @property
    def failed(self) -> list[str]:
        """Every request that did not end well, with why."""
        return [f"{each.key}: {each.why}" for each in failed(self.saw.requests)]

    def go_on(self, writes: int = _GO_ON_WRITES, within_s: float = _GO_ON_WITHIN_S, but: Collection[str] = ()) -> None:
        """Returns once every client, `but` for those named, has had some more writes acknowledged.

        OutcomeUnknown (`timeout`) when they do not.
        """
        names = [client.name for client in self.clients if client.name not in but]
        wanted = {name: self.saw.good_writes(name) + writes for name in names}

        def blocker() -> str | None:
            late = [name for name, want in wanted.items() if self.saw.good_writes(name) < want]
            return f"clients wait for an answer: {', '.join(late)}" if late else None

        wait_until(blocker, Deadline(within_s), what="writes go through again")


@contextmanager
def under_load(clients: Sequence[Client], saw: Saw, *, at_the_end: bool = True) -> Iterator[Workload]:
    """Runs the clients for as long as it lasts; writes go through at the beginning, and `at_the_end` if it ends well."""
    load = Workload(clients, saw)
    try:
        for client in clients:
            client.start()
        load.go_on()
        yield load
        if at_the_end:
            load.go_on()
    finally:
        for client in clients:
            client.end()
        for client in clients:
            client.join(timeout=_GO_ON_WITHIN_S)


def clients_of(name: str, layer: str, count: int, saw: Saw, make_writer: Callable[[str], Writer]) -> list[Client]:
    """`count` clients of one layer, named `NAME-1` and on, each with a writer of its own."""
    names = [f"{name}-{number}" for number in range(1, count + 1)]
    return [Client(each, layer, make_writer(each), saw) for each in names]


def _told(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
