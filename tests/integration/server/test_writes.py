"""Writes may be repeated, in any order, through any instance."""

from __future__ import annotations

import hashlib
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from spoke_server.storage.migrate import migrations
from tests.integration.server.backends import HOST, PASSWORD, Spoke, wait_for
from tests.integration.server.fixtures import PROTO, Push, Stack

pytestmark = pytest.mark.integration

OTHER = PROTO.replace("Order", "Invoice")


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, str(response.json()["code"])


def test_instances_that_start_together_migrate_once(stack: Stack, three_spokes: list[Spoke]) -> None:
    assert stack.postgres.sql("SELECT number, count(*) FROM schema_migrations GROUP BY number ORDER BY number") == [
        (number, 1) for number, _, _ in migrations()
    ]
    assert sum("applied migration" in spoke.log for spoke in three_spokes) == 1
    assert sum(spoke.log.count("applied migration") for spoke in three_spokes) == len(migrations())


def test_a_module_can_be_created_again_with_the_same_description_only(api: httpx.Client, module: str) -> None:
    again = api.post("/modules", json={"name": module, "description": "d"})
    assert again.status_code == 201
    assert again.json() == {k: v for k, v in api.get(f"/modules/{module}").json().items() if k != "versions"}
    assert code(api.post("/modules", json={"name": module, "description": "e"})) == (409, "module_exists")


