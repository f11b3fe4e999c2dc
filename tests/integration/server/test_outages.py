"""What clients see while something the server needs is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import httpx
import psycopg
import pytest

from tests.integration.server.backends import (
    HOST,
    PASSWORD,
    ObjectStore,
    PostgresNode,
    RedisNode,
    Spoke,
    wait_for,
)
from tests.integration.server.backends import spoke_environment as environment_of
from tests.integration.server.fixtures import PROTO, Push, Stack
from tests.integration.server.load import load
from tests.ports import free_ports

pytestmark = pytest.mark.integration

FILES = [{"path": "a.proto", "content": PROTO}]


def test_a_server_starts_without_anything_and_is_ready_when_postgres_comes(stack: Stack) -> None:
    node = PostgresNode(stack.folder, stack.binaries, "late")
    node.initialise()
    lost = RedisNode(stack.folder, "lost")
    spoke = stack.spoke_with(
        {**environment_of(node, store=ObjectStore(stack.folder), cache=lost), "SPOKE_RETRY_BUDGET": "500ms"}
    )
    spoke.environment["SPOKE_POSTGRES_TIMEOUT"] = "500ms"
    spoke.begin().wait_until_alive()
    ready = spoke.health("ready")
    assert ready.status_code == 503
    assert {name: state["status"] for name, state in ready.json()["dependencies"].items()} == {
        "database": "unhealthy",
        "redis": "unhealthy",
        "storage": "unhealthy",
    }
    with spoke.client() as client:
        for answer in (client.get("/modules"), client.post("/modules", json={"name": "m"})):
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        version = client.get("/modules/m/versions/v1.0.0")
        assert (version.status_code, version.headers["content-type"]) == (503, "text/plain; charset=utf-8")
        try:
            node.start()
            spoke.wait_until_ready()
            assert spoke.health("ready").json()["status"] == "degraded"
            assert client.post("/modules", json={"name": "m"}).status_code == 201
        finally:
            spoke.stop()
            node.stop(signal.SIGINT)
    assert PASSWORD not in spoke.log
    assert PASSWORD not in ready.text


def test_without_redis_reads_are_right_and_its_return_is_noticed(
    stack: Stack, three_spokes: list[Spoke], module: str, push: Push
) -> None:
    for number in range(8):
        push(module, f"v1.{number}.0", source_info={"branch": "x" * 200})

    def source(spoke: Spoke, number: int) -> str:
        answer = httpx.get(f"{spoke.url}/modules/{module}/versions/v1.{number}.0", timeout=30)
        assert answer.status_code == 200
        assert answer.json()["version"] == f"v1.{number}.0"
        return answer.headers["x-spoke-cache"]

    assert [source(three_spokes[0], 0), source(three_spokes[0], 0)] == ["miss", "memory"]
    wait_for(lambda: stack.redis.client().exists(f"version:{module}:v1.0.0"), "the version in Redis")
    assert 0 < int(str(stack.redis.client().ttl(f"version:{module}:v1.0.0"))) <= 3600
    assert source(three_spokes[1], 0) == "redis"
    stack.redis.client().set(f"version:{module}:v1.0.0", b'{"module_name":"wrong"}')
    assert source(three_spokes[2], 0) == "miss"
    stack.redis.stop(signal.SIGKILL)
    started_s = time.monotonic()
    for number in range(1, 8):
        assert source(three_spokes[0], number) == "miss"
    assert time.monotonic() - started_s < 10
    wait_for(lambda: three_spokes[0].health("ready").json()["status"] == "degraded", "the instance to be degraded")
    stack.redis.start()

    def redis_is_used() -> bool:
        push(module, version := f"v2.0.{time.monotonic_ns()}")
        address = f"/modules/{module}/versions/{version}"
        httpx.get(three_spokes[0].url + address, timeout=30)
        return bool(stack.redis.client().exists(f"version:{module}:{version}"))

    wait_for(redis_is_used, "Redis to be used again")


def test_a_redis_that_hangs_costs_little(stack: Stack, three_spokes: list[Spoke], module: str, push: Push) -> None:
    for number in range(30):
        push(module, f"v1.{number}.0")
    before = redis_errors(three_spokes[2])
    stack.redis.send(signal.SIGSTOP)
    try:
        for number in range(30):
            answer = httpx.get(f"{three_spokes[2].url}/modules/{module}/versions/v1.{number}.0", timeout=30)
            assert answer.status_code == 200
        # Without the breaker each of them would wait for its time-out, twice.
        assert 0 < redis_errors(three_spokes[2]) - before < 20
    finally:
        stack.redis.send(signal.SIGCONT)


def redis_errors(spoke: Spoke) -> float:
    """How often Redis has failed this instance; each time somebody waited for it."""
    shown = httpx.get(f"{spoke.health_url}/metrics", timeout=30).text
    return sum(float(line.split()[-1]) for line in shown.splitlines() if line.startswith("spoke_redis_errors_total"))


def test_without_the_object_store_reads_and_repeats_go_on(stack: Stack, module: str, push: Push) -> None:
    push(module, "v1.0.0")
    spoke = stack.spoke(SPOKE_RETRY_BUDGET="1s").start()
    stack.store.stop(signal.SIGKILL)
    try:
        with spoke.client() as client:
            assert client.get(f"/modules/{module}/versions/v1.0.0").status_code == 200
            files = [{"path": "shop/v1/order.proto", "content": PROTO}]
            same = client.post(f"/modules/{module}/versions", json={"version": "v1.0.0", "files": files})
            assert same.status_code == 201
            files[0]["content"] += "// not stored yet\n"
            refused = client.post(f"/modules/{module}/versions", json={"version": "v1.1.0", "files": files})
            assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
            assert "retry-after" in refused.headers
            assert client.get(f"/modules/{module}/versions/v1.1.0").status_code == 404
            stack.store.start()
            stored = client.post(f"/modules/{module}/versions", json={"version": "v1.1.0", "files": files})
            assert stored.status_code == 201
    finally:
        if stack.store.process is None or stack.store.process.poll() is not None:
            stack.store.start()
        spoke.stop()


def test_an_object_store_that_hangs_is_given_up_at_the_deadline(
    stack: Stack, three_spokes: list[Spoke], module: str, push: Push
) -> None:
    push(module, "v1.0.0", PROTO + "// connected\n")
    stack.store.send(signal.SIGSTOP)
    try:
        late = {"X-Spoke-Received": f"{time.time() - 14:.3f}"}
        files = [{"path": f"{number}.txt", "content": f"{module} {number}"} for number in range(100)]
        url = f"{three_spokes[0].url}/modules/{module}/versions"
        started_s = time.monotonic()
        refused = httpx.post(url, json={"version": "v2.0.0", "files": files}, headers=late, timeout=60)
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
        assert time.monotonic() - started_s < 4
    finally:
        stack.store.send(signal.SIGCONT)
    assert push(module, "v1.1.0").status_code == 201


def test_no_write_fails_while_postgres_restarts(stack: Stack, three_spokes: list[Spoke], module: str) -> None:
    def write(name: str) -> None:
        spoke = three_spokes[hash(name) % 3]
        body = {"version": name, "files": FILES}
        httpx.post(f"{spoke.url}/modules/{module}/versions", json=body, timeout=60).raise_for_status()

    with load(write) as outcome:
        outcome.wait_for_more(10)
        for how in (signal.SIGINT, signal.SIGQUIT):
            stack.postgres.stop(how)
            stack.postgres.start()
            outcome.wait_for_more(10)
    assert outcome.failed == []
    stored = {each["version"] for each in httpx.get(f"{three_spokes[0].url}/modules/{module}/versions").json()}
    assert stored == set(outcome.succeeded)


def test_reads_go_on_from_the_standby_and_writes_wait_for_its_promotion(
    pair: tuple[PostgresNode, PostgresNode, Spoke],
) -> None:
    primary, standby, spoke = pair

    def write(name: str) -> None:
        body = {"version": name, "files": FILES}
        httpx.post(f"{spoke.url}/modules/m/versions", json=body, timeout=60).raise_for_status()

    with spoke.client() as client:
        assert client.post("/modules", json={"name": "m"}).status_code == 201
        assert client.post("/modules/m/versions", json={"version": "v1.0.0", "files": FILES}).status_code == 201
        flushed = "SELECT pg_current_wal_lsn() = replay_lsn FROM pg_stat_replication"
        wait_for(lambda: primary.sql(flushed) == [(True,)], "the standby to have everything")
        with load(write) as outcome:
            outcome.wait_for_more(5)
            primary.stop(signal.SIGKILL)
            for address in ("/modules", "/modules/m", "/modules/m/versions/v1.0.0", "/modules/m/versions/latest"):
                answer = client.get(address)
                assert answer.status_code == 200, (address, answer.text)
                assert said(answer) == ("standby", "no-store")
            unknown = client.get("/modules/m/versions/v9.9.9")
            assert (unknown.status_code, *said(unknown)) == (404, "standby", "no-store")
            assert spoke.health("ready").status_code == 503
            standby.sql("SELECT pg_promote()")
            outcome.wait_for_more(10)
        assert outcome.failed == []
        spoke.wait_until_ready()
        answer = client.get("/modules/m/versions/v1.0.0")
        assert said(answer) == (None, "public, max-age=31536000, immutable")


def said(answer: httpx.Response) -> tuple[str | None, str]:
    """Where an answer says it was read, and how long it may be kept."""
    return answer.headers.get("x-spoke-read"), answer.headers["cache-control"]


def test_what_a_standby_lacks_is_answered_with_the_mark_that_it_may(
    stack: Stack, pair: tuple[PostgresNode, PostgresNode, Spoke]
) -> None:
    """To an instance that reaches only a standby, one that was cut off looks like one whose primary is dead."""
    primary, standby, spoke = pair
    alone = stack.spoke_with(environment_of(standby, store=stack.store, cache=stack.redis))
    with spoke.client() as client:
        assert client.post("/modules", json={"name": "m", "description": "old"}).status_code == 201
        flushed = "SELECT pg_current_wal_lsn() = replay_lsn FROM pg_stat_replication"
        wait_for(lambda: primary.sql(flushed) == [(True,)], "the standby to have everything")
        standby.sql("ALTER SYSTEM SET primary_conninfo = ''")
        standby.sql("SELECT pg_reload_conf()")
        wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_replication") == [(0,)], "the standby to be cut off")
        assert client.patch("/modules/m", json={"description": "new"}).status_code == 200
        assert "x-spoke-read" not in client.get("/modules/m").headers
        try:
            alone.begin().wait_until_alive()
            answer = httpx.get(f"{alone.url}/modules/m", timeout=60)
            assert (answer.status_code, answer.json()["description"]) == (200, "old")
            assert said(answer) == ("standby", "no-store")
        finally:
            alone.stop()


def test_reads_go_on_and_writes_wait_while_the_primary_waits_for_its_standby(
    pair: tuple[PostgresNode, PostgresNode, Spoke],
) -> None:
    primary, standby, spoke = pair
    with spoke.client() as client:
        assert client.post("/modules", json={"name": "m"}).status_code == 201
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("SELECT pg_reload_conf()")
        standby.stop(signal.SIGINT)
        answers: list[int] = []
        writers = [
            threading.Thread(
                target=lambda n=number: answers.append(
                    httpx.post(f"{spoke.url}/modules", json={"name": f"waits-{n}"}, timeout=60).status_code
                )
            )
            for number in range(30)
        ]
        for writer in writers:
            writer.start()
        waiting = "SELECT count(*) > 10 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        wait_for(lambda: primary.sql(waiting) == [(True,)], "writes to wait for the standby")
        for _ in range(20):
            started_s = time.monotonic()
            assert client.get("/modules/m").status_code == 200
            assert time.monotonic() - started_s < 1.5
        assert spoke.health("ready").status_code == 200
        assert answers == []
        primary.sql("ALTER SYSTEM RESET synchronous_standby_names")
        primary.sql("SELECT pg_reload_conf()")
        for writer in writers:
            writer.join(60)
        assert answers == [201] * 30


def test_a_frozen_primary_is_left_for_the_standby_and_found_again(
    pair: tuple[PostgresNode, PostgresNode, Spoke],
) -> None:
    primary, _, spoke = pair
    with spoke.client() as client:
        assert client.post("/modules", json={"name": "m"}).status_code == 201
        caught_up = "SELECT pg_current_wal_lsn() = replay_lsn FROM pg_stat_replication"
        wait_for(lambda: primary.sql(caught_up) == [(True,)], "the standby to have everything")
        backends = [
            pid
            for (pid,) in primary.sql(
                "SELECT pid FROM pg_stat_activity WHERE backend_type <> 'walsender' AND pid <> pg_backend_pid()"
            )
        ]
        assert primary.process is not None
        frozen = [primary.process.pid, *backends]
        for pid in frozen:
            send(pid, signal.SIGSTOP)
        try:
            started_s = time.monotonic()
            assert client.get("/modules/m").status_code == 200
            assert time.monotonic() - started_s < 9
        finally:
            for pid in frozen:
                send(pid, signal.SIGCONT)
        spoke.wait_until_ready()
        assert client.patch("/modules/m", json={"description": "thawed"}).status_code == 200


def send(pid: int, number: int) -> None:
    """Signals a process that may have ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def received(seconds_ago: float) -> dict[str, str]:
    return {"X-Spoke-Received": f"{time.time() - seconds_ago:.3f}"}


