"""The registry's client: what it repeats, until when, and what its errors are."""

import json
from collections.abc import Callable, Iterator

import pytest

from spokectl.clients.http import httpx
from spokectl.clients.registry import RegistryClient, path_segment, pause_before_s, retry_after_s
from spokectl.clients.registry import _message as registry_message
from spokectl.errors import Failed, NotFound, OutcomeUnknown, SpokectlError, UsageError

URL = "http://registry.test:8080"
MODULE = {"name": "payments", "description": "d", "created_at": "t", "updated_at": "t", "versions": []}
Reply = httpx.Response | Exception


class Time:
    """A clock that only pauses (and slow answers) move."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def pause(self, duration_s: float) -> None:
        self.pauses_s.append(duration_s)
        self.now_s += duration_s


class Registry:
    """Answers in turn, the last one for ever, and keeps what it was asked."""

    def __init__(self, *replies: Reply | Callable[[], Reply]) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []
        self.time = Time()
        self.heard: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        reply = reply() if callable(reply) else reply
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    def client(self, timeout_s: float = 60.0) -> RegistryClient:
        return RegistryClient(
            URL,
            timeout_s=timeout_s,
            waiting=self.heard.append,
            when_down=["spokectl up"],
            when_failing=["spokectl status"],
            transport=httpx.MockTransport(self),
            clock=self.time.clock,
            pause=self.time.pause,
        )


def reply(status: int, value: object = None, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={k.replace("_", "-"): v for k, v in headers.items()}, json=value)


def unavailable(**headers: str) -> httpx.Response:
    return reply(503, {"error": "no primary yet", "code": "database_unavailable"}, **headers)


def refused() -> Exception:
    return httpx.ConnectError("[Errno 111] Connection refused")


@pytest.mark.parametrize("failure", [reply(502), reply(503), reply(504), reply(429), httpx.ReadError("reset")])
def test_what_passes_is_met_by_asking_again(failure: Reply) -> None:
    registry = Registry(failure, failure, reply(201, MODULE))
    assert registry.client().create_module("payments", "d").name == "payments"
    assert len(registry.requests) == 3
    assert {request.content for request in registry.requests} == {b'{"name":"payments","description":"d"}'}
    assert registry.time.pauses_s == [0.1, 0.2]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 500])
def test_what_will_not_change_is_not_asked_again(status: int) -> None:
    registry = Registry(reply(status, {"error": "no"}))
    with pytest.raises(SpokectlError):
        registry.client().module("payments")
    assert len(registry.requests) == 1


def test_retry_after_is_honoured() -> None:
    registry = Registry(unavailable(retry_after="7"), reply(200, MODULE))
    registry.client().module("payments")
    assert registry.time.pauses_s == [7.0]


def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    registry = Registry(unavailable(retry_after="61"))
    with pytest.raises(Failed, match="no primary yet"):
        registry.client().module("payments")
    assert registry.time.pauses_s == []


def test_repeats_end_at_the_deadline_with_the_last_answer() -> None:
    registry = Registry(unavailable())
    with pytest.raises(Failed) as caught:
        registry.client(timeout_s=10).module("payments")
    assert registry.time.now_s < 10
    assert caught.value.code == "registry_failed"
    assert caught.value.retryable
    assert caught.value.actions == ("spokectl status",)


def test_the_same_reason_is_told_once() -> None:
    registry = Registry(unavailable(), unavailable(), refused(), unavailable(), reply(200, MODULE))
    registry.client().module("payments")
    assert [line.partition("more: ")[2] for line in registry.heard] == [
        f"{URL} answered 503: no primary yet",
        f"nothing answers at {URL}: Connection refused",
        f"{URL} answered 503: no primary yet",
    ]


def test_a_registry_that_never_answered_is_given_up_soon() -> None:
    registry = Registry(refused())
    with pytest.raises(NotFound) as caught:
        registry.client().module("payments")
    assert (caught.value.code, caught.value.exit_code, caught.value.actions) == ("not_running", 4, ("spokectl up",))
    assert registry.time.now_s <= 2


def test_a_registry_that_answered_before_is_waited_for() -> None:
    registry = Registry(reply(200, MODULE), *[refused()] * 20, reply(200, MODULE))
    client = registry.client()
    client.module("payments")
    client.module("payments")
    assert registry.time.now_s > 2


def test_a_read_that_takes_too_long_is_unknown_and_not_repeated() -> None:
    registry = Registry(httpx.ReadTimeout("slow"))
    with pytest.raises(OutcomeUnknown) as caught:
        registry.client().delete_module("payments")
    assert (caught.value.code, caught.value.exit_code) == ("timeout", 6)
    assert "may still do it" in caught.value.message


def test_an_answer_that_trickles_is_ended_at_the_deadline() -> None:
    time = Time()

    class Trickle(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                time.now_s += 1
                yield b" "

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Trickle()))
    client = RegistryClient(URL, timeout_s=5, transport=transport, clock=time.clock, pause=time.pause)
    with pytest.raises(OutcomeUnknown):
        client.module("payments")
    assert time.now_s < 10


def test_a_connection_that_keeps_breaking_leaves_the_outcome_unknown() -> None:
    registry = Registry(httpx.RemoteProtocolError("Server disconnected"))
    with pytest.raises(OutcomeUnknown) as caught:
        registry.client(timeout_s=5).delete_version("payments", "v1")
    assert caught.value.code == "connection_broken"


@pytest.mark.parametrize(
    ("status", "kind", "code", "exit_code"),
    [
        (400, UsageError, "bad_value", 2),
        (413, UsageError, "too_large", 2),
        (404, NotFound, "not_found", 4),
        (409, Failed, "conflict", 1),
        (401, Failed, "not_allowed", 1),
        (403, Failed, "not_allowed", 1),
        (405, Failed, "bad_answer", 1),
        (408, Failed, "registry_failed", 1),
        (500, Failed, "registry_failed", 1),
    ],
)
def test_a_status_becomes_an_error_with_the_registrys_message(
    status: int, kind: type[SpokectlError], code: str, exit_code: int
) -> None:
    registry = Registry(reply(status, {"error": "line one\n\x1b[2Jline two", "code": "its_code"}))
    with pytest.raises(kind) as caught:
        registry.client().module("payments")
    error = caught.value
    assert (error.code, error.exit_code) == (code, exit_code)
    assert "line one; \\x1b[2Jline two" in error.message
    assert error.details == {"status": status, "code": "its_code", "request": "GET /modules/payments"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(404, text="404 page not found\n"), "404 page not found"),
        (httpx.Response(404, html="<html><h1>404</h1></html>"), "Not Found"),
        (httpx.Response(404, content=b""), "Not Found"),
        (httpx.Response(404, content=b"[1]"), "Not Found"),
        (httpx.Response(404, json={"error": 5}), "Not Found"),
        (httpx.Response(404, json={"error": "x" * 5000}), "x" * 499 + "…"),
    ],
)
def test_an_answer_that_is_not_the_registrys_json_still_gives_one_line(answer: httpx.Response, message: str) -> None:
    with pytest.raises(NotFound) as caught:
        Registry(answer).client().module("payments")
    prefix = "" if message.startswith("x") else f"{URL} answered 404: "
    assert caught.value.message == prefix + message


@pytest.mark.parametrize(
    "body",
    [
        b"<html>hello</html>",
        b"",
        b"[]",
        b'{"name": 5}',
        b'{"name": "\\ud800"}',
        b'{"name": "x", "versions": {}}',
        b'{"name": "x", "versions": [5]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_success_that_no_spoke_sends_is_a_failure(body: bytes) -> None:
    with pytest.raises(Failed) as caught:
        Registry(httpx.Response(200, content=body)).client().module("payments")
    assert caught.value.code == "bad_answer"


def test_upstreams_null_for_an_empty_list_is_an_empty_list() -> None:
    assert Registry(httpx.Response(200, content=b"null")).client().modules().items == []
    answer = {"module_name": "m", "version": "v1", "files": None, "dependencies": None, "source_info": None}
    assert Registry(reply(200, answer)).client().version("m", "v1").files == ()


def test_pages_carry_their_cursor() -> None:
    registry = Registry(reply(200, [MODULE], x_next_cursor="abc"), reply(200, []))
    assert registry.client().modules(limit=1).next_cursor == "abc"
    assert registry.client().modules(limit=1, cursor="abc", deleted=True).next_cursor is None
    assert dict(registry.requests[1].url.params) == {"limit": "1", "cursor": "abc", "deleted": "true"}


def test_names_stay_one_segment_of_the_address() -> None:
    registry = Registry(reply(200, {"path": "a b/%2e.proto", "content": ""}))
    registry.client().file("m?x=1#f", "1.0+ä", "a b/%2e.proto")
    path = registry.requests[0].url.raw_path.decode()
    assert path == "/modules/m%3Fx%3D1%23f/versions/1.0%2B%C3%A4/files/a%20b/%252e.proto"


def test_an_argument_that_is_not_utf8_is_refused_before_a_request() -> None:
    registry = Registry(reply(201, MODULE))
    with pytest.raises(UsageError) as caught:
        registry.client().create_module("payments", "x\udcff")
    assert (caught.value.code, registry.requests) == ("not_utf8", [])
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "../x", "\udcff"])
def test_what_is_no_segment_is_refused_before_a_request(text: str) -> None:
    with pytest.raises(UsageError):
        path_segment(text)


def test_an_upload_says_how_far_it_is_and_announces_its_length() -> None:
    registry = Registry(reply(201, {"module_name": "m", "version": "v1", "files": []}))
    body = json.dumps("x" * 150_000).encode()
    sent: list[int] = []
    registry.client().push_version("m", body, sent.append)
    assert registry.requests[0].content == body
    assert registry.requests[0].headers["content-length"] == str(len(body))
    assert "transfer-encoding" not in registry.requests[0].headers
    assert sent == [65536, 131072, len(body)]


def test_pauses_grow_to_a_bound() -> None:
    pauses = [pause_before_s(attempt) for attempt in range(1, 2000)]
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert pauses == sorted(pauses)
    assert max(pauses) == 2.0


@pytest.mark.parametrize(
    ("text", "seconds"), [("3", 3.0), ("0", 0.0), ("-1", 0.0), ("Wed, 21 Oct 2026", 0.0), ("9" * 400, 0.0), ("²", 0.0)]
)
def test_retry_after_is_a_number_of_seconds_or_nothing(text: str, seconds: float) -> None:
    assert retry_after_s({"retry-after": text}) == seconds


def test_several_faults_of_a_file_stay_one_line_and_nothing_in_them_steers_a_terminal() -> None:
    assert registry_message("a.proto:1:1: first\x1b[31m\n\na.proto:2:1: second\n") == (
        "a.proto:1:1: first\\x1b[31m; a.proto:2:1: second"
    )
    assert registry_message("x\n" * 5000).endswith("…")
