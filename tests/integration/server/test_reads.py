"""Reads answer what was asked, whatever else is kept or asked at the same time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json

import httpx
import pytest

from tests.integration.server.backends import wait_for
from tests.integration.server.fixtures import PROTO, Push, Stack

pytestmark = pytest.mark.integration


def metric(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_a_file_is_never_taken_for_the_version_of_a_module_named_like_its_digest(
    api: httpx.Client, module: str, push: Push
) -> None:
    # A module's name cannot begin with a digit, a digest can.
    for number in range(200):
        pushed = push(module, f"v1.{number}.0")
        digest = pushed.headers["etag"].strip('"')
        assert digest == hashlib.sha256(pushed.content).hexdigest()
        if digest[0] in "abcdef":
            break
    assert api.post("/modules", json={"name": digest}).status_code == 201
    push(digest, "order.proto")
    assert api.get(f"/modules/{digest}/versions/order.proto").status_code == 200
    wrong = api.get(f"/modules/{module}/versions/v1.{number}.0/files/order.proto")
    assert (wrong.status_code, wrong.json()["code"]) == (404, "file_not_found")


def test_more_reads_at_once_than_redis_connections_are_no_trouble_of_redis(stack: Stack, module: str, push: Push) -> None:
    versions = [f"v1.{number}.0" for number in range(60)]
    for version in versions:
        push(module, version)
    spoke = stack.spoke(SPOKE_L1_CACHE_SIZE="0", SPOKE_REDIS_POOL_SIZE="2").start()

    async def read_all() -> list[str]:
        async with httpx.AsyncClient(base_url=spoke.url, timeout=60) as client:
            answers = await asyncio.gather(*(client.get(f"/modules/{module}/versions/{each}") for each in versions))
            assert {answer.status_code for answer in answers} == {200}
            return [answer.headers["x-spoke-cache"] for answer in answers]

    address = f"/modules/{module}/versions/{versions[0]}"
    wait_for(lambda: httpx.get(spoke.url + address).headers["x-spoke-cache"] == "redis", "Redis to be connected")
    asyncio.run(read_all())
    wait_for(lambda: stack.redis.client().exists(*(f"version:{module}:{each}" for each in versions)) == 60, "all in Redis")
    assert set(asyncio.run(read_all())) == {"redis"}
    shown = httpx.get(f"{spoke.health_url}/metrics", timeout=30).text
    assert metric(shown, "spoke_redis_errors_total") == 0
    spoke.stop()


@pytest.mark.parametrize(
    "place", [["\x00"], ["\ud800"], ["a' OR 1=1"], ["0001-01-01T00:00:00+23:59", 1], ["2026-01-01", 1 << 63]]
)
@pytest.mark.parametrize("address", ["/modules", "/modules/{}/versions"])
def test_a_cursor_made_by_hand_is_refused(api: httpx.Client, module: str, address: str, place: list[object]) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
    answer = api.get(address.format(module), params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


def test_a_method_that_nobody_knows_is_counted_as_such(stack: Stack) -> None:
    spoke = stack.spoke().start()
    assert httpx.request("PROPFIND", f"{spoke.url}/modules", timeout=30).status_code == 405
    shown = httpx.get(f"{spoke.health_url}/metrics", timeout=30).text
    assert metric(shown, 'spoke_http_server_requests_total{http_method="OTHER"') == 1
    assert 'http_method="OPTIONS"' not in shown
    spoke.stop()


def test_a_version_may_be_named_like_a_module_that_is_kept(api: httpx.Client, push: Push) -> None:
    for name in ("module", "shop"):
        assert api.post("/modules", json={"name": name}).status_code == 201
    push("module", "shop")
    for _ in range(2):
        assert api.get("/modules/shop").json()["versions"] == []
        found = api.get("/modules/module/versions/shop")
        assert found.json()["files"][0]["content"] == PROTO
    assert found.headers["x-spoke-cache"] == "memory"