def expired(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["code"]) == (503, "request_expired")


def test_a_write_older_than_the_retry_budget_is_not_applied(api: httpx.Client) -> None:
    made = api.post("/modules", json={"name": "in-time", "description": "made"}, headers=received(5))
    assert made.status_code == 201
    refused = api.patch("/modules/in-time", json={"description": "late"}, headers=received(60))
    assert (refused.status_code, refused.json()["code"]) == (503, "request_expired")
    assert api.patch("/modules/in-time", json={"description": "in time"}, headers=received(1)).status_code == 200
    bad = api.patch("/modules/in-time", json={}, headers={"X-Spoke-Received": "yesterday"})
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid_header")


def test_a_write_that_was_held_up_is_not_applied_over_a_later_one(
    api: httpx.Client, other: httpx.Client, module: str, push: Push
) -> None:
    """A Spoke that froze before it asked for the lock wakes up after its client has gone on through another one."""
    assert api.patch(f"/modules/{module}", json={"description": "new"}).status_code == 200
    assert expired(other.patch(f"/modules/{module}", json={"description": "old"}, headers=received(9)))
    assert expired(other.put(f"/modules/{module}", json={"description": "old"}, headers=received(9)))
    assert expired(other.delete(f"/modules/{module}", headers=received(9)))
    assert api.get(f"/modules/{module}").json()["description"] == "new"
    # A later write that changes nothing is later all the same.
    assert api.patch(f"/modules/{module}", json={"description": "new"}, headers=received(-1)).status_code == 200
    assert expired(other.patch(f"/modules/{module}", json={"description": "old"}, headers=received(2)))
    # What changes nothing contradicts nobody.
    assert other.patch(f"/modules/{module}", json={"description": "new"}, headers=received(9)).status_code == 200
    assert other.patch(f"/modules/{module}", json={"description": "newest"}).status_code == 200

    push(module, "v1.0.0")
    address = f"/modules/{module}/versions/v1.0.0"
    assert expired(other.delete(address, headers=received(9)))
    assert api.delete(address).status_code == 204
    files = [{"path": "shop/v1/order.proto", "content": PROTO}]
    body = {"version": "v1.0.0", "files": files}
    assert expired(other.post(f"/modules/{module}/versions", json=body, headers=received(9)))
    assert api.get(address).status_code == 404