def test_a_version_can_be_pushed_again_with_the_same_content_only(module: str, push: Push) -> None:
    first, again = push(module, "v1.0.0"), push(module, "v1.0.0", source_info={"branch": "another"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert code(push(module, "v1.0.0", OTHER)) == (409, "version_exists")


def test_a_hundred_equal_pushes_at_once_make_one_version(three_spokes: list[Spoke], stack: Stack, module: str) -> None:
    body = {"version": "v1.0.0", "files": [{"path": "a.proto", "content": PROTO}]}

    def push_through(number: int) -> httpx.Response:
        return httpx.post(f"{three_spokes[number % 3].url}/modules/{module}/versions", json=body, timeout=60)

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(push_through, range(100)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    rows = stack.postgres.sql(
        "SELECT count(*) FROM versions v JOIN modules m ON m.id = v.module_id WHERE m.name = %s", module
    )
    assert rows == [(1,)]


def test_of_a_hundred_different_pushes_of_one_number_one_wins(three_spokes: list[Spoke], module: str) -> None:
    def push_through(number: int) -> httpx.Response:
        content = f"{PROTO}// {number}\n"
        body = {"version": "v1.0.0", "files": [{"path": "a.proto", "content": content}]}
        return httpx.post(f"{three_spokes[number % 3].url}/modules/{module}/versions", json=body, timeout=60)

    with ThreadPoolExecutor(20) as threads:
        statuses = [answer.status_code for answer in threads.map(push_through, range(100))]
    assert sorted(set(statuses)) == [201, 409]
    assert statuses.count(201) == 1


def test_blobs_lie_where_upstream_puts_them(stack: Stack, module: str, push: Push) -> None:
    push(module, "v1.0.0", content := PROTO + "// only here\n")
    name = hashlib.sha256(content.encode()).hexdigest()
    key = f"proto-files/sha256/{name[:2]}/{name[2:]}"
    assert key in stack.store.object_names()
    found = stack.store.client().get_object(Bucket="spoke-storage", Key=key)
    assert found["Body"].read().decode() == content
    assert (found["ContentType"], found["Metadata"]) == ("application/x-protobuf", {"checksum-sha256": name})


def test_a_write_is_read_through_another_instance_at_once(
    api: httpx.Client, other: httpx.Client, module: str, push: Push
) -> None:
    for number in range(20):
        push(module, f"v1.{number}.0")
        assert other.get(f"/modules/{module}/versions/v1.{number}.0").status_code == 200
        assert other.get(f"/modules/{module}/versions/latest").json()["version"] == f"v1.{number}.0"
        assert len(other.get(f"/modules/{module}").json()["versions"]) == number + 1
        api.patch(f"/modules/{module}", json={"description": f"d{number}"})
        assert other.get(f"/modules/{module}").json()["description"] == f"d{number}"


def test_a_deleted_version_is_hidden_and_the_same_content_restores_it(api: httpx.Client, module: str, push: Push) -> None:
    first = push(module, "v1.0.0")
    address = f"/modules/{module}/versions/v1.0.0"
    assert [api.delete(address).status_code for _ in range(2)] == [204, 204]
    assert code(api.get(address)) == (404, "version_not_found")
    assert api.get(f"/modules/{module}").json()["versions"] == []
    assert api.get(f"/modules/{module}/versions").json() == []
    assert "deleted_at" in api.get(address, params={"deleted": "true"}).json()
    assert "deleted_at" in api.get(f"/modules/{module}/versions", params={"deleted": "true"}).json()[0]
    assert code(push(module, "v1.0.0", OTHER)) == (409, "version_deleted")
    assert push(module, "v1.0.0").content == first.content
    assert api.get(address).content == first.content


def test_the_number_of_a_version_deleted_for_good_is_never_used_again(api: httpx.Client, module: str, push: Push) -> None:
    push(module, "v1.0.0")
    address = f"/modules/{module}/versions/v1.0.0"
    assert [api.delete(address, params={"permanent": "true"}).status_code for _ in range(2)] == [204, 204]
    assert api.get(address, params={"deleted": "true"}).status_code == 404
    assert code(push(module, "v1.0.0")) == (409, "version_retired")
    assert api.delete(f"/modules/{module}", params={"permanent": "true"}).status_code == 204
    assert api.delete(f"/modules/{module}", params={"permanent": "true"}).status_code == 204
    assert api.post("/modules", json={"name": module}).status_code == 201
    assert code(push(module, "v1.0.0")) == (409, "version_retired")


def test_what_was_never_there_cannot_be_deleted(api: httpx.Client, module: str) -> None:
    assert code(api.delete(f"/modules/{module}/versions/v9.0.0")) == (404, "version_not_found")
    assert code(api.delete("/modules/never-there")) == (404, "module_not_found")


def test_a_version_that_another_one_needs_is_kept(api: httpx.Client, module: str, push: Push) -> None:
    push(module, "v1.0.0")
    assert push(module, "v2.0.0", dependencies=[f"{module}@v1.0.0"]).status_code == 201
    for permanent in ("false", "true"):
        refused = api.delete(f"/modules/{module}/versions/v1.0.0", params={"permanent": permanent})
        assert code(refused) == (409, "version_in_use")
    api.post("/modules", json={"name": f"{module}.user"})
    push(f"{module}.user", "v1.0.0", dependencies=[f"{module}@v1.0.0"])
    assert code(api.delete(f"/modules/{module}")) == (409, "module_in_use")
    assert api.delete(f"/modules/{module}.user").status_code == 204
    assert api.delete(f"/modules/{module}/versions/v2.0.0").status_code == 204
    assert api.delete(f"/modules/{module}/versions/v1.0.0").status_code == 204


def test_a_deleted_module_comes_back_with_the_same_description_only(api: httpx.Client, module: str, push: Push) -> None:
    push(module, "v1.0.0")
    assert [api.delete(f"/modules/{module}").status_code for _ in range(2)] == [204, 204]
    assert api.get(f"/modules/{module}/versions/v1.0.0").status_code == 404
    assert module not in {each["name"] for each in api.get("/modules").json()}
    shown = {each["name"]: each for each in api.get("/modules", params={"deleted": "true"}).json()}
    assert "deleted_at" in shown[module]
    assert code(push(module, "v1.1.0")) == (404, "module_not_found")
    assert code(api.post("/modules", json={"name": module, "description": "e"})) == (409, "module_deleted")
    assert code(api.put(f"/modules/{module}", json={"description": "e"})) == (409, "module_deleted")
    assert code(api.patch(f"/modules/{module}", json={"description": "e"})) == (404, "module_not_found")
    assert api.post("/modules", json={"name": module, "description": "d"}).status_code == 201
    assert api.get(f"/modules/{module}/versions/v1.0.0").status_code == 200


def test_put_makes_or_changes_and_patch_only_changes(api: httpx.Client, module: str) -> None:
    assert api.put(f"/modules/{module}.new", json={"description": "x"}).status_code == 201
    assert api.put(f"/modules/{module}.new", json={"description": "y"}).status_code == 200
    changed = api.patch(f"/modules/{module}.new", json={"description": "z"})
    assert (changed.status_code, changed.json()["description"]) == (200, "z")
    assert changed.json()["updated_at"] > changed.json()["created_at"]
    assert api.patch(f"/modules/{module}.new", json={}).json() == changed.json()
    assert code(api.patch(f"/modules/{module}.none", json={"description": "z"})) == (404, "module_not_found")


def test_a_declared_dependency_is_what_imports_are_held_against(api: httpx.Client, module: str, push: Push) -> None:
    push(module, "v1.0.0")
    api.post("/modules", json={"name": f"{module}.user"})

    def push_user(version: str, name: str) -> httpx.Response:
        text = f'syntax = "proto3"; import "shop/v1/order.proto"; message User {{ shop.v1.{name} x = 1; }}'
        body = {"version": version, "files": [{"path": "u.proto", "content": text}]}
        return api.post(f"/modules/{module}.user/versions", json={**body, "dependencies": [f"{module}@v1.0.0"]})

    refused = push_user("v1.0.0", "Nothing")
    assert code(refused) == (400, "invalid_proto")
    assert refused.json()["error"] == 'u.proto:1:65: "shop.v1.Nothing" is not defined.'
    assert push_user("v1.0.0", "Order").status_code == 201


@pytest.mark.parametrize("redis_answers", [True, False])
def test_a_delete_shows_everywhere_within_a_second(
    stack: Stack, three_spokes: list[Spoke], module: str, push: Push, redis_answers: bool
) -> None:
    push(module, "v1.0.0")
    addresses = [f"{spoke.url}/modules/{module}/versions/v1.0.0" for spoke in three_spokes]
    clients = [httpx.Client(timeout=30) for _ in addresses]
    for _ in range(2):
        for client, address in zip(clients, addresses, strict=True):
            assert client.get(address).status_code == 200
    if not redis_answers:
        stack.redis.send(signal.SIGSTOP)
    try:
        # The other instances are asked all the time, so their copy in memory stays fresh until the very delete.
        assert clients[0].delete(addresses[0]).status_code == 204
        deleted_s = time.monotonic()
        asked_s = {200: deleted_s}  # when the last request began that had this answer

        def is_gone(client: httpx.Client, address: str) -> bool:
            began_s = time.monotonic()
            code = client.get(address).status_code
            asked_s[code] = began_s
            return code == 404

        wait_for(lambda: all(is_gone(c, a) for c, a in zip(clients, addresses, strict=True)), "404 everywhere")
        # However long an answer takes on its way: to whoever asks a second later the version is gone.
        assert asked_s[200] - deleted_s < 1.0
    finally:
        stack.redis.send(signal.SIGCONT)
        for client in clients:
            client.close()


def test_deletes_and_pushes_of_one_version_at_once_end_in_one_of_both(
    three_spokes: list[Spoke], module: str, push: Push
) -> None:
    push(module, "v1.0.0")
    body = {"version": "v1.0.0", "files": [{"path": "shop/v1/order.proto", "content": PROTO}]}

    def act(number: int) -> int:
        url = f"{three_spokes[number % 3].url}/modules/{module}/versions"
        if number % 2:
            return httpx.delete(f"{url}/v1.0.0", timeout=60).status_code
        return httpx.post(url, json=body, timeout=60).status_code

    with ThreadPoolExecutor(10) as threads:
        assert set(threads.map(act, range(60))) == {201, 204}


def test_a_delete_and_a_push_that_depends_on_it_cannot_both_win(three_spokes: list[Spoke], module: str, push: Push) -> None:
    for number in range(10):
        version = f"v1.{number}.0"
        push(module, version)
        body = {
            "version": f"v2.{number}.0",
            "files": [{"path": "b.proto", "content": PROTO}],
            "dependencies": [f"{module}@{version}"],
        }
        url = f"{{}}/modules/{module}/versions"
        with ThreadPoolExecutor(2) as threads:
            pushed = threads.submit(httpx.post, url.format(three_spokes[0].url), json=body, timeout=60)
            deleted = threads.submit(httpx.delete, f"{url.format(three_spokes[1].url)}/{version}", timeout=60)
        gone = httpx.get(f"{url.format(three_spokes[0].url)}/{version}").status_code == 404
        if gone:
            assert deleted.result().status_code == 204
            assert code(pushed.result()) == (409, "dependency_not_found")
        else:
            assert code(deleted.result()) == (409, "version_in_use")
            assert pushed.result().status_code == 201


def test_a_push_waits_for_a_delete_of_its_dependency_that_is_under_way(
    stack: Stack, api: httpx.Client, module: str, push: Push
) -> None:
    user = f"{module}.user"
    api.post("/modules", json={"name": user})
    push(module, "v1.0.0")
    ids = "SELECT v.id FROM versions v JOIN modules m ON m.id = v.module_id WHERE m.name = %s"
    ((version_id,),) = stack.postgres.sql(ids, module)
    address = f"host={HOST} port={stack.postgres.port} user=spoke password={PASSWORD} dbname=postgres"
    with psycopg.connect(address) as connection, ThreadPoolExecutor(1) as threads:
        # What a delete does up to its COMMIT.
        connection.execute("SELECT 1 FROM versions WHERE id = %s FOR UPDATE", (version_id,))
        connection.execute("UPDATE versions SET deleted_at = now() WHERE id = %s", (version_id,))
        pushed = threads.submit(push, user, "v1.0.0", dependencies=[f"{module}@v1.0.0"])
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_for(lambda: stack.postgres.sql(waiting) == [(1,)], "the push to wait for the delete")
        connection.commit()
        assert code(pushed.result()) == (409, "dependency_not_found")


def test_a_dependency_that_is_not_there_or_hidden_is_named(api: httpx.Client, module: str, push: Push) -> None:
    user = f"{module}.user"
    api.post("/modules", json={"name": user})
    push(module, "v1.0.0")
    needs = [f"{module}@v1.0.0", f"{module}@v9.0.0", "never-there@v1.0.0"]
    refused = push(user, "v1.0.0", dependencies=needs)
    assert code(refused) == (409, "dependency_not_found")
    assert refused.json()["error"] == f"dependency not found: {module}@v9.0.0, never-there@v1.0.0; push it first"
    many = push(user, "v1.0.0", dependencies=[f"{module}@v9.{number}.0" for number in range(12)])
    assert "v9.9.0 and 2 more" in many.json()["error"]
    for address in (f"/modules/{module}/versions/v1.0.0", f"/modules/{module}"):
        assert api.delete(address).status_code == 204
        assert code(push(user, "v1.0.0", dependencies=needs[:1])) == (409, "dependency_not_found")
        api.post("/modules", json={"name": module, "description": "d"})
        assert push(module, "v1.0.0").status_code == 201
    assert push(user, "v1.0.0", dependencies=needs[:1]).status_code == 201


def test_a_hidden_version_does_not_come_back_without_its_dependency(api: httpx.Client, module: str, push: Push) -> None:
    push(module, "v1.0.0")
    needs = [f"{module}@v1.0.0"]
    assert push(module, "v2.0.0", dependencies=needs).status_code == 201
    for version in ("v2.0.0", "v1.0.0"):
        assert api.delete(f"/modules/{module}/versions/{version}").status_code == 204
    assert code(push(module, "v2.0.0", dependencies=needs)) == (409, "dependency_not_found")
    assert push(module, "v1.0.0").status_code == 201
    assert push(module, "v2.0.0", dependencies=needs).status_code == 201


def test_a_hidden_module_does_not_come_back_without_what_its_versions_need(
    api: httpx.Client, module: str, push: Push
) -> None:
    """It came back, and its versions named a dependency that answered 404."""
    user = {"name": f"{module}.user"}
    api.post("/modules", json=user)
    push(module, "v1.0.0")
    push(user["name"], "v1.0.0", dependencies=[f"{module}@v1.0.0"])
    assert api.delete(f"/modules/{user['name']}").status_code == 204
    assert api.delete(f"/modules/{module}/versions/v1.0.0").status_code == 204
    for refused in (api.post("/modules", json=user), api.put(f"/modules/{user['name']}", json={})):
        assert code(refused) == (409, "dependency_not_found")
        assert f"{module}@v1.0.0" in refused.json()["error"]
    assert api.get(f"/modules/{user['name']}").status_code == 404
    assert push(module, "v1.0.0").status_code == 201
    assert api.post("/modules", json=user).status_code == 201
    assert api.get(f"/modules/{user['name']}/versions/v1.0.0").status_code == 200
    # What it needs may be gone for good; then the version that needs it can go too, hidden as it is.
    assert api.delete(f"/modules/{user['name']}").status_code == 204
    assert api.delete(f"/modules/{module}/versions/v1.0.0", params={"permanent": "true"}).status_code == 204
    assert code(api.post("/modules", json=user)) == (409, "dependency_not_found")
    assert api.delete(f"/modules/{user['name']}/versions/v1.0.0").status_code == 204
    assert api.post("/modules", json=user).status_code == 201


def test_in_a_hidden_module_what_its_own_versions_need_is_kept(api: httpx.Client, module: str, push: Push) -> None:
    push(module, "v1.0.0")
    push(module, "v2.0.0", dependencies=[f"{module}@v1.0.0"])
    assert api.delete(f"/modules/{module}").status_code == 204
    assert code(api.delete(f"/modules/{module}/versions/v1.0.0")) == (409, "version_in_use")
    assert api.post("/modules", json={"name": module, "description": "d"}).status_code == 201
    assert len(api.get(f"/modules/{module}/versions").json()) == 2


def test_a_version_cannot_need_itself(module: str, push: Push) -> None:
    refused = push(module, "v1.0.0", dependencies=[f"{module}@v1.0.0"])
    assert code(refused) == (400, "invalid_dependency")
