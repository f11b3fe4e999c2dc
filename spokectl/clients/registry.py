"""The registry's HTTP API, version by version and file by file.

Every request may be repeated: reads change nothing, and the registry answers a repeated write as it answered the first.
So a request goes on through a failover until its deadline: refused connections, broken answers, 429, 502, 503 (after its
`Retry-After`) and 504 are met by asking again. A planned switchover is a slow request, not a failed one.
"""

import json
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from spokectl.clients.http import httpx
from spokectl.clients.registry_answers import File, Module, Version, file_of, list_of, module_of, version_of
from spokectl.errors import Failed, NotFound, OutcomeUnknown, SpokectlError, UsageError
from spokectl.printable import quoted, shortened
from spokectl.wait import Deadline

CONNECT_GRACE_S = 2.0
"""How long refused connections are taken for a restart of the load balancer, when it has never answered yet."""

_REPEATED = frozenset({429, 502, 503, 504})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_CHUNK_BYTES = 64 * 1024
_MESSAGE_CHARACTERS = 500
_ERROR_NUMBER = re.compile(r"\A\[Errno -?\d+\] ")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

Noun = TypeVar("Noun")
Observe = Callable[[str], None]
Sent = Callable[[int], None]
"""Takes how many bytes of a body have been handed to the network; it falls back when the request is repeated."""


def ignore(_: object) -> None:
    """Nobody listens."""


class Answer(NamedTuple):
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Page(NamedTuple, Generic[Noun]):
    """A part of a list; `next_cursor` asks for the next one."""

    items: list[Noun]
    next_cursor: str | None


