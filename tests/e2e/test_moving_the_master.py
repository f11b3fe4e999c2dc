"""The Redis master role is moved under writers: planned, forced, and with the tool killed at every step."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from spokectl.operations.redis.tables import BY_HAND, COORDINATED, LOST
from tests.e2e.clients import Reader, Writer, create
from tests.e2e.conftest import Tool, eventually
from tests.e2e.test_moving_the_primary import answer_of, kill_at, well

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

NODES = ("redis-master", "redis-replica")
PASSWORD = "spoke-redis-password"


class Setter(threading.Thread):
    """Writes one key after the other to whichever node is master, and keeps those that were acknowledged."""

    def __init__(self, tool: Tool) -> None:
        super().__init__(daemon=True)
        self._ports = [tool.port(6379), tool.port(6380)]
        self.acknowledged: list[str] = []
        self._over = threading.Event()

    def run(self) -> None:
        clients = [redis.Redis(port=port, password=PASSWORD, socket_timeout=5) for port in self._ports]
        step = 0
        while not self._over.is_set():
            for client in clients:
                step += 1
                key = f"moved:{id(self)}:{step}"
                with contextlib.suppress(redis.RedisError):
                    # A replica refuses it; a paused or dead master does not answer.
                    if client.set(key, step):
                        self.acknowledged.append(key)

    def stop(self) -> None:
        self._over.set()
        self.join(timeout=90)


def roles(tool: Tool) -> tuple[str, str]:
    found = tool.roles()
    return found[NODES[0]], found[NODES[1]]


def kept(tool: Tool, keys: list[str]) -> list[str]:
    """Those of the keys that the present master has."""
    port = tool.port((6379, 6380)[roles(tool).index("master")])
    client = redis.Redis(port=port, password=PASSWORD, socket_timeout=10)
    return [key for key, value in zip(keys, client.mget(keys), strict=True) if value is not None]


@contextlib.contextmanager
def used(tool: Tool) -> Iterator[None]:
    """The registry's clients meanwhile: none of their requests fails because of Redis."""
    create(tool.url(), f"used-{time.monotonic_ns()}")
    clients: list[Reader | Writer] = [Reader(f"{tool.url()}/modules"), Writer(tool.url(), time.monotonic_ns())]
    with contextlib.ExitStack() as stack:
        for client in clients:
            client.start()
            stack.callback(client.stop)
        yield
    assert isinstance(clients[0], Reader)
    assert isinstance(clients[1], Writer)
    assert (clients[0].failures, clients[1].refused) == ([], [])
    assert clients[0].answers > 0


def test_a_switchover_loses_no_acknowledged_write_and_no_request_fails(runtime: str, make_tool: Callable[..., Tool]) -> None:
    tool = make_tool(runtime=runtime)
    tool.up_in_first_roles()
    with used(tool):
        for new, expected in (("redis-replica", ("replica", "master")), ("redis-master", ("master", "replica"))):
            setter = Setter(tool)
            setter.start()
            try:
                eventually(lambda s=setter: len(s.acknowledged) > 100, "keys are written")  # type: ignore[misc]
                moved = tool.json("switchover", "redis", "--to", new)
                count = len(setter.acknowledged)
                eventually(lambda s=setter, n=count: len(s.acknowledged) > n + 100, "and again")  # type: ignore[misc]
            finally:
                setter.stop()
            assert (moved["outcome"], moved["new"]) == ("moved", new)
            assert roles(tool) == expected
            assert kept(tool, setter.acknowledged) == setter.acknowledged
            eventually(lambda: well(tool), "everything is well")


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_lost_master_is_replaced_and_comes_back_as_replica(
    fault: str, runtime: str, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime=runtime)
    # The Sentinels would be longer about it than this test: what moves the role is the command.
    tool.up()
    tool.ok("config", "set", "SPOKE_SENTINEL_DOWN_AFTER_MS=60000")
    tool.up()
    old = NODES[roles(tool).index("master")]
    with used(tool):
        tool.ok(fault, old)
        moved = tool.json("failover", "redis")
        assert (moved["outcome"], moved["old"]) == ("moved", old)
        assert len(moved["signs_of_death"]) == 2
        assert sorted(roles(tool)) == ["master", "replica"]
        eventually(lambda: well(tool), "everything is well", timeout_s=120)


