"""Redis nodes and Sentinels are judged together, over their own protocol; these servers say what the test wants."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from spokectl.errors import ExitCode, OutcomeUnknown, Refused
from spokectl.model import HealthProbe, Inspection, Kind, Port, RunState, Service, Stack
from spokectl.operations.context import Context
from spokectl.operations.health import observe
from spokectl.operations.moves import MoveRequest
from spokectl.operations.readiness import last_look, wait_until_ready
from spokectl.operations.redis.moves import failover, switchover
from spokectl.settings import StackState
from spokectl.wait import Deadline
from tests.unit.test_readiness import SeenRuntime

pytestmark = pytest.mark.timeout(120)

NODES = ("redis-master", "redis-replica")
SENTINELS = ("redis-sentinel-1", "redis-sentinel-2", "redis-sentinel-3")


class Said:
    """Who is master by the nodes' and by the Sentinels' words; `rounds` counts the questions to the first Sentinel.

    `named_by`: what single Sentinels say instead. `silent` are those who hang up on everybody.
    """

    def __init__(self) -> None:
        self.masters = {"redis-master"}
        self.named = "redis-master"
        self.named_by: dict[str, str] = {}
        self.silent: set[str] = set()
        self.rounds = 0
        self.info = "redis_version:8.0.2\r\n"
        self.at_round: Callable[[int], None] = lambda _: None

    def answer(self, name: str, words: list[str]) -> bytes:
        match [word.upper() for word in words]:
            case ["ROLE"] if name in self.masters:
                return b"*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n"
            case ["ROLE"]:
                return b"*5\r\n$5\r\nslave\r\n" + bulk(self.named) + b":6379\r\n$9\r\nconnected\r\n:1\r\n"
            case ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", _]:
                if name == SENTINELS[0]:
                    self.rounds += 1
                    self.at_round(self.rounds)
                return b"*2\r\n" + bulk(self.named_by.get(name, self.named)) + bulk("6379")
            case ["SENTINEL", "CKQUORUM", _]:
                return b"+OK 3 usable Sentinels\r\n"
            case ["INFO"]:
                return bulk(self.info)
            case ["SCAN", *_]:  # two keys, and always more to come
                return b"*2\r\n" + bulk("7") + b"*2\r\n" + bulk("version:a:1") + bulk("version:a:2")
            case ["UNLINK", *keys]:
                return b":%d\r\n" % len(keys)
            case _:
                return b"+OK\r\n"


def bulk(text: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text.encode())


@contextmanager
def serving(name: str, said: Said) -> Iterator[int]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while name not in said.silent and (count := self.rfile.readline()[1:].strip()):
                words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2].decode() for _ in range(int(count))]
                self.wfile.write(said.answer(name, words))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def context(tmp_path: Path, said: Said) -> Iterator[Context]:
    with ExitStack() as running:
        services = {}
        for name in (*NODES, *SENTINELS):
            kind, target = (Kind.REDIS, 6379) if name in NODES else (Kind.SENTINEL, 26379)
            ports = (Port("127.0.0.1", running.enter_context(serving(name, said)), target),)
            services[name] = Service(name, kind, "", HealthProbe(kind, target), {}, name, ports)
        seen = {name: Inspection(name, RunState.RUNNING, pid=1) for name in services}
        stack = Stack("second", (tmp_path / "stack.yml",), services, (), {})
        yield Context(stack, StackState("second", tmp_path), SeenRuntime([seen]))


def reasons(context: Context, *names: str) -> dict[str, str]:
    return {status.service: status.reason for status in observe(context, names or context.stack.services) if not status.ok}


def test_a_stack_that_agrees_is_healthy_and_says_who_follows_whom(context: Context) -> None:
    statuses = {status.service: status for status in observe(context, context.stack.services)}
    assert {status.health for status in statuses.values()} == {"healthy"}
    assert statuses["redis-replica"].master == "redis-master"
    assert statuses["redis-sentinel-2"].master == "redis-master"


def test_a_master_that_the_sentinels_do_not_name_is_unhealthy_even_when_it_alone_is_asked_about(
    context: Context, said: Said
) -> None:
    said.named = "redis-replica"
    wrong = "says master, but the Sentinels name redis-replica"
    assert reasons(context, "redis-master") == {"redis-master": wrong}


def test_a_server_that_is_no_redis_is_called_what_it_is(context: Context, said: Said) -> None:
    assert {status.version for status in observe(context, context.stack.services)} == {"8.0.2"}
    said.info = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\n"
    assert {status.version for status in observe(context, context.stack.services)} == {"8.1.1 (Valkey)"}


def test_two_masters_are_both_unhealthy(context: Context, said: Said) -> None:
    said.masters = set(NODES)
    wrong = "redis-master and redis-replica both say master; the Sentinels name redis-master"
    assert reasons(context) == dict.fromkeys(NODES, wrong)


def test_a_wait_lasts_until_nodes_and_sentinels_agree(context: Context, said: Said) -> None:
    """A failover of which the first answers told: the nodes had changed roles, the Sentinels had not yet heard."""
    said.masters = {"redis-replica"}

    def hear_of_it(rounds: int) -> None:
        if rounds == 3:
            said.named = "redis-replica"

    said.at_round = hear_of_it
    wait_until_ready(context, list(context.stack.services), Deadline(60), lambda *_: None)
    assert said.rounds >= 3
    assert reasons(context) == {}


def test_a_wait_for_an_agreement_that_does_not_come_ends_with_the_reason(context: Context, said: Said) -> None:
    said.masters = set(NODES)
    with pytest.raises(OutcomeUnknown, match="both say master"):
        wait_until_ready(context, list(context.stack.services), Deadline(1), lambda *_: None)


def test_sentinels_that_choose_another_master_after_the_wait_are_waited_for_again(context: Context, said: Said) -> None:
    """The Sentinels name the replica first, which says master only later: nobody agrees at the first of the last looks."""
    said.named = "redis-replica"

    def become_master(rounds: int) -> None:
        if rounds == 3:
            said.masters = {"redis-replica"}

    said.at_round = become_master
    statuses = last_look(context, list(context.stack.services), Deadline(60), lambda *_: None)
    assert [status.reason for status in statuses if not status.ok] == []
    assert said.rounds >= 3


def test_a_last_look_at_the_deadline_gives_what_it_saw(context: Context, said: Said) -> None:
    said.masters = set(NODES)
    statuses = last_look(context, list(context.stack.services), Deadline(0), lambda *_: None)
    assert {status.service for status in statuses if not status.ok} == set(NODES)


@pytest.mark.parametrize("operation", [switchover, failover])
@pytest.mark.parametrize(
    ("named_by", "silent", "found"),
    [
        ({"redis-sentinel-2": "redis-replica"}, {"redis-sentinel-3"}, "redis-master, redis-replica"),
        ({}, set(SENTINELS), "none answers"),
    ],
)
def test_without_a_majority_of_the_sentinels_the_master_role_stays(
    context: Context,
    said: Said,
    operation: Callable[..., object],
    named_by: dict[str, str],
    silent: set[str],
    found: str,
) -> None:
    said.named_by, said.silent = named_by, silent
    context.state.ensure()
    with pytest.raises(Refused) as caught:
        operation(context, MoveRequest(), lambda *_: None)
    assert (caught.value.code, caught.value.exit_code) == ("no_quorum", ExitCode.REFUSED)
    assert caught.value.message == f"nothing was changed: no majority of the Sentinels names a master ({found})"
    assert caught.value.actions == ("spokectl redis sentinels --stack second", "spokectl up --stack second")


def test_a_silent_master_that_nobody_else_misses_is_not_failed_over(context: Context, said: Said) -> None:
    said.silent = {"redis-master"}
    context.state.ensure()
    with pytest.raises(Refused) as caught:
        failover(context, MoveRequest(), lambda *_: None)
    assert (caught.value.code, caught.value.exit_code) == ("master_alive", ExitCode.REFUSED)
    assert caught.value.message == (
        "nothing was changed: redis-master is silent, but no Sentinel misses it and redis-replica is linked to it"
    )
    assert caught.value.actions == (
        "spokectl logs redis-master --stack second",
        "spokectl kill redis-master --stack second",
    )
