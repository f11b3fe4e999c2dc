"""A link to a server that can be slow, swallow everything, or be cut: a TCP proxy within this process.

For kernels and runtimes that cannot shape a network. It ends with the process: for the drill's own clients there is nothing
to undo, and whoever else is led through it has a fault of its own that says how it is led back.
"""

import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 64 * 1024
_CONNECT_TIMEOUT_S = 5.0
# Closing with it resets the connection: the other end learns at once that there is nobody.
_RESET = struct.pack("ii", 1, 0)


class Link:
    """Passes bytes on to `target`, both ways. `users`: the clients that go through it."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._flows = threading.Event()
        self._flows.set()
        self._delay_s = 0.0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        self.users: list[str] = []
        threading.Thread(target=self._accept, daemon=True, name="link").start()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return host, port

    @property
    def url(self) -> str:
        host, port = self.address
        return f"http://{host}:{port}"

    def slow(self, delay_s: float) -> None:
        """Has everything arrive `delay_s` later, in each direction."""
        self._delay_s = delay_s

    def swallow(self) -> None:
        """Half open: whoever sends hears nothing, no error either; new connections are taken and stay silent."""
        self._flows.clear()

    def flow(self) -> None:
        """Passes on again, first of all what was swallowed: as after a router that was stuck."""
        self._flows.set()

    def cut(self) -> None:
        """Resets every connection; what was swallowed is lost. New ones pass."""
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            _reset(end)
        self._flows.set()

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            # It wakes up the thread that waits for the next client.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            with suppress(OSError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True, name="link").start()

    def _join(self, client: socket.socket) -> None:
        """Connects to the target once the link flows, and passes on both ways until one end closes."""
        with self._lock:
            self._open.add(client)
        self._flows.wait()
        try:
            server = socket.create_connection(self._target, timeout=_CONNECT_TIMEOUT_S)
            server.settimeout(None)
        except OSError:
            self._end(client)
            return
        with self._lock:
            self._open.add(server)
        back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True, name="link")
        back.start()
        self._pass_on(client, server)
        back.join()
        self._end(client, server)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                time.sleep(self._delay_s)
                self._flows.wait()
                sink.sendall(chunk)
        # One side has said all; the other may still answer.
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _end(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open.difference_update(ends)
        for end in ends:
            end.close()


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with suppress(OSError):
        # A thread that waits in recv wakes up by it; closing alone would leave it there.
        end.shutdown(socket.SHUT_RDWR)
    end.close()
