"""A link of a drill, between a client and a server that sends back what it gets."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from spokectl.drills.links import Link

DELAY_S = 0.2
TIMEOUT_S = 20.0


@pytest.fixture
def link() -> Iterator[Link]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo, args=(server,), daemon=True).start()
        with Link(server.getsockname()) as link:
            yield link


def _echo(server: socket.socket) -> None:
    def serve(client: socket.socket) -> None:
        with suppress(OSError), client:
            while said := client.recv(1024):
                client.sendall(said)

    with suppress(OSError):
        while True:
            client, _ = server.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()


def client_of(link: Link) -> socket.socket:
    host, _, port = link.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_S)


def test_it_passes_bytes_on_both_ways_and_the_end_as_well(link: Link) -> None:
    with closing(client_of(link)) as client:
        client.sendall(b"one")
        assert client.recv(10) == b"one"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""


def test_a_slow_link_takes_its_time_each_way(link: Link) -> None:
    link.slow(DELAY_S)
    with closing(client_of(link)) as client:
        began_s = time.monotonic()
        client.sendall(b"one")
        assert client.recv(10) == b"one"
        assert time.monotonic() - began_s >= 2 * DELAY_S


def test_what_is_swallowed_arrives_when_the_link_flows_again_also_by_a_new_connection(link: Link) -> None:
    with closing(client_of(link)) as old:
        old.sendall(b"before")
        assert old.recv(10) == b"before"
        link.swallow()
        with closing(client_of(link)) as new:
            for client in (old, new):
                client.sendall(b"during")
                client.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    client.recv(10)
                client.settimeout(TIMEOUT_S)
            link.flow()
            assert (old.recv(10), new.recv(10)) == (b"during", b"during")


def test_a_cut_ends_every_connection_and_lets_new_ones_pass(link: Link) -> None:
    with closing(client_of(link)) as old:
        old.sendall(b"one")
        assert old.recv(10) == b"one"
        link.swallow()
        link.cut()
        with suppress(ConnectionResetError):
            assert old.recv(10) == b""
    with closing(client_of(link)) as new:
        new.sendall(b"two")
        assert new.recv(10) == b"two"
