"""A small redis-cli for entry scripts and `spokectl exec`: the wheel that brings the server brings no client.

It speaks the protocol itself, on the standard library alone: entry scripts ask several times a second, and importing a
client library would take longer than everything else they do. Output is that of redis-cli when it does not write to a
terminal. Understood: -h -p -t -a -n --no-auth-warning --raw, REDISCLI_AUTH.

Source of the protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/ (RESP2)
"""

import os
import socket
import sys
from typing import BinaryIO

_USAGE = "usage: redis-cli [-h HOST] [-p PORT] [-t SECONDS] [-a PASSWORD] [-n DATABASE] [--no-auth-warning] COMMAND [WORD…]"


class ErrorReply(Exception):
    """The server answered with an error."""


def main(words: list[str]) -> int:
    try:
        options, command = _options(words)
    except ValueError as error:
        print(f"{error}\n{_USAGE}", file=sys.stderr)  # noqa: T201 - this is a command
        return 2
    if not command:
        print(_USAGE, file=sys.stderr)  # noqa: T201
        return 2
    address = (options["-h"], int(options["-p"]))
    timeout_s = float(options["-t"]) or None
    try:
        with socket.create_connection(address, timeout_s) as connection, connection.makefile("rb") as answers:
            for first in _before(options):
                connection.sendall(_request(first))
                _printed_error(answers)
            connection.sendall(_request(command))
            return _print_answer(answers)
    except OSError as error:
        print(f"Could not connect to Redis at {address[0]}:{address[1]}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    except (EOFError, ValueError):
        print("Error: Server closed the connection", file=sys.stderr)  # noqa: T201
        return 1


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


def _printed_error(answers: BinaryIO) -> None:
    """As redis-cli: a refused AUTH is said, and the command is sent all the same."""
    try:
        _answer(answers)
    except ErrorReply as error:
        print(f"AUTH failed: {error}", file=sys.stderr)  # noqa: T201


def _print_answer(answers: BinaryIO) -> int:
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


def _answer(answers: BinaryIO) -> object:
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


def _item(answers: BinaryIO) -> object:
    try:
        return _answer(answers)
    except ErrorReply as error:
        return str(error).encode()


def _bulk(answers: BinaryIO, length: int) -> bytes | None:
    if length < 0:
        return None
    body = answers.read(length + 2)
    if len(body) != length + 2:
        raise EOFError
    return body[:-2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
