"""Servers that tests share: starting them costs more than most tests."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.integration.server.backends import (
    ObjectStore,
    PostgresNode,
    RedisNode,
    Spoke,
    folder,
    postgres_binaries,
    spoke_environment,
)
from tests.ports import free_ports

PROTO = 'syntax = "proto3";\npackage shop.v1;\nmessage Order { string id = 1; }\n'
_numbers = itertools.count(1)


@dataclass
class Stack:
    """The servers of a test session, and Spokes made on demand."""

    folder: Path
    binaries: Path
    postgres: PostgresNode
    redis: RedisNode
    store: ObjectStore
    started: list[Spoke] = field(default_factory=list)

    def spoke(self, **environment: str) -> Spoke:
        """A Spoke that uses all of the servers, not yet started."""
        base = spoke_environment(self.postgres, store=self.store, cache=self.redis)
        return self.spoke_with({**base, **environment})

    def spoke_with(self, environment: dict[str, str]) -> Spoke:
        """A Spoke with this environment, not yet started."""
        spoke = Spoke(self.folder, f"spoke-{next(_numbers)}", environment)
        self.started.append(spoke)
        return spoke


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """PostgreSQL, Redis and an object store."""
    with folder() as where:
        binaries = postgres_binaries(where)
        made = Stack(where, binaries, PostgresNode(where, binaries), RedisNode(where), ObjectStore(where))
        try:
            made.postgres.initialise()
            made.postgres.start()
            made.redis.start()
            made.store.start()
            yield made
        finally:
            for spoke in made.started:
                spoke.stop(signal.SIGKILL)
            made.store.stop()
            made.redis.stop()
            made.postgres.stop(signal.SIGINT)


@pytest.fixture(scope="session")
def three_spokes(stack: Stack) -> list[Spoke]:
    """Three instances that began at the same time on an empty database."""
    spokes = [stack.spoke() for _ in range(3)]
    for spoke in spokes:
        spoke.begin()
    for spoke in spokes:
        spoke.wait_until_ready()
    return spokes


@pytest.fixture
def api(three_spokes: list[Spoke]) -> Iterator[httpx.Client]:
    """A client of the first instance."""
    with three_spokes[0].client() as client:
        yield client


@pytest.fixture
def other(three_spokes: list[Spoke]) -> Iterator[httpx.Client]:
    """A client of another instance."""
    with three_spokes[1].client() as client:
        yield client


@pytest.fixture
def module(api: httpx.Client) -> str:
    """The name of a module of this test's own, without versions."""
    name = f"module-{next(_numbers)}"
    assert api.post("/modules", json={"name": name, "description": "d"}).status_code == 201
    return name


Push = Callable[..., httpx.Response]


@pytest.fixture
def push(api: httpx.Client) -> Push:
    """Pushes a version with one file."""

    def push_one(module: str, version: str, content: str = PROTO, **fields: object) -> httpx.Response:
        files = [{"path": "shop/v1/order.proto", "content": content}]
        return api.post(f"/modules/{module}/versions", json={"version": version, "files": files, **fields})

    return push_one


@pytest.fixture
def pair(stack: Stack) -> Iterator[tuple[PostgresNode, PostgresNode, Spoke]]:
    """A primary with its standby, and a Spoke that keeps nothing in memory."""
    primary = PostgresNode(stack.folder, stack.binaries, f"primary-{free_ports(1)[0]}")
    standby = PostgresNode(stack.folder, stack.binaries, f"standby-{free_ports(1)[0]}")
    primary.initialise()
    primary.start()
    standby.clone(primary)
    standby.start()
    environment = spoke_environment(primary, standby, store=stack.store, cache=stack.redis)
    spoke = stack.spoke_with({**environment, "SPOKE_L1_CACHE_SIZE": "0"}).start()
    try:
        yield primary, standby, spoke
    finally:
        spoke.stop()
        standby.stop(signal.SIGINT)
        primary.stop(signal.SIGINT)