class RegistryClient:
    """One registry at `url`. The time-out is for each request, with everything that it takes to get an answer.

    `waiting` hears why a request is repeated, `trace` of every answer. UsageError for an answer that calls a value bad
    (400, 413), NotFound for 404 and for a registry that is not there (`not_running`), OutcomeUnknown for a deadline passed
    (`timeout`), Failed for everything else. `details` holds the status and the registry's own code.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 60.0,
        waiting: Observe = ignore,
        trace: Observe = ignore,
        when_down: Sequence[str] = (),
        when_failing: Sequence[str] = (),
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._waiting = waiting
        self._trace = trace
        self._when_down = when_down
        self._when_failing = when_failing
        self._clock = clock
        self._pause = pause
        self._reached = False
        address = httpx.URL(self.url)
        self._http = httpx.Client(
            headers={"User-Agent": "spokectl", "Accept": "application/json"},
            transport=transport,
            # Loading the certificate authorities takes longer than most requests.
            verify=True if address.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=address.host not in _LOOPBACK,
        )

    def __enter__(self) -> "RegistryClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # Modules

    def modules(self, *, deleted: bool = False, limit: int | None = None, cursor: str | None = None) -> Page[Module]:
        """Modules by name: all, or with `limit` one page of them."""
        return self._page(self._send("GET", ["modules"], _listing(deleted, limit, cursor)), module_of)

    def module(self, name: str) -> Module:
        return self._read(self._send("GET", ["modules", name]), module_of)

    def create_module(self, name: str, description: str) -> Module:
        body = {"name": name, "description": description}
        return self._read(self._send("POST", ["modules"], body=encoded(body)), module_of)

    def describe_module(self, name: str, description: str) -> Module:
        """Changes the description of a module that exists."""
        return self._read(self._send("PATCH", ["modules", name], body=encoded({"description": description})), module_of)

    def delete_module(self, name: str, *, permanent: bool = False) -> None:
        self._send("DELETE", ["modules", name], _permanently(permanent))

    # Versions

    def push_version(self, module: str, body: bytes, sent: Sent = ignore) -> Version:
        """Sends a version that was encoded by `encoded`."""
        return self._read(self._send("POST", ["modules", module, "versions"], body=body, sent=sent), version_of)

    def versions(
        self, module: str, *, deleted: bool = False, limit: int | None = None, cursor: str | None = None
    ) -> Page[Version]:
        """A module's versions with their files, newest first: all, or with `limit` one page of them."""
        answer = self._send("GET", ["modules", module, "versions"], _listing(deleted, limit, cursor))
        return self._page(answer, version_of)

    def version(self, module: str, version: str) -> Version:
        return self._read(self._send("GET", ["modules", module, "versions", version]), version_of)

    def file(self, module: str, version: str, path: str) -> File:
        return self._read(self._send("GET", ["modules", module, "versions", version, "files", *path.split("/")]), file_of)

    def delete_version(self, module: str, version: str, *, permanent: bool = False) -> None:
        self._send("DELETE", ["modules", module, "versions", version], _permanently(permanent))

    # One request, until it is answered or its time is over

    def _send(
        self,
        method: str,
        segments: Sequence[str],
        query: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        sent: Sent = ignore,
    ) -> Answer:
        path = "/" + "/".join(path_segment(segment) for segment in segments)
        deadline = Deadline(self._timeout_s, self._clock)
        grace = Deadline(min(CONNECT_GRACE_S, self._timeout_s), self._clock)
        attempt, told = 0, ""
        while True:
            attempt += 1
            failure, asked_pause_s = self._attempt(method, path, query, body, sent, deadline)
            if isinstance(failure, Answer):
                return failure
            pause_s = max(asked_pause_s, pause_before_s(attempt))
            patience = grace if failure.code == "not_running" and not self._reached else deadline
            if not failure.retryable or pause_s >= patience.remaining_s:
                raise failure
            if failure.message != told:
                told = failure.message
                self._waiting(f"waiting for the registry, at most {patience.remaining_s:.0f} s more: {told}")
            self._pause(pause_s)

    def _attempt(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        sent: Sent,
        deadline: Deadline,
    ) -> tuple[Answer | SpokectlError, float]:
        """The answer, or why there is none and how long the registry asked to be left alone."""
        started = self._clock()
        try:
            answer = self._exchange(method, path, query, body, sent, deadline)
        except httpx.ConnectTimeout as error:
            return self._not_running(error), 0.0
        except httpx.TimeoutException:
            return self._timed_out(method), 0.0
        except httpx.ConnectError as error:
            return self._not_running(error), 0.0
        except httpx.TransportError as error:
            return self._broken(error, method, deadline), 0.0
        self._reached = True
        self._trace(f"{method} {path} -> {answer.status} in {(self._clock() - started) * 1000:.0f} ms")
        if 200 <= answer.status < 300:
            return answer, 0.0
        return self._refused(method, path, answer), retry_after_s(answer.headers)

    def _exchange(
        self, method: str, path: str, query: Mapping[str, str] | None, body: bytes | None, sent: Sent, deadline: Deadline
    ) -> Answer:
        headers = {} if body is None else {"Content-Type": "application/json", "Content-Length": str(len(body))}
        request = self._http.build_request(
            method,
            self.url + path,
            params=query or None,
            content=None if body is None else _chunks(body, sent),
            headers=headers,
            timeout=max(deadline.remaining_s, 0.001),
        )
        response = self._http.send(request, stream=True)
        try:
            received = []
            for chunk in response.iter_bytes():
                received.append(chunk)
                # httpx bounds each wait for bytes, not all of them together.
                if deadline.passed:
                    raise httpx.ReadTimeout("the deadline passed", request=request)
            return Answer(response.status_code, response.headers, b"".join(received))
        finally:
            response.close()

    def _page(self, answer: Answer, reader: Callable[[object], Noun]) -> Page[Noun]:
        items = self._read(answer, lambda raw: [reader(item) for item in list_of(raw)])
        return Page(items, answer.headers.get("x-next-cursor") or None)

    def _read(self, answer: Answer, reader: Callable[[Any], Noun]) -> Noun:
        try:
            return reader(json.loads(answer.body))
        except (ValueError, RecursionError) as error:
            raise Failed(
                "bad_answer",
                f"what answers at {self.url} does not speak like a Spoke: {shortened(str(error), 120)}",
                details={"status": answer.status},
            ) from None

    # Failures

    def _not_running(self, error: Exception) -> SpokectlError:
        reason = _reason(error)
        return NotFound(
            "not_running",
            f"nothing answers at {self.url}: {reason}",
            actions=self._when_down,
            details={"url": self.url, "reason": reason},
            retryable=True,
        )

    def _timed_out(self, method: str) -> SpokectlError:
        outcome = "" if method == "GET" else "; the registry may still do it, and repeating it is safe"
        return OutcomeUnknown(
            "timeout",
            f"no answer from {self.url} within {self._timeout_s:g} s{outcome}",
            actions=self._when_failing,
            details={"url": self.url, "timeout_s": self._timeout_s},
        )

    def _broken(self, error: Exception, method: str, deadline: Deadline) -> SpokectlError:
        self._reached = True
        if deadline.passed:
            return self._timed_out(method)
        reason = _reason(error)
        return OutcomeUnknown(
            "connection_broken",
            f"the connection to {self.url} broke before the answer came: {reason}",
            actions=self._when_failing,
            details={"url": self.url, "reason": reason},
            retryable=True,
        )

    def _refused(self, method: str, path: str, answer: Answer) -> SpokectlError:
        own, code = said(answer)
        full = f"{self.url} answered {answer.status}: {own or _summary(answer)}"
        message = own or full
        details = {"status": answer.status, "code": code, "request": f"{method} {path}"}
        if answer.status == 404:
            return NotFound("not_found", message, details=details)
        if answer.status == 413:
            return UsageError("too_large", message, details=details)
        if answer.status in {400, 414, 422, 431}:
            return UsageError("bad_value", message, details=details)
        if answer.status == 409:
            return Failed("conflict", message, details=details)
        if answer.status in {401, 403}:
            return Failed("not_allowed", message, details=details)
        failing = answer.status >= 500 or answer.status in _REPEATED or answer.status == 408
        return Failed(
            "registry_failed" if failing else "bad_answer",
            full,
            details=details,
            actions=self._when_failing if failing else (),
            retryable=answer.status in _REPEATED,
        )