def test_a_write_that_was_held_up_is_not_applied_to_a_module_that_was_made_after_it(
    api: httpx.Client, other: httpx.Client
) -> None:
    """Its client has had the same answered by another Spoke, and has made the module anew since."""
    body = {"name": "anew", "description": "new"}
    for method, address in (("POST", "/modules"), ("PUT", "/modules/anew")):
        assert api.request(method, address, json=body).status_code == 201
        assert expired(other.delete("/modules/anew", params={"permanent": "true"}, headers=received(9)))
        assert expired(other.delete("/modules/anew", headers=received(9)))
        assert expired(other.patch("/modules/anew", json={"description": "old"}, headers=received(9)))
        assert api.get("/modules/anew").json()["description"] == "new"
        # Made again, it is the later write that counts.
        later = api.post("/modules", json=body, headers=received(-1))
        assert later.status_code == 201
        assert expired(other.delete("/modules/anew", headers=received(2)))
        assert api.delete("/modules/anew", params={"permanent": "true"}, headers=received(-1)).status_code == 204
        assert expired(other.post("/modules", json=body, headers=received(9)))
        assert expired(other.put("/modules/anew", json=body, headers=received(9)))
        assert api.get("/modules/anew").status_code == 404


def test_a_push_that_was_held_up_does_not_enter_a_module_that_was_made_after_it(
    api: httpx.Client, other: httpx.Client
) -> None:
    body = {"name": "another", "description": ""}
    version = {"version": "v1.0.0", "files": [{"path": "shop/v1/order.proto", "content": PROTO}]}
    assert api.post("/modules", json=body, headers=received(9.5)).status_code == 201
    assert api.delete("/modules/another", params={"permanent": "true"}, headers=received(5)).status_code == 204
    assert api.post("/modules", json=body).status_code == 201
    assert expired(other.post("/modules/another/versions", json=version, headers=received(9)))
    assert api.post("/modules/another/versions", json=version).status_code == 201


