"""Clients that write or read without pause while a test breaks something."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.integration.server.backends import wait_for


@dataclass
class Outcome:
    """What the clients saw."""

    succeeded: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def wait_for_more(self, count: int) -> None:
        """Waits for so many further successes."""
        goal = len(self.succeeded) + count
        wait_for(lambda: len(self.succeeded) >= goal or self.failed, f"{count} more successes")
        assert not self.failed, self.failed[0]


@contextmanager
def load(act: Callable[[str], object], clients: int = 4) -> Iterator[Outcome]:
    """Calls `act` with unique names from several threads until the block ends; an exception is a failure."""
    outcome = Outcome()

    def run(client: int) -> None:
        number = 0
        while not outcome.stop.is_set():
            name = f"c{client}-{number}"
            number += 1
            try:
                act(name)
            except Exception as error:  # noqa: BLE001 - it is what the test looks at
                outcome.failed.append(f"{name}: {error!r}")
                return
            outcome.succeeded.append(name)

    threads = [threading.Thread(target=run, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcome
    finally:
        outcome.stop.set()
        for thread in threads:
            thread.join(60)
