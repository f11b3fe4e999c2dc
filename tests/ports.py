"""Ports for the servers of tests."""

from __future__ import annotations

import itertools
import random
import socket

# Below the range that the system takes ports of outgoing connections from (32768 and up on Linux, 49152 on macOS): a
# server that is restarted would now and then find its port lent to some client. The end-to-end tests' stacks lie
# around it.
_RANGE = range(15_000, 26_000)
_numbers = itertools.count(random.randrange(len(_RANGE)))


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now; all different, and no port twice before thousands of others."""
    ports: list[int] = []
    for number in itertools.islice(_numbers, len(_RANGE)):
        if len(ports) == count:
            break
        port = _RANGE[number % len(_RANGE)]
        if is_free(port):
            ports.append(port)
    assert len(ports) == count, "no free ports"
    return ports


def is_free(port: int) -> bool:
    """Whether a server could listen there now; what a closed connection has left behind does not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
