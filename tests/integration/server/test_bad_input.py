"""Bad requests get a 4xx with a stable code, and the server goes on."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.server.backends import HOST, Spoke
from tests.integration.server.fixtures import PROTO, Push, Stack

pytestmark = pytest.mark.integration

DEEP = b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"nonsense", "invalid_json"),
        (b'{"name":"trunc', "invalid_json"),
        (b'{"name":"a"} trailing', "invalid_json"),
        (b'\xef\xbb\xbf{"name":"a"}', "invalid_json"),
        ('{"name":"a"}'.encode("utf-16"), "invalid_utf8"),
        (b'{"name":"\xff"}', "invalid_utf8"),
        (b'{"name":"\\ud800"}', "invalid_text"),
        (b'{"name":"a","description":"\\u0000"}', "invalid_text"),
        (DEEP, "invalid_json"),
        (b'{"name":NaN}', "invalid_json"),
        (b'{"name":1e400}', "invalid_field"),
        (b'{"name":' + b"9" * 100_000 + b"}", "invalid_json"),
        (b"null", "invalid_module_name"),
        (b"[]", "invalid_field"),
        (b'{"name":null}', "invalid_module_name"),
        (b'{"name":{"a":1}}', "invalid_field"),
        (b'{"name":"A"}', "invalid_module_name"),
        (b'{"name":"../etc"}', "invalid_module_name"),
        (b'{"name":"a\\n"}', "invalid_module_name"),
        ('{"name":"é"}'.encode(), "invalid_module_name"),
        (b'{"name":"' + b"a" * 256 + b'"}', "invalid_module_name"),
        (b'{"name":"a","description":"' + b"d" * 70_000 + b'"}', "invalid_field"),
    ],
)
def test_a_bad_module_is_refused_with_its_code(api: httpx.Client, body: bytes, code: str) -> None:
    answer = api.post("/modules", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json().keys() == {"error", "code"}


def test_keys_in_another_case_unknown_and_repeated_fields_are_read_as_upstream_does(api: httpx.Client) -> None:
    body = b'{"NAME":"lenient","x":' + b"1" * 10 + b',"description":"a","description":"b"}'
    answer = api.post("/modules", content=body, headers={"content-type": "text/plain; charset=latin-1"})
    assert (answer.status_code, answer.json()["description"]) == (201, "b")


def files(*paths: str) -> list[dict[str, str]]:
    return [{"path": path, "content": PROTO} for path in paths]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"version": "", "files": files("a.proto")}, "invalid_version"),
        ({"version": "latest", "files": files("a.proto")}, "invalid_version"),
        ({"version": "LATEST", "files": files("a.proto")}, "invalid_version"),
        ({"version": "a/b", "files": files("a.proto")}, "invalid_version"),
        ({"version": "-1", "files": files("a.proto")}, "invalid_version"),
        ({"version": "١.٢", "files": files("a.proto")}, "invalid_version"),
        ({"version": 1, "files": files("a.proto")}, "invalid_field"),
        ({"version": "v1", "files": files("a.proto"), "module_name": "another"}, "module_mismatch"),
        ({"version": "v1", "files": files("a.proto"), "module_name": 1}, "invalid_field"),
        ({"version": "v1", "files": []}, "no_files"),
        ({"version": "v1"}, "no_files"),
        ({"version": "v1", "files": files(*map(str, range(1_001)))}, "too_many_files"),
        ({"version": "v1", "files": {}}, "invalid_field"),
        ({"version": "v1", "files": ["a"]}, "invalid_field"),
        ({"version": "v1", "files": [{"path": "a.proto", "content": 7}]}, "invalid_field"),
        ({"version": "v1", "files": files("../../evil.proto")}, "invalid_path"),
        ({"version": "v1", "files": files("/etc/evil.proto")}, "invalid_path"),
        ({"version": "v1", "files": files("a\\b.proto")}, "invalid_path"),
        ({"version": "v1", "files": files("a//b.proto")}, "invalid_path"),
        ({"version": "v1", "files": files("./b.proto")}, "invalid_path"),
        ({"version": "v1", "files": files("a\nb.proto")}, "invalid_path"),
        ({"version": "v1", "files": files("a\x00b.proto")}, "invalid_text"),
        ({"version": "v1", "files": files("")}, "invalid_path"),
        ({"version": "v1", "files": files("x" * 600)}, "invalid_path"),
        ({"version": "v1", "files": files("a.proto", "a.proto")}, "duplicate_path"),
        ({"version": "v1", "files": files("a", "a/b.proto")}, "invalid_path"),
        ({"version": "v1", "files": files("a.proto"), "dependencies": ["a"]}, "invalid_dependency"),
        ({"version": "v1", "files": files("a.proto"), "dependencies": [{"module": "a"}]}, "invalid_field"),
        ({"version": "v1", "files": files("a.proto"), "dependencies": ["a@v1"] * 1001}, "invalid_dependency"),
        ({"version": "v1", "files": files("a.proto"), "source_info": {"branch": "b" * 300}}, "invalid_field"),
        ({"version": "v1", "files": [{"path": "a.proto", "content": "mess"}]}, "invalid_proto"),
    ],
)
def test_a_bad_version_is_refused_with_its_code(
    api: httpx.Client, module: str, fields: dict[str, object], code: str
) -> None:
    answer = api.post(f"/modules/{module}/versions", json=fields)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert api.get(f"/modules/{module}/versions").json() == []


def test_a_version_may_name_its_module_or_leave_that_to_the_address(api: httpx.Client, module: str) -> None:
    for version, names in (
        ("v1", {}),
        ("v2", {"module_name": ""}),
        ("v3", {"module_name": None}),
        ("v4", {"module_name": module}),
    ):
        fields = {"version": version, "files": files("a.proto")} | names
        answer = api.post(f"/modules/{module}/versions", json=fields)
        assert (answer.status_code, answer.json()["module_name"]) == (201, module)


def test_a_path_that_looks_like_an_option_is_only_a_path(api: httpx.Client, module: str) -> None:
    pushed = files("-I.proto", "@x.proto", "日本/语.proto", "a b=c:d.proto")
    assert api.post(f"/modules/{module}/versions", json={"version": "v1", "files": pushed}).status_code == 201
    for file in pushed:
        address = f"/modules/{module}/versions/v1/files/{file['path']}"
        assert api.get(address).json() == file


@pytest.mark.parametrize(
    "path",
    [
        "/modules/", "//modules", "/Modules", "/modules/a/", "/modules/%2e%2e/versions", "/modules/a%00b",
        "/modules/a;b", "/modules/" + "x" * 9000, "/modules/%F0%9F%92%A9", "/modules/'; DROP TABLE modules",
        "/modules/a/versions/", "/modules/a/versions/%2F", "/modules/a/versions/LATEST", "/modules/a/versions/-1",
        "/modules/a/versions/v1/files", "/modules/a/versions/v1/files/", "/modules/a/versions/v1/files/../../x",
        "/modules/a/versions/v1/nothing", "/health/ready", "/metrics", "/", "/modules/%ff%fe",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_address_is_not_found(three_spokes: list[Spoke], method: str, path: str) -> None:
    status, body = raw(three_spokes[0], f"{method} {path.replace(' ', '%20')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert status in (404, 405), body
    assert json.loads(body).keys() == {"error", "code"}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "OPTIONS", "BREW"])
def test_another_method_is_told_which_are_possible(api: httpx.Client, method: str) -> None:
    answer = api.request(method, "/modules", headers={"X-HTTP-Method-Override": "GET"})
    if method == "BREW":
        assert answer.status_code in (400, 405)
    else:
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=1e3", "limit=10000000000", "limit=x", "limit=%00",
                                   "cursor=x", "cursor=WyJhIl0x", "cursor=bnVsbA", "deleted=maybe"])  # fmt: skip
def test_a_bad_parameter_is_refused(api: httpx.Client, module: str, query: str) -> None:
    for address in ("/modules", f"/modules/{module}/versions"):
        answer = api.get(f"{address}?{query}")
        assert answer.status_code == 400
        assert answer.json()["code"] in ("invalid_parameter", "invalid_cursor")


def test_a_head_is_a_get_without_body(api: httpx.Client, module: str) -> None:
    got, head = api.get(f"/modules/{module}"), api.head(f"/modules/{module}")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == got.headers["content-length"]


def large(mib: float) -> bytes:
    return json.dumps({"name": "large", "description": "", "x": "y" * int(mib * (1 << 20))}).encode()


def pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 1 << 16):
        yield body[start : start + (1 << 16)]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_and_one_below_is_not(api: httpx.Client, chunked: bool) -> None:
    def send(body: bytes) -> httpx.Response:
        return api.post("/modules", content=pieces(body) if chunked else body)

    assert send(large(9.9)).status_code == 201
    refused = send(large(10.1))
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
    assert api.get("/modules/large").status_code == 200


def test_a_body_that_comes_too_slowly_is_refused(stack: Stack) -> None:
    spoke = stack.spoke(SPOKE_READ_TIMEOUT="300ms").start()
    status, body = raw(spoke, b"POST /modules HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert (status, json.loads(body)["code"]) == (408, "request_timeout")
    spoke.stop()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /modules HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /modules HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /modules HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /modules\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /modules HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
)
def test_broken_http_is_a_client_error(three_spokes: list[Spoke], request_bytes: bytes) -> None:
    status, _ = raw(three_spokes[0], request_bytes)
    assert status == 0 or 400 <= status < 500 or status == 200
    assert httpx.get(f"{three_spokes[0].url}/modules", timeout=30).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "a b"},
        {"x-request-id": "a b\tc"},
        {"x-request-id": "y" * 60_000},
        {"if-none-match": '"'},
        {"if-none-match": ",,W/,"},
        {"if-match": "garbage"},
        {"traceparent": "00-zz-zz-zz"},
        {"x-forwarded-host": "evil", "x-forwarded-proto": "gopher"},
        {f"x-{number}": "z" for number in range(90)},
    ],
)
def test_strange_headers_change_nothing(api: httpx.Client, module: str, headers: dict[str, str]) -> None:
    answer = api.get(f"/modules/{module}", headers=headers)
    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) == 32


def test_a_client_that_goes_away_harms_nobody(three_spokes: list[Spoke], api: httpx.Client) -> None:
    for _ in range(20):
        with socket.create_connection((HOST, three_spokes[0].port)) as connection:
            connection.sendall(b'POST /modules HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"name":')
    assert api.get("/modules").status_code == 200


def test_pipelined_requests_are_all_answered(three_spokes: list[Spoke]) -> None:
    with socket.create_connection((HOST, three_spokes[0].port), timeout=30) as connection:
        connection.sendall(b"GET /modules/nobody HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        received = b""
        while received.count(b"HTTP/1.1 404") < 10:
            received += connection.recv(65536)


def test_a_module_too_large_for_one_piece_is_streamed(api: httpx.Client, module: str, push: Push) -> None:
    filler = "// " + "x" * (3 << 20)
    for number in range(3):
        push(module, f"v1.{number}.0", PROTO + filler)
    for address in (f"/modules/{module}", f"/modules/{module}/versions"):
        answer = api.get(address)
        assert "content-length" not in answer.headers
        found = answer.json()
        versions = found["versions"] if isinstance(found, dict) else found
        assert [each["version"] for each in versions] == ["v1.2.0", "v1.1.0", "v1.0.0"]


def test_large_input_does_not_hold_up_others(three_spokes: list[Spoke], api: httpx.Client, module: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    body = json.dumps({"version": "v1", "files": [{"path": "a.txt", "content": "a" * (9 << 20)}]}).encode()
    address = f"{three_spokes[0].url}/modules/{module}/versions"
    with ThreadPoolExecutor(1) as threads:
        pushing = threads.submit(httpx.post, address, content=body, timeout=60)
        slowest_s = 0.0
        while not pushing.done():
            started_s = time.monotonic()
            assert api.get("/modules/nobody").status_code == 404
            slowest_s = max(slowest_s, time.monotonic() - started_s)
        assert pushing.result().status_code == 201
    assert slowest_s < 3


def raw(spoke: Spoke, request: bytes) -> tuple[int, bytes]:
    """Sends bytes as they are; the status is 0 when the connection just ends."""
    with socket.create_connection((HOST, spoke.port), timeout=30) as connection:
        connection.sendall(request)
        received = b""
        try:
            while b"\r\n\r\n" not in received:
                if not (piece := connection.recv(65536)):
                    return 0, received
                received += piece
            head, _, body = received.partition(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            wanted = int(lengths[0].split(b":")[1]) if lengths else 0
            while len(body) < wanted and (piece := connection.recv(65536)):
                body += piece
        except ConnectionResetError:
            return 0, received
        return int(head.split()[1]), body
