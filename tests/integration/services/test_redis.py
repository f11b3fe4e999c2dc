"""A Redis pair and three Sentinels, run by their entry scripts."""

from __future__ import annotations

import re
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.ports import free_ports

from .role_watch import watching
from .running import Service, wait_until

pytestmark = pytest.mark.integration

GROUP = "spoke-redis"
ODD_PASSWORD = """a b "c" 'd' \\e #f $g `h` %i; é漢 \\x41\\n"""


class Stack:
    """Two Redis nodes and three Sentinels of one master group, each in its own folder."""

    def __init__(self, place: Path, tools: Path, password: str, down_after_ms: int) -> None:
        self.password = password
        self.nodes = ["redis-master", "redis-replica"]
        self.sentinels = ["redis-sentinel-1", "redis-sentinel-2", "redis-sentinel-3"]
        names = [*self.nodes, *self.sentinels]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.services = {
            name: Service(
                "redis" if name in self.nodes else "sentinel",
                place / name,
                tools,
                self.environment(name, place / name / "data", down_after_ms),
                ("redis-server", "--maxmemory", "64mb") if name in self.nodes else ("redis-sentinel",),
            )
            for name in names
        }

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"

    def environment(self, name: str, data: Path, down_after_ms: int) -> dict[str, str]:
        inner = {**dict.fromkeys(self.nodes, 6379), **dict.fromkeys(self.sentinels, 26379)}
        shared = {
            "SPOKE_NODE": name,
            "SPOKE_LISTEN_ADDRESS": "127.0.0.1",
            "SPOKE_REDIS_PASSWORD": self.password,
            "SPOKE_REDIS_MASTER_NAME": GROUP,
            "SPOKE_REDIS_FIRST_MASTER": self.address("redis-master"),
            "SPOKE_REDIS_REPLICAS": self.address("redis-replica"),
            "SPOKE_REDIS_SENTINELS": ",".join(self.address(sentinel) for sentinel in self.sentinels),
            "SPOKE_ADDRESSES": " ".join(f"{other}:{inner[other]}={self.address(other)}" for other in self.ports),
        }
        if name in self.nodes:
            own = {
                "SPOKE_REDIS_PORT": str(self.ports[name]),
                "SPOKE_REDIS_ANNOUNCE": self.address(name),
                "SPOKE_REDIS_DATA_DIR": str(data),
            }
        else:
            own = {
                "SPOKE_SENTINEL_PORT": str(self.ports[name]),
                "SPOKE_SENTINEL_ANNOUNCE": self.address(name),
                "SPOKE_SENTINEL_QUORUM": "2",
                "SPOKE_SENTINEL_DOWN_AFTER_MS": str(down_after_ms),
                "SPOKE_SENTINEL_FAILOVER_TIMEOUT_MS": "4000",
                "SPOKE_SENTINEL_DATA_DIR": str(data),
            }
        return shared | own

    def client(self, name: str) -> Any:
        """A client that tries once: a test sees every answer, and the absence of one."""
        password = self.password if name in self.nodes else None
        once = Retry(NoBackoff(), 0)
        return Redis(port=self.ports[name], password=password, decode_responses=True, socket_timeout=5, retry=once)

    def role(self, name: str) -> str:
        """`master`, or `slave` with an established link; `slave (link down)` before that."""
        role = self.client(name).execute_command("ROLE")
        if role[0] == "slave" and role[3] != "connected":
            return "slave (link down)"
        return str(role[0])

    def master_by(self, sentinel: str) -> str:
        host, port = self.client(sentinel).execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", GROUP)
        return f"{host}:{port}"

    def quorum(self, sentinel: str) -> str:
        return str(self.client(sentinel).execute_command("SENTINEL", "CKQUORUM", GROUP))

    def wait_for_full_quorum(self, sentinel: str) -> None:
        """Sentinels that have just been started need a moment to hear of each other."""
        wait_until(lambda: self.quorum(sentinel).startswith("OK 3 usable Sentinels"), f"{sentinel} counts all three")

    def start(self, *names: str) -> None:
        for name in names or tuple(self.ports):
            self.services[name].start()

    def wait_for_roles(self, **roles: str) -> None:
        for name, role in roles.items():
            node = name.replace("_", "-")
            wait_until(lambda node=node, role=role: self.role(node) == role, f"{node} is {role}", 60)  # type: ignore[misc]

    def stop(self, number: signal.Signals = signal.SIGKILL, *names: str) -> None:
        for name in names or tuple(self.ports):
            self.services[name].stop(number)

    def fail_over(self) -> None:
        """Kills the first master and waits until every Sentinel names the other node."""
        self.stop(signal.SIGKILL, "redis-master")
        new = self.address("redis-replica")
        for sentinel in self.sentinels:
            wait_until(lambda one=sentinel: self.master_by(one) == new, f"{sentinel} names the new master")  # type: ignore[misc]

    def settled(self) -> bool:
        """One master, one replica that follows it, and all Sentinels name that master."""
        roles = {self.role(name): name for name in self.nodes}
        if set(roles) != {"master", "slave"}:
            return False
        return {self.master_by(sentinel) for sentinel in self.sentinels} == {self.address(roles["master"])}

    def master(self) -> str:
        """The node that says it is the master, once everybody agrees."""
        wait_until(self.settled, "one master, one replica, and Sentinels that agree", 60)
        return next(name for name in self.nodes if self.role(name) == "master")

    def watched(self) -> Any:
        return watching({name: lambda name=name: self.client(name) for name in self.nodes})  # type: ignore[misc]

    def roles_seen(self, name: str, until: str, deadline_s: float = 20.0) -> tuple[list[str], float]:
        """Every role that a node says from its first answer on, and the seconds until the awaited one."""
        seen: list[str] = []
        began = time.monotonic()

        def ask() -> bool:
            seen.append(self.role(name))
            return seen[-1] == until

        wait_until(ask, f"{name} is {until}", deadline_s)
        return seen, time.monotonic() - began


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("redis")


