"""XML-RPC over a Unix socket, as far as supervisord speaks it.

The standard library's client would do, but its import takes 30 ms, which every `status` would pay.
Source of the format: http://xmlrpc.com/spec.md
"""

import socket
from collections.abc import Sequence
from pathlib import Path
from xml.parsers import expat

Value = str | int | bool | None | list["Value"] | dict[str, "Value"]
Call = tuple[str, tuple[Value, ...]]
_LONGEST_ANSWER = 4 << 20


class Fault(Exception):
    """supervisord refused a call. `code` is one of supervisor.xmlrpc.Faults."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def call(path: Path, method: str, *parameters: Value, timeout_s: float) -> Value:
    """Calls one method. Fault when it is refused, OSError when nobody answers at the socket in time."""
    params = "".join(f"<param>{_write(value)}</param>" for value in parameters)
    body = f"<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>"
    answer = _Reader().read(_exchange(path, body.encode(), timeout_s))
    if isinstance(answer, Fault):
        raise answer
    return answer


def call_all(path: Path, calls: Sequence[Call], *, timeout_s: float) -> list[Value | Fault]:
    """Calls several methods in one round trip; a refused one gives its Fault in its place."""
    wanted: list[Value] = [{"methodName": method, "params": list(parameters)} for method, parameters in calls]
    answers = call(path, "system.multicall", wanted, timeout_s=timeout_s)
    if not isinstance(answers, list):
        raise OSError(f"supervisord answered {answers!r}")
    return [
        Fault(int(str(answer["faultCode"])), str(answer["faultString"]))
        if isinstance(answer, dict) and "faultCode" in answer
        else answer
        for answer in answers
    ]


def _exchange(path: Path, body: bytes, timeout_s: float) -> bytes:
    head = (
        "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(head.encode() + body)
        answer = bytearray()
        while len(answer) < _LONGEST_ANSWER:
            chunk = connection.recv(1 << 16)
            if not chunk:
                break
            answer += chunk
    status, _, rest = bytes(answer).partition(b"\r\n")
    if b" 200 " not in status + b" ":
        raise OSError(f"supervisord answered {status[:80]!r}")
    return rest.partition(b"\r\n\r\n")[2]


def _write(value: Value) -> str:
    if value is None:
        raise TypeError("XML-RPC has no null")
    if isinstance(value, bool):
        inner = f"<boolean>{value:d}</boolean>"
    elif isinstance(value, int):
        inner = f"<int>{value}</int>"
    elif isinstance(value, str):
        inner = f"<string>{_escape(value)}</string>"
    elif isinstance(value, list):
        inner = f"<array><data>{''.join(map(_write, value))}</data></array>"
    else:
        members = "".join(f"<member><name>{_escape(name)}</name>{_write(item)}</member>" for name, item in value.items())
        inner = f"<struct>{members}</struct>"
    return f"<value>{inner}</value>"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


class _Reader:
    """Builds values as their elements end: a stack of unfinished arrays and structs, and the text seen last."""

    def __init__(self) -> None:
        self._open: list[list[Value] | dict[str, Value]] = []
        self._names: list[str] = []
        self._text = ""
        self._value: Value = None
        self._is_fault = False

    def read(self, document: bytes) -> Value | Fault:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(document, True)
        except expat.ExpatError as error:
            raise OSError(f"supervisord's answer cannot be read: {error}") from error
        if self._is_fault and isinstance(self._value, dict):
            return Fault(int(str(self._value["faultCode"])), str(self._value["faultString"]))
        return self._value

    def _start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._text = ""
        if tag == "array":
            self._open.append([])
        elif tag == "struct":
            self._open.append({})
        elif tag == "value":
            self._value = None
        elif tag == "fault":
            self._is_fault = True

    def _characters(self, text: str) -> None:
        self._text += text

    def _end(self, tag: str) -> None:
        if tag in {"int", "i4"}:
            self._value = int(self._text)
        elif tag == "boolean":
            self._value = self._text == "1"
        elif tag == "string":
            self._value = self._text
        elif tag == "name":
            self._names.append(self._text)
        elif tag in {"array", "struct"}:
            self._value = self._open.pop()
        elif tag == "member":
            container = self._open[-1]
            if isinstance(container, dict):
                container[self._names.pop()] = self._value
        elif tag == "value" and self._open and isinstance(self._open[-1], list):
            self._open[-1].append(self._value)
