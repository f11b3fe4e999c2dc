"""Watches what two Redis nodes say they are, every few milliseconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from redis import RedisError

PAUSE_S = 0.003


@dataclass
class RoleWatch:
    """`answers` are (node, connection number, role) in the order in which they came; a silent node adds none."""

    answers: list[tuple[str, int, str]] = field(default_factory=list)

    def two_masters(self) -> list[int]:
        """Where a node said master between two answers `master` of the other one over one and the same connection.

        A role is given up only by a command, which ends no connection of ours; so both were master at once.
        """
        masters = [(at, *answer) for at, answer in enumerate(self.answers) if answer[2] == "master"]
        found = []
        for (at, node, connection, _), (_, other, _, _), (until, again, same, _) in zip(
            masters, masters[1:], masters[2:], strict=False
        ):
            between = {(who, role) for who, _, role in self.answers[at + 1 : until]}
            if (node, connection) == (again, same) and other != node and (node, "slave") not in between:
                found.append(at)
        return found

    def roles_of(self, node: str) -> list[str]:
        return [role for who, _, role in self.answers if who == node]


@contextmanager
def watching(nodes: dict[str, Callable[[], Any]]) -> Iterator[RoleWatch]:
    """Asks the nodes in turn while the block runs. The values make a client that asks over one connection."""
    watch = RoleWatch()
    over = threading.Event()

    def ask() -> None:
        clients: dict[str, Any] = {}
        connections = dict.fromkeys(nodes, 0)
        while not over.is_set():
            for node, make in nodes.items():
                try:
                    if node not in clients:
                        clients[node] = make()
                    role = clients[node].execute_command("ROLE")[0]
                    watch.answers.append((node, connections[node], role))
                except (OSError, RedisError):
                    clients.pop(node, None)
                    connections[node] += 1
            time.sleep(PAUSE_S)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield watch
    finally:
        over.set()
        asking.join()