def test_a_deletion_of_a_module_that_was_held_up_takes_no_version_that_was_pushed_after_it(
    api: httpx.Client, other: httpx.Client
) -> None:
    version = {"version": "v1.0.0", "files": [{"path": "shop/v1/order.proto", "content": PROTO}]}
    assert api.post("/modules", json={"name": "grows", "description": ""}, headers=received(9.5)).status_code == 201
    assert api.post("/modules/grows/versions", json=version).status_code == 201
    for how in ({"permanent": "true"}, {}):
        assert expired(other.delete("/modules/grows", params=how, headers=received(9)))
    assert api.get("/modules/grows/versions/v1.0.0").status_code == 200
    assert api.delete("/modules/grows").status_code == 204


def test_a_repeat_that_changes_nothing_is_later_than_what_was_held_up(api: httpx.Client, other: httpx.Client) -> None:
    body = {"name": "repeats", "description": ""}
    version = {"version": "v1.0.0", "files": [{"path": "shop/v1/order.proto", "content": PROTO}]}
    versions, address = "/modules/repeats/versions", "/modules/repeats/versions/v1.0.0"
    assert api.post("/modules", json=body, headers=received(9)).status_code == 201
    # Pushed again: a deletion from before does not hide it.
    assert api.post(versions, json=version, headers=received(8.5)).status_code == 201
    assert api.post(versions, json=version, headers=received(5)).status_code == 201
    assert expired(other.delete(address, headers=received(7)))
    # Deleted again: a push from before does not bring it back.
    assert api.delete(address, headers=received(4.9)).status_code == 204
    assert api.delete(address, headers=received(3)).status_code == 204
    assert expired(other.post(versions, json=version, headers=received(4)))
    # The same for the module, hidden and removed for good.
    assert api.delete("/modules/repeats", headers=received(2.9)).status_code == 204
    assert api.delete("/modules/repeats", headers=received(1)).status_code == 204
    assert expired(other.post("/modules", json=body, headers=received(2)))
    assert api.delete("/modules/repeats", params={"permanent": "true"}).status_code == 204
    assert api.delete("/modules/repeats", params={"permanent": "true"}, headers=received(-5)).status_code == 204
    assert expired(other.post("/modules", json=body, headers=received(1.5)))
    assert api.get("/modules/repeats", params={"deleted": "true"}).status_code == 404


