"""Questions and answers in Redis's protocol, RESP2. Source: https://redis.io/docs/latest/develop/reference/protocol-spec/

The library takes an eighth of all that `status` does only to be imported, and every look pays for that. What is more than a
question and its answer (pools, Sentinels that are followed, pipelines) is the library's: writers.py.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

_LONGEST_LINE_BYTES = 64 << 10
_LARGEST_BYTES = 16 << 20
"""No answer that this tool asks for comes near; what a server of another kind says may look like any length."""


class RedisUnavailable(Exception):
    """The server did not answer, or answered with an error; the text says why in one line."""


class Connection:
    """RedisUnavailable from every call, also the first, when the server does not answer or refuses."""

    def __init__(self, host: str, port: int, password: str | None, *, timeout_s: float) -> None:
        """`timeout_s` is for each wait: to connect, to send, for the next bytes."""
        self._timeout_s = timeout_s
        with self._explained():
            self._socket = socket.create_connection((host, port), timeout_s)
            self._answers = self._socket.makefile("rb")
        if password:
            try:
                self.ask("AUTH", password)
            except RedisUnavailable:
                self.close()
                raise

    def ask(self, *words: str) -> Any:
        """The answer as it came: bytes, a number, None, or a list of these. A refusal leaves the connection usable."""
        sent = [word.encode() for word in words]
        with self._explained():
            self._socket.sendall(b"*%d\r\n" % len(sent) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in sent))
            return self._answer()

    def close(self) -> None:
        self._answers.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _answer(self) -> Any:
        line = self._answers.readline(_LONGEST_LINE_BYTES)
        if not line:
            raise RedisUnavailable("it closed the connection")
        kind, said = line[:1], line[1:].removesuffix(b"\r\n")
        if kind == b"+":
            return said
        if kind == b"-":
            raise RedisUnavailable(said.decode("utf-8", "replace").removeprefix("ERR "))
        number = int(said)
        if kind == b":":
            return number
        if kind not in (b"$", b"*") or number > _LARGEST_BYTES:
            raise ValueError
        if number < 0:
            return None
        return self._bytes(number) if kind == b"$" else [self._answer() for _ in range(number)]

    def _bytes(self, count: int) -> bytes:
        found = self._answers.read(count + 2)
        if len(found) < count + 2:
            raise RedisUnavailable("it closed the connection")
        return found[:count]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise RedisUnavailable(f"no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            raise RedisUnavailable(error.strerror or str(error)) from error
        except (ValueError, RecursionError) as error:
            raise RedisUnavailable("what it answers is not Redis's protocol") from error
