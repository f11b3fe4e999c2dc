"""Upstream's clients, request by request as they were captured, and the parts of the answers that they read."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from tests.integration.server.backends import Spoke
from tests.integration.server.fixtures import PROTO, Stack

pytestmark = pytest.mark.integration

NEVER = "0001-01-01T00:00:00Z"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
# Everything that spoke-cli, a Go program, sends besides the body.
GO = {"Content-Type": "application/json", "Accept-Encoding": "gzip", "User-Agent": "Go-http-client/1.1"}


def cli_module(name: str, description: str) -> bytes:
    return json.dumps(
        {"name": name, "description": description, "created_at": NEVER, "updated_at": NEVER}, separators=(",", ":")
    ).encode()


def cli_version(version: str, *paths: str) -> bytes:
    source = {"repository": "git@example.com:a/b.git", "commit_sha": "1a2b3c4", "branch": "main"}
    files = [{"path": path, "content": PROTO} for path in paths]
    body = {"module_name": "", "version": version, "files": files, "created_at": NEVER, "source_info": source}
    return json.dumps(body, separators=(",", ":")).encode()


def cli_push(api: httpx.Client, name: str, version: str, *paths: str, description: str = "") -> httpx.Response:
    """`spoke-cli push`: the first status is ignored, the second one decides."""
    api.post("/modules", content=cli_module(name, description), headers=GO)
    return api.post(f"/modules/{name}/versions", content=cli_version(version, *paths), headers=GO)


def test_push_makes_the_module_and_the_version(api: httpx.Client) -> None:
    pushed = cli_push(api, "cli-user", "v1.0.0", "user/user.proto", "user/order.proto", description="Users")
    assert pushed.status_code == 201
    assert pushed.headers["content-type"] == "application/json"
    version = pushed.json()
    assert list(version) == ["module_name", "version", "files", "created_at", "source_info"]
    assert version["module_name"] == "cli-user"
    assert [list(file) for file in version["files"]] == [["path", "content"]] * 2
    assert MOMENT.fullmatch(version["created_at"])
    assert version["created_at"] != NEVER
    assert list(version["source_info"]) == ["repository", "commit_sha", "branch"]
    module = api.get("/modules/cli-user").json()
    assert list(module) == ["name", "description", "created_at", "updated_at", "versions"]
    assert module["description"] == "Users"
    assert module["versions"] == [version]


def test_push_goes_on_after_a_module_that_exists_otherwise(api: httpx.Client) -> None:
    assert cli_push(api, "cli-again", "v1.0.0", "a.proto", description="one").status_code == 201
    assert cli_push(api, "cli-again", "v1.1.0", "a.proto", description="two").status_code == 201
    assert cli_push(api, "cli-again", "v1.1.0", "a.proto", description="three").status_code == 201


@pytest.mark.parametrize(
    ("package", "version"),
    [("google.api.expr.v1", "main-2026-11-23-07-41-1a2b3c4"), ("acme.user_v2", "2026-11-23-07-41-59")],
)
def test_batch_push_names_modules_after_packages_and_versions_after_commits(
    api: httpx.Client, package: str, version: str
) -> None:
    # Its imports live in other modules, which it does not declare.
    body = json.loads(cli_version(version, "x.proto"))
    body["files"][0]["content"] = (
        'syntax = "proto3";\npackage x;\nimport "common/v1/money.proto";\nmessage X { common.v1.Money m = 1; }\n'
    )
    api.post("/modules", content=cli_module(package, ""), headers=GO)
    pushed = api.post(f"/modules/{package}/versions", json=body, headers=GO)
    assert pushed.status_code == 201
    assert api.get(f"/modules/{package}/versions/latest").json()["version"] == version


def test_pull_reads_path_and_content_of_every_file(api: httpx.Client) -> None:
    cli_push(api, "cli-pull", "v1.0.0", "a/b.proto", "c.proto")
    pulled = api.get("/modules/cli-pull/versions/v1.0.0", headers=GO)
    assert pulled.status_code == 200
    assert {file["path"]: file["content"] for file in pulled.json()["files"]} == {"a/b.proto": PROTO, "c.proto": PROTO}
    assert "dependencies" not in pulled.json()


def test_recursive_pull_follows_dependencies_as_texts(api: httpx.Client) -> None:
    cli_push(api, "cli-base", "v1.0.0", "base.proto")
    body = json.loads(cli_version("v1.0.0", "top.proto"))
    body["dependencies"] = ["cli-base@v1.0.0"]
    api.post("/modules", content=cli_module("cli-top", ""))
    top = api.post("/modules/cli-top/versions", json=body).json()
    assert list(top) == ["module_name", "version", "files", "created_at", "dependencies", "source_info"]
    module, _, version = api.get("/modules/cli-top/versions/v1.0.0").json()["dependencies"][0].partition("@")
    assert api.get(f"/modules/{module}/versions/{version}").status_code == 200


def test_pull_is_told_by_404_in_upstreams_words(api: httpx.Client) -> None:
    cli_push(api, "cli-words", "v1.0.0", "a.proto")
    for address, message in {
        "/modules/ghost": "module not found: ghost",
        "/modules/cli-words/versions/v9": "version not found: cli-words@v9",
        "/modules/ghost/versions/latest": "version not found: ghost@latest",
        "/modules/cli-words/versions/v1.0.0/files/b.proto": "file not found: cli-words@v1.0.0:b.proto",
    }.items():
        answer = api.get(address, headers=GO)
        assert (answer.status_code, answer.json()["error"]) == (404, message)


def test_pull_fails_aloud_when_the_registry_cannot_answer(stack: Stack) -> None:
    # An old client takes any JSON answer but 404 for a version without files.
    spoke = stack.spoke(SPOKE_POSTGRES_URL="postgresql://spoke@127.0.0.1:1/nothing", SPOKE_POSTGRES_TIMEOUT="100ms")
    spoke.begin().wait_until_alive()
    for address in ("/modules/m/versions/v1", "/modules/m/versions/latest", "/modules/m/versions/v1/files/a.proto"):
        answer = httpx.get(spoke.url + address, timeout=30)
        assert answer.status_code == 503
        assert answer.headers["content-type"].startswith("text/plain")
        with pytest.raises(json.JSONDecodeError):
            answer.json()
    spoke.stop()


def test_the_ui_lists_modules_with_their_versions_and_reads_one(api: httpx.Client) -> None:
    cli_push(api, "ui-one", "v1.0.0", "a.proto")
    cli_push(api, "ui-one", "v1.1.0", "a.proto")
    api.post("/modules", content=cli_module("ui-empty", "nothing yet"))
    listed = api.get("/modules").json()
    names = [module["name"] for module in listed]
    assert names == sorted(names)
    shown = {module["name"]: module for module in listed}
    assert shown["ui-empty"]["versions"] == []
    assert [version["version"] for version in shown["ui-one"]["versions"]] == ["v1.1.0", "v1.0.0"]
    assert all(version["files"] == [] for version in shown["ui-one"]["versions"])
    versions = api.get("/modules/ui-one/versions").json()
    assert versions == api.get("/modules/ui-one").json()["versions"]
    assert [len(version["files"]) for version in versions] == [1, 1]
    file = api.get("/modules/ui-one/versions/v1.0.0/files/a.proto").json()
    assert list(file) == ["path", "content"]


def test_pages_are_plain_arrays_and_name_the_next_one_in_headers(api: httpx.Client) -> None:
    for number in range(5):
        cli_push(api, "paged", f"v1.{number}.0", "a.proto")
    for address in ("/modules", "/modules/paged/versions"):
        whole = api.get(address).json()
        collected: list[object] = []
        following: str | None = f"{address}?limit=2"
        while following:
            page = api.get(following)
            assert 0 < len(page.json()) <= 2
            collected += page.json()
            following = page.links["next"]["url"] if "next" in page.links else None
            assert (following is None) == ("x-next-cursor" not in page.headers)
        assert collected == whole


def test_latest_is_the_highest_semantic_version(api: httpx.Client) -> None:
    for version in ("v1.2.0", "v1.10.0", "2026-11-23-07-41-59", "v1.10.0-rc.1", "zzz", "v1.9.9"):
        cli_push(api, "highest", version, "a.proto")
    answer = api.get("/modules/highest/versions/latest")
    assert answer.json()["version"] == "v1.10.0"
    assert "immutable" not in answer.headers["cache-control"]
    api.delete("/modules/highest/versions/v1.10.0")
    assert api.get("/modules/highest/versions/latest").json()["version"] == "v1.10.0-rc.1"


def test_versions_by_number_are_immutable_and_answered_by_304(api: httpx.Client, other: httpx.Client) -> None:
    cli_push(api, "tagged", "v1.0.0", "a.proto")
    for address in ("/modules/tagged/versions/v1.0.0", "/modules/tagged/versions/v1.0.0/files/a.proto"):
        first = api.get(address)
        assert "immutable" in first.headers["cache-control"]
        tag = first.headers["etag"]
        assert other.get(address).headers["etag"] == tag
        for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            again = api.get(address, headers={"If-None-Match": given})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert api.get(address, headers={"If-None-Match": '"x"'}).status_code == 200
    tag = api.get("/modules/tagged").headers["etag"]
    assert api.get("/modules/tagged", headers={"If-None-Match": tag}).status_code == 304
    cli_push(api, "tagged", "v1.1.0", "a.proto")
    assert api.get("/modules/tagged", headers={"If-None-Match": tag}).status_code == 200


def test_every_answer_names_its_instance_and_request(three_spokes: list[Spoke]) -> None:
    spoke = three_spokes[0]
    for address in ("/modules", "/nowhere", "/modules/ghost/versions/v1"):
        answer = httpx.get(spoke.url + address, headers={"X-Request-ID": "mine-1"}, timeout=30)
        assert answer.headers["x-spoke-instance"] == spoke.name
        assert answer.headers["x-request-id"] == "mine-1"
    assert spoke.health("ready").headers["x-spoke-instance"] == spoke.name


def test_health_says_what_each_dependency_is(three_spokes: list[Spoke]) -> None:
    live = three_spokes[0].health("live").json()
    assert list(live) == ["status", "timestamp"]
    for address in ("/health", "/health/ready"):
        answer = httpx.get(three_spokes[0].health_url + address, timeout=30)
        ready = answer.json()
        assert (answer.status_code, ready["status"]) == (200, "healthy")
        assert list(ready) == ["status", "timestamp", "version", "dependencies"]
        assert set(ready["dependencies"]) == {"database", "redis", "storage"}
        for state in ready["dependencies"].values():
            assert list(state) == ["status", "latency_ms", "timestamp"]
            assert 0 <= state["latency_ms"] < 5000


SERIES = [
    "spoke_http_server_requests_total",
    "spoke_http_server_duration_seconds_bucket",
    "spoke_http_server_duration_seconds_count",
    "spoke_db_connections_active",
    "spoke_db_connections_idle",
    "spoke_db_connections_waiting",
    "spoke_cache_hits_total",
    "spoke_cache_misses_total",
    "spoke_db_retries_total",
    "spoke_redis_breaker_open",
    "spoke_storage_errors_total",
    "spoke_versions_pushed_total",
]


def test_metrics_have_the_names_that_dashboards_know(three_spokes: list[Spoke], api: httpx.Client) -> None:
    cli_push(api, "measured", "v1.0.0", "a.proto")
    for _ in range(2):
        api.get("/modules/measured/versions/v1.0.0")
    text = httpx.get(f"{three_spokes[0].health_url}/metrics", timeout=30).text
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert names >= set(SERIES)
    route = 'http_method="GET",http_route="/modules/{module}/versions/{version}",http_status_code="200"'
    assert f"spoke_http_server_requests_total{{{route}}}" in text
    assert re.search(r'spoke_cache_hits_total\{cache_type="memory"\} [1-9]', text)