@pytest.fixture
def stack(place: Path, tools: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Sentinels miss a node after three seconds, or after as many milliseconds as the test's parameter says.

    Sentinels reconnect once a second: with less, on a busy machine, they miss masters that live, and promote a replica in
    the middle of a test that counts on the first master.
    """
    stack = Stack(place, tools, ODD_PASSWORD, getattr(request, "param", 3000))
    try:
        yield stack
    finally:
        stack.stop()
        for name, service in stack.services.items():  # pytest shows it beside a test that failed
            print(f"== {name}\n{service.log[-4000:]}")


def test_a_first_start_is_ready_at_once_and_takes_any_password(stack: Stack) -> None:
    stack.start()
    for sentinel in stack.sentinels:
        stack.wait_for_full_quorum(sentinel)
    stack.wait_for_roles(redis_master="master", redis_replica="slave")

    master = stack.client("redis-master")
    assert master.set("version:m:1", "bytes")
    assert master.execute_command("WAIT", 1, 4000) == 1
    assert stack.client("redis-replica").get("version:m:1") == "bytes"
    limit = master.execute_command("CONFIG", "GET", "maxmemory")
    assert list(limit.values() if isinstance(limit, dict) else limit)[-1] == str(64 * 1024 * 1024)
    for name, service in stack.services.items():
        file = "redis.conf" if name in stack.nodes else "sentinel.conf"
        assert stat.S_IMODE((service.folder / "data" / file).stat().st_mode) == 0o600
        assert stack.password not in Path(f"/proc/{service.process.pid}/cmdline").read_text()  # type: ignore[union-attr]


def test_an_old_master_comes_back_as_replica_without_ever_saying_master(stack: Stack) -> None:
    stack.start()
    stack.wait_for_roles(redis_master="master", redis_replica="slave")
    master = stack.client("redis-master")
    assert master.set("version:m:1", "bytes")
    assert master.execute_command("WAIT", 1, 4000) == 1
    stack.fail_over()

    stack.start("redis-master")
    seen, _ = stack.roles_seen("redis-master", "slave")
    assert "master" not in seen
    assert stack.client("redis-replica").get("version:m:1") == "bytes"

    # Everything dies at once and comes back at once: the roles are those before, not those of the labels.
    stack.stop(signal.SIGKILL)
    stack.start()
    seen, _ = stack.roles_seen("redis-master", "slave")
    assert "master" not in seen
    stack.wait_for_roles(redis_replica="master")
    for sentinel in stack.sentinels:
        stack.wait_for_full_quorum(sentinel)
        assert stack.master_by(sentinel) == stack.address("redis-replica")

    # Without a single Sentinel the nodes go by their own files.
    stack.stop(signal.SIGKILL)
    stack.start(*stack.nodes)
    stack.wait_for_roles(redis_master="slave", redis_replica="master")
    # The other one may go by this one, which is up before its patience has ended.
    assert "no Sentinel answered" in stack.services["redis-replica"].log


@pytest.mark.timeout(400)
@pytest.mark.parametrize("phases_s", [(0.0, 1.5, 2.7), (3.0, 3.2, 3.5), (3.8, 4.2, 4.6)], ids=str)
def test_a_master_that_dies_and_returns_at_any_moment_of_a_failover_is_never_a_second_one(
    phases_s: tuple[float, ...], stack: Stack
) -> None:
    """The Sentinels miss a master after 3 s, then vote, promote and tell each other: about a second more."""
    stack.start()
    for after_s in phases_s:
        old = stack.master()
        key = f"version:m:{after_s}"
        client = stack.client(old)
        assert client.set(key, "bytes")
        assert client.execute_command("WAIT", 1, 4000) == 1
        with stack.watched() as watch:
            stack.stop(signal.SIGKILL, old)
            time.sleep(after_s)  # the moment is the subject, not something waited for
            stack.start(old)
            new = stack.master()
        assert watch.two_masters() == []
        assert watch.roles_of(old)[-1] == "slave"
        assert new != old
        assert stack.client(new).get(key) == "bytes"


@pytest.mark.timeout(200)
@pytest.mark.parametrize("after_s", [0.0, 3.2, 6.0])
def test_two_nodes_that_die_and_return_together_end_as_one_master(after_s: float, stack: Stack) -> None:
    stack.start()
    stack.master()
    with stack.watched() as watch:
        stack.stop(signal.SIGKILL, *stack.nodes)
        time.sleep(after_s)  # the moment is the subject, not something waited for
        stack.start(*stack.nodes)
        stack.master()
    assert watch.two_masters() == []


@pytest.mark.parametrize("stack", [600_000], indirect=True)
def test_a_replica_takes_over_at_once_when_its_master_comes_back(stack: Stack) -> None:
    """Not only when the Sentinels miss the old master, nor only after the time that they leave between two failovers."""
    stack.start()
    for _ in range(2):
        old = stack.master()
        stack.stop(signal.SIGKILL, old)
        stack.start(old)
        assert stack.master() != old
        assert "to make a living replica the master" in stack.services[old].log


def test_a_master_whose_replica_is_gone_is_master_again_at_once(stack: Stack) -> None:
    stack.start()
    assert stack.master() == "redis-master"
    stack.stop(signal.SIGKILL)
    stack.start("redis-master", *stack.sentinels)
    stack.wait_for_roles(redis_master="master")


@pytest.mark.parametrize("rest", ["everybody", "the other node", "the Sentinels"])
def test_the_label_does_not_count_for_a_node_that_lost_its_data(rest: str, stack: Stack) -> None:
    stack.start()
    stack.master()
    stack.fail_over()
    if rest == "the other node":
        stack.stop(signal.SIGKILL, *stack.sentinels)
    if rest == "the Sentinels":
        stack.stop(signal.SIGKILL, "redis-replica")
    shutil.rmtree(stack.services["redis-master"].folder / "data")
    with stack.watched() as watch:
        stack.start("redis-master")
        if rest == "the Sentinels":
            asking = stack.services["redis-master"].folder / "run"
            wait_until(lambda: list(asking.glob("answers.*/*")), "the node without data asks the others")
            stack.start("redis-replica")
        stack.wait_for_roles(redis_replica="master", redis_master="slave")
        wait_until(lambda: watch.roles_of("redis-master"), "the watch has met it too")
    assert set(watch.roles_of("redis-master")) == {"slave"}


def test_a_stale_sentinel_does_not_win_against_two_that_know_better(stack: Stack) -> None:
    stack.start()
    stack.wait_for_roles(redis_master="master", redis_replica="slave")
    stale = stack.services["redis-sentinel-1"].folder / "data" / "sentinel.conf"
    before = stale.read_text()
    stack.fail_over()
    stack.stop(signal.SIGKILL, "redis-sentinel-1")
    stale.write_text(before)

    with ThreadPoolExecutor(1) as watcher:
        stack.start("redis-master", "redis-sentinel-1")
        seen, _ = watcher.submit(stack.roles_seen, "redis-master", "slave").result()
    assert "master" not in seen


def test_a_frozen_sentinel_neither_delays_the_start_nor_leaves_a_process(stack: Stack) -> None:
    stack.start()
    stack.wait_for_roles(redis_master="master", redis_replica="slave")
    stack.services["redis-sentinel-2"].send(signal.SIGSTOP)
    stack.stop(signal.SIGTERM, "redis-replica")
    stack.start("redis-replica")
    stack.wait_for_roles(redis_replica="slave")
    assert "it says that it is the master" in stack.services["redis-replica"].log
    assert not list((stack.services["redis-replica"].folder / "run").iterdir())


def test_changed_settings_take_effect_at_the_next_start(stack: Stack) -> None:
    stack.start()
    stack.wait_for_roles(redis_master="master", redis_replica="slave")
    stack.fail_over()
    stack.stop()
    stack.password = "another one"
    for name, service in stack.services.items():
        changed = {"SPOKE_REDIS_PASSWORD": stack.password}
        if name in stack.sentinels:
            changed["SPOKE_SENTINEL_DOWN_AFTER_MS"] = "2500"
        service.environment = {**service.environment, **changed}
    stack.start()
    stack.wait_for_roles(redis_replica="master", redis_master="slave")
    # Each waits 15 % longer than the one before it, so that they do not all stand for election at once.
    for sentinel, down_after_ms in zip(stack.sentinels, ("2500", "2875", "3250"), strict=True):
        wait_until(lambda one=sentinel: stack.quorum(one).startswith("OK"), f"{sentinel} has quorum")  # type: ignore[misc]
        fields = stack.client(sentinel).execute_command("SENTINEL", "MASTER", GROUP)
        assert str(fields["down-after-milliseconds"]) == down_after_ms
        assert stack.master_by(sentinel) == stack.address("redis-replica")


@pytest.mark.parametrize("kind", ["redis", "sentinel"])
def test_a_password_with_a_line_break_is_refused_in_one_line(kind: str, stack: Stack) -> None:
    service = next(one for one in stack.services.values() if one.kind == kind)
    service.environment = {**service.environment, "SPOKE_REDIS_PASSWORD": "two\nlines"}
    service.start()
    assert service.wait() == 1
    assert len(service.log.splitlines()) == 1
    assert re.search("must not contain a line break", service.log)