def encoded(value: object) -> bytes:
    """The JSON that is sent: UTF-8 as it is, so that a body is hardly larger than the files in it.

    UsageError for text that is none: an argument whose bytes were not UTF-8.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise UsageError("not_utf8", f"{quoted(error.object[max(0, error.start - 20) : error.end])} is not UTF-8") from None


def path_segment(text: str) -> str:
    """The text as one segment of an address. UsageError for what no segment can be."""
    shown = quoted(text)
    if not text or text in {".", ".."} or "/" in text:
        raise UsageError("bad_value", f"{shown} names nothing in a registry")
    try:
        return quote(text, safe="", errors="strict")
    except UnicodeEncodeError:
        raise UsageError("bad_value", f"{shown} is no Unicode text") from None


def pause_before_s(attempt: int) -> float:
    """The pause after that many attempts: longer each time, up to a bound."""
    return float(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(attempt - 1, 10)))


def retry_after_s(headers: Mapping[str, str]) -> float:
    """What `Retry-After` asks for in seconds; 0 without one. Its date form is not used by registries."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def said(answer: Answer) -> tuple[str, str]:
    """The registry's own message as one safe line, and its code; both empty when the answer is not a registry's error."""
    try:
        raw = json.loads(answer.body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(raw, dict) or not isinstance(raw.get("error"), str):
        return "", ""
    code = raw.get("code")
    return _message(raw["error"]), shortened(code, 100) if isinstance(code, str) else ""


def _summary(answer: Answer) -> str:
    """What can be said of an answer that is not a registry's error: its plain text, else what its status means."""
    text = answer.body.decode(errors="replace").strip()
    if text and answer.headers.get("content-type", "").startswith("text/plain"):
        return shortened(text, _MESSAGE_CHARACTERS)
    return httpx.codes.get_reason_phrase(answer.status) or "no known status"


def _reason(error: Exception) -> str:
    """What the system said, without its number."""
    return shortened(_ERROR_NUMBER.sub("", str(error)) or type(error).__name__, 200)


def _chunks(body: bytes, sent: Sent) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), _CHUNK_BYTES):
        yield bytes(view[start : start + _CHUNK_BYTES])
        sent(min(start + _CHUNK_BYTES, len(body)))


def _permanently(permanent: bool) -> dict[str, str]:
    return {"permanent": "true"} if permanent else {}


def _listing(deleted: bool, limit: int | None, cursor: str | None) -> dict[str, str]:
    wanted = {"deleted": "true" if deleted else "", "limit": str(limit) if limit else "", "cursor": cursor or ""}
    return {name: value for name, value in wanted.items() if value}


def _message(text: str) -> str:
    """The registry's own words as one line, safe to show; a file with several faults has a line of its own for each."""
    return shortened("; ".join(line.strip() for line in text.splitlines() if line.strip()), _MESSAGE_CHARACTERS)
