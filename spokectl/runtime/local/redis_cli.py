"""A small redis-cli for entry scripts and `spokectl exec`: the wheel that brings the server brings no client.

It speaks the protocol itself, on the interpreter's own socket module: entry scripts ask several times a second, and the
imports of `socket` take longer than everything else it does, those of a client library several times as long. Output is
that of redis-cli when it does not write to a terminal. Without a command it reads them from standard input, one a line.
Understood: -h -p -t -a -n --no-auth-warning --raw, REDISCLI_AUTH.

Source of the protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/ (RESP2)
"""

import _socket
import os
import sys

_USAGE = (
    "usage: redis-cli [-h HOST] [-p PORT] [-t SECONDS] [-a PASSWORD] [-n DATABASE] [--no-auth-warning] [COMMAND [WORD…]]"
)


class ErrorReply(Exception):
    """The server answered with an error."""


class _Connection:
    """Read by lines and by lengths. OSError when it fails, or when an answer takes longer than `timeout_s`."""

    def __init__(self, host: str, port: int, timeout_s: float | None) -> None:
        self._read = b""
        # Bytes, because text is first made an international domain name, by a module that is slow to import.
        places = _socket.getaddrinfo(host.encode(), port, 0, _socket.SOCK_STREAM)
        for place, (family, kind, protocol, _, address) in enumerate(places, 1):
            self._socket = _socket.socket(family, kind, protocol)
            self._socket.settimeout(timeout_s)
            try:
                self._socket.connect(address)
            except OSError:
                self._socket.close()
                if place == len(places):
                    raise
            else:
                return

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def readline(self) -> bytes:
        """Through the next line break; less at the end of the connection."""
        while b"\n" not in self._read and self._receive():
            pass
        return self.read(self._read.find(b"\n") + 1 or len(self._read))

    def read(self, length: int) -> bytes:
        """So many bytes; less at the end of the connection."""
        while len(self._read) < length and self._receive():
            pass
        taken, self._read = self._read[:length], self._read[length:]
        return taken

    def _receive(self) -> bool:
        received = self._socket.recv(1 << 16)
        self._read += received
        return bool(received)


def main(words: list[str]) -> int:
    try:
        options, command = _options(words)
    except ValueError as error:
        print(f"{error}\n{_USAGE}", file=sys.stderr)  # noqa: T201 - this is a command
        return 2
    address = (options["-h"], int(options["-p"]))
    timeout_s = float(options["-t"]) or None
    try:
        answers = _Connection(*address, timeout_s)
        for first in _before(options):
            answers.send(_request(first))
            _printed_error(answers)
        if not command:
            return _line_by_line(answers, f"{address[0]}:{address[1]}> ")
        answers.send(_request(command))
        return _print_answer(answers)
    except OSError as error:
        print(f"Could not connect to Redis at {address[0]}:{address[1]}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    except (EOFError, ValueError):
        print("Error: Server closed the connection", file=sys.stderr)  # noqa: T201
        return 1


def _line_by_line(answers: _Connection, prompt: str) -> int:
    """Each line of standard input is a command, until its end or `quit`. Only a terminal is prompted, and may edit."""
    import shlex

    if sys.stdin.isatty():
        import contextlib

        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - importing it gives input() its editing
    else:
        prompt = ""
    while True:
        try:
            words = shlex.split(input(prompt))
        except EOFError:
            return 0
        except ValueError as error:
            print(f"Invalid argument(s): {error}", file=sys.stderr)  # noqa: T201
            continue
        if words and words[0].lower() in {"quit", "exit"}:
            return 0
        if words:
            answers.send(_request(words))
            _print_answer(answers)


def _options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    environ = os.environ
    options = {
        "-h": environ.get("SPOKE_LISTEN_ADDRESS") or "127.0.0.1",
        "-p": environ.get("SPOKE_REDIS_PORT") or environ.get("SPOKE_SENTINEL_PORT") or "6379",
        "-t": "0",
        "-a": environ.get("REDISCLI_AUTH", ""),
        "-n": "0",
    }
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in {"--no-auth-warning", "--raw"}:
            continue
        if option not in options or not rest:
            raise ValueError(f"redis-cli: {option} is not understood or lacks its value")
        options[option] = rest.pop(0)
    if not options["-p"].isdecimal() or not options["-n"].isdecimal():
        raise ValueError("redis-cli: a port and a database are numbers")
    return options, rest


def _before(options: dict[str, str]) -> list[list[str]]:
    commands = []
    if options["-a"]:
        commands.append(["AUTH", options["-a"]])
    if options["-n"] != "0":
        commands.append(["SELECT", options["-n"]])
    return commands


def _request(words: list[str]) -> bytes:
    encoded = [os.fsencode(word) for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


def _printed_error(answers: _Connection) -> None:
    """As redis-cli: a refused AUTH is said, and the command is sent all the same."""
    try:
        _answer(answers)
    except ErrorReply as error:
        print(f"AUTH failed: {error}", file=sys.stderr)  # noqa: T201


def _print_answer(answers: _Connection) -> int:
    try:
        lines = list(_lines(_answer(answers)))
    except ErrorReply as error:
        # On stdout and with success, as redis-cli does: scripts look at the text.
        lines = [str(error).encode()]
    sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
    sys.stdout.buffer.flush()
    return 0


def _lines(answer: object) -> list[bytes]:
    if isinstance(answer, list):
        return [line for item in answer for line in _lines(item)] if answer else [b""]
    if isinstance(answer, bytes):
        # INFO ends with a line break of its own.
        return [answer.removesuffix(b"\r\n")]
    return [str(answer).encode() if answer is not None else b""]


def _answer(answers: _Connection) -> object:
    line = answers.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    kind, text = line[:1], line[1:-2]
    if kind == b"+":
        return text
    if kind == b"-":
        raise ErrorReply(text.decode(errors="replace"))
    if kind == b":":
        return int(text)
    if kind == b"$":
        return _bulk(answers, int(text))
    if kind == b"*":
        return None if int(text) < 0 else [_item(answers) for _ in range(int(text))]
    raise ValueError(f"unknown answer {line!r}")


def _item(answers: _Connection) -> object:
    try:
        return _answer(answers)
    except ErrorReply as error:
        return str(error).encode()


def _bulk(answers: _Connection, length: int) -> bytes | None:
    if length < 0:
        return None
    body = answers.read(length + 2)
    if len(body) != length + 2:
        raise EOFError
    return body[:-2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