def test_the_database_itself_refuses_to_commit_a_late_write(stack: Stack, module: str) -> None:
    address = f"host={HOST} port={stack.postgres.port} user=spoke password={PASSWORD} dbname=postgres"
    with psycopg.connect(address) as connection:
        connection.execute("SELECT set_config('spoke.write_deadline', %s, true)", (str(time.time() - 0.01),))
        connection.execute("UPDATE modules SET description = 'late' WHERE name = %s", (module,))
        with pytest.raises(psycopg.Error) as refusal:
            connection.commit()
    assert refusal.value.sqlstate == "SP001"


def test_a_server_frozen_in_a_transaction_does_not_apply_it_after_the_thaw(
    stack: Stack, api: httpx.Client, module: str
) -> None:
    spoke = stack.spoke(SPOKE_RETRY_BUDGET="1500ms").start()
    answers: list[httpx.Response] = []

    def patch() -> None:
        answers.append(httpx.patch(f"{spoke.url}/modules/{module}", json={"description": "old"}, timeout=60))

    address = f"host={HOST} port={stack.postgres.port} user=spoke password={PASSWORD} dbname=postgres"
    with psycopg.connect(address) as connection:
        connection.execute("SELECT 1 FROM modules WHERE name = %s FOR UPDATE", (module,))
        thread = threading.Thread(target=patch)
        thread.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_for(lambda: stack.postgres.sql(waiting) == [(1,)], "the write to wait for the lock")
        spoke.send(signal.SIGSTOP)
        thawed_s = time.time() + 1.6
        connection.rollback()
    # A newer write has to wait until PostgreSQL ends the frozen one's idle transaction.
    newer = api.patch(f"/modules/{module}", json={"description": "new"})
    assert newer.status_code == 200
    wait_for(lambda: time.time() > thawed_s, "the deadline of the old write")
    spoke.send(signal.SIGCONT)
    thread.join(60)
    assert answers[0].status_code == 503
    assert api.get(f"/modules/{module}").json()["description"] == "new"
    spoke.stop()


