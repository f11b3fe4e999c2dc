"""As much of PostgreSQL's frontend protocol 3.0 as the guard needs to ask its own server over the socket.

One session that stays costs far less than a psql each second.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PROTOCOL_3_0 = 196608
Row = tuple[str | None, ...]


class ServerSilentError(Exception):
    """The server does not answer, or answers with an error."""


class Session:
    """One session on the own server; every call ends within the time-out."""

    def __init__(self, socket_path: Path, user: str, database: str, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._buffer = b""
        try:
            self._socket.connect(str(socket_path))
            parameters = {"user": user, "database": database, "application_name": "spoke_guard"}
            body = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
            self._socket.sendall(struct.pack("!ii", len(body) + 8, _PROTOCOL_3_0) + body)
            self._collect()
        except OSError as error:
            self.close()
            raise ServerSilentError(str(error)) from error
        except ServerSilentError:
            self.close()
            raise

    def query(self, sql: str) -> list[Row]:
        """Returns the rows of one statement; raises ServerSilentError."""
        body = sql.encode() + b"\0"
        try:
            self._socket.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)
            return self._collect()
        except OSError as error:
            raise ServerSilentError(str(error)) from error

    def close(self) -> None:
        """Ends the session with a word, so that the server's log does not tell of a broken pipe."""
        with suppress(OSError):
            self._socket.sendall(b"X" + struct.pack("!i", 4))
        self._socket.close()

    def _collect(self) -> list[Row]:
        rows: list[Row] = []
        failure = ""
        while True:
            kind, body = self._message()
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"E":
                failure = _error_text(body)
                if not failure.startswith("ERROR"):
                    raise ServerSilentError(failure)
            elif kind == b"R" and struct.unpack_from("!i", body)[0] != 0:
                raise ServerSilentError("the server asks for a password on its own socket")
            elif kind == b"Z":
                if failure:
                    raise ServerSilentError(failure)
                return rows

    def _message(self) -> tuple[bytes, bytes]:
        head = self._read(5)
        return head[:1], self._read(struct.unpack("!i", head[1:])[0] - 4)

    def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            chunk = self._socket.recv(1 << 16)
            if not chunk:
                raise ServerSilentError("the server closed the connection")
            self._buffer += chunk
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


def _row(body: bytes) -> Row:
    count = struct.unpack_from("!h", body)[0]
    values: list[str | None] = []
    position = 2
    for _ in range(count):
        size = struct.unpack_from("!i", body, position)[0]
        position += 4
        if size < 0:
            values.append(None)
        else:
            values.append(body[position : position + size].decode())
            position += size
    return tuple(values)


def _error_text(body: bytes) -> str:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return f"{fields.get(b'V', 'ERROR')}: {fields.get(b'M', '')}"