def test_what_must_not_move_is_refused(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up_in_first_roles()
    planned = tool.json("failover", "redis", "--dry-run")
    assert (planned["operation"], planned["because"]) == (
        "switchover redis",
        "redis-master is master and well: it is switched over",
    )
    for words, code, error in (
        (["switchover", "redis", "--to", "redis-master"], 5, "already_master"),
        (["switchover", "redis", "--to", "nosuch"], 4, "unknown_node"),
    ):
        done = tool.run(*words, "--json")
        assert (done.returncode, answer_of(done)["error"]["code"]) == (code, error), words
    tool.ok("stop", "redis-replica")
    done = tool.run("switchover", "redis", "--json")
    assert (done.returncode, answer_of(done)["error"]["code"]) == (5, "precondition_failed")
    for words in (["failover", "redis"], ["failover", "redis", "--to", "redis-replica"]):
        done = tool.run(*words, "--json")
        error = answer_of(done)["error"]
        assert (done.returncode, error["code"]) == (5, "no_replica"), words
        assert error["actions"][0] == f"spokectl start redis-replica --stack {tool.stack}"
    assert roles(tool) == ("master", "")


def test_a_node_that_the_sentinels_have_replaced_is_brought_back(runtime: str, make_tool: Callable[..., Tool]) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    old = roles(tool).index("master")
    tool.ok("kill", NODES[old])
    eventually(lambda: roles(tool)[1 - old] == "master", "the Sentinels replace it", timeout_s=120)
    brought = tool.json("failover", "redis")
    assert (brought["outcome"], brought["old"], brought["new"]) == ("finished", NODES[old], NODES[1 - old])
    assert roles(tool)[1 - old] == "master"
    eventually(lambda: well(tool), "everything is well", timeout_s=120)


@contextlib.contextmanager
def nothing_lost(tool: Tool) -> Iterator[None]:
    """Keys are written meanwhile, before and after; the master has every acknowledged one at the end."""
    setter = Setter(tool)
    setter.start()
    try:
        eventually(lambda: len(setter.acknowledged) > 100, "keys are written")
        yield
        count = len(setter.acknowledged)
        eventually(lambda: len(setter.acknowledged) > count + 100, "and again")
    finally:
        setter.stop()
    lost = set(setter.acknowledged) - set(kept(tool, setter.acknowledged))
    assert not lost, f"{len(lost)} of {len(setter.acknowledged)}"


def test_killed_at_any_step_the_next_command_ends_it_with_one_master(runtime: str, make_tool: Callable[..., Tool]) -> None:
    tool = make_tool(runtime=runtime)
    # The Sentinels would be longer about it than the command, however slow the machine is.
    tool.up()
    tool.ok("config", "set", "SPOKE_SENTINEL_DOWN_AFTER_MS=60000")
    tool.up()
    planned = COORDINATED if runtime == "local" else BY_HAND
    kills = [("switchover", step.id, ("began", "done")[number % 2]) for number, step in enumerate(planned)]
    kills += [("failover", step.id, ("began", "done")[number % 2]) for number, step in enumerate(LOST)]
    with used(tool):
        for number, (operation, step, phase) in enumerate(kills):
            if operation == "failover":
                tool.ok("kill", NODES[roles(tool).index("master")])
            # A failover may lose what the replica had not received; a planned move, also one that is resumed, nothing.
            with nothing_lost(tool) if operation == "switchover" else contextlib.nullcontext():
                killed = kill_at(tool, step, phase, operation, "redis")
                assert killed.returncode == -9, (operation, step, phase, killed.stderr.decode())
                if phase == "began":
                    warnings = answer_of(tool.run("status", "--json"))["warnings"]
                    assert any(f"{operation} redis was broken off" in each for each in warnings), warnings
                done = tool.run(*(("switchover", "redis"), ("failover", "redis"), ("up",))[number % 3], "--json")
                where = (operation, step, phase, done.stdout.decode(), done.stderr.decode())
                assert done.returncode == 0, where
                assert sorted(roles(tool)) == ["master", "replica"], where
                assert not (tool.state / tool.stack / "underway.jsonl").exists(), where
            eventually(lambda: well(tool), f"all is well after {operation} {step} {phase}", timeout_s=120)