def test_redis_is_followed_through_a_failover_by_sentinel(stack: Stack) -> None:
    master, replica, sentinel = (RedisNode(stack.folder, f"{name}-{free_ports(1)[0]}") for name in ("m", "r", "s"))
    master.start()
    replica.start(f"replicaof {HOST} {master.port}", "repl-diskless-sync-delay 0")
    sentinel.start_sentinel(master)
    environment = environment_of(stack.postgres, store=stack.store, sentinel=sentinel)
    spoke = stack.spoke_with({**environment, "SPOKE_L1_CACHE_SIZE": "0"}).start()
    try:
        with spoke.client() as client:
            client.post("/modules", json={"name": "sentinel-test"})
            client.post("/modules/sentinel-test/versions", json={"version": "v1", "files": FILES})
            address = "/modules/sentinel-test/versions/v1"
            wait_for(lambda: client.get(address).headers["x-spoke-cache"] == "redis", "hits in Redis")
            wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up", "replication")
            master.stop(signal.SIGKILL)
            assert client.get(address).status_code == 200
            wait_for(lambda: client.get(address).headers["x-spoke-cache"] == "redis", "hits in the new master")
            assert replica.client().role()[0] in (b"master", "master")
    finally:
        spoke.stop()
        for node in (sentinel, replica, master):
            node.stop()


def test_an_instance_without_requests_follows_redis_too(stack: Stack) -> None:
    master, replica, sentinel = (RedisNode(stack.folder, f"{name}-{free_ports(1)[0]}") for name in ("m", "r", "s"))
    master.start()
    replica.start(f"replicaof {HOST} {master.port}", "repl-diskless-sync-delay 0")
    sentinel.start_sentinel(master)
    spoke = stack.spoke_with(environment_of(stack.postgres, store=stack.store, sentinel=sentinel)).start()

    def redis_is(status: str) -> bool:
        return bool(spoke.health("ready").json()["dependencies"]["redis"]["status"] == status)

    try:
        wait_for(lambda: redis_is("healthy"), "Redis to be found")
        wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up", "replication")
        master.stop(signal.SIGKILL)
        wait_for(lambda: replica.client().role()[0] in (b"master", "master"), "the Sentinel to act")
        wait_for(lambda: redis_is("healthy"), "the new master to be found")
    finally:
        spoke.stop()
        for node in (sentinel, replica, master):
            node.stop()
