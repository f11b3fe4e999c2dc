"""Ports for the servers of tests.

Several processes may run tests at once (pytest-xdist), and a port that is free when one of them looks may be taken when its
server starts. So they share the ports out: no two processes ever choose the same one.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator, Sequence

# All are below the range that the system takes ports of outgoing connections from (32768 and up on Linux, 49152 on macOS):
# a server that is restarted would now and then find its port lent to some client. Single servers' ports lie between those of
# the end-to-end tests' stacks: these move the stack file's ports, of which the highest is 26381, and the next one 13133.
_RANGE = range(19_500, 26_000)
_OFFSETS = range(100, 6_300)
# Which of how many processes this one is.
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PROCESSES = max(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), _PROCESS + 1)


def share(everything: Sequence[int], process: int = _PROCESS, processes: int = _PROCESSES) -> Sequence[int]:
    """One process's part of the numbers; no two parts have one in common."""
    return everything[process::processes]


def disjoint_offsets(ports: Sequence[int]) -> list[int]:
    """Offsets at which no port falls on one of the ports, at no offset or at another of these offsets."""
    found, taken = [], set(ports)
    for offset in _OFFSETS:
        moved = {port + offset for port in ports}
        if not moved & taken:
            found.append(offset)
            taken |= moved
    return found


def in_turn(numbers: Sequence[int]) -> Iterator[int]:
    """The process's part of the numbers, again and again, from any one on: others may run tests on this machine, too."""
    own = share(numbers)
    start = random.randrange(len(own))
    return itertools.cycle([*own[start:], *own[:start]])


_ports = in_turn(_RANGE)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now; all different, and no port twice before thousands of others."""
    found = list(itertools.islice(filter(is_free, itertools.islice(_ports, len(_RANGE))), count))
    assert len(found) == count, "no free ports"
    return found


def is_free(port: int) -> bool:
    """Whether a server could listen there now; what a closed connection has left behind does not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
