"""Whose a port is, while processes of ours are still ending. The listeners are this test's own."""

import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spokectl.errors import ExitCode, Refused
from spokectl.model import HealthProbe, Kind, Port, Service, Stack
from spokectl.runtime.ports import Wanted, require_free, up_elsewhere


def stack_at(*defaults: int) -> Stack:
    """A stack whose ports can be moved, with these defaults."""
    ports = tuple(Port("127.0.0.1", default, 8080) for default in defaults)
    service = Service("spoke-1", Kind.SPOKE, "", HealthProbe("http", 8080), {}, "", ports)
    settings = {f"SPOKE_PORT_{default}": default for default in defaults}
    return Stack("spoke", (Path("stack.yml"),), {"spoke-1": service}, (), {}, settings)


STACK = stack_at()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def wanted(listener: socket.socket) -> list[Wanted]:
    port = listener.getsockname()[1]
    return [Wanted("spoke-1", Port("127.0.0.1", port, 8080))]


def test_a_port_of_our_own_is_no_obstacle_and_one_of_a_stranger_is(listener: socket.socket) -> None:
    require_free(wanted(listener), lambda: {os.getpid()}, stack=STACK)
    with pytest.raises(Refused) as caught:
        require_free(wanted(listener), set, stack=STACK)
    assert caught.value.code == "port_taken"
    assert f"pid {os.getpid()}" in caught.value.message


def test_who_is_seen_to_be_ours_only_at_the_second_look_is_no_stranger(listener: socket.socket) -> None:
    # A killed `down` goes on stopping: the master that held the port has ended since, and a worker of it has it now.
    looks = [set[int](), {os.getpid()}]
    require_free(wanted(listener), lambda: looks.pop(0), stack=STACK)
    assert looks == []


def test_a_port_that_was_given_back_meanwhile_is_free_although_a_connection_to_it_is_open(listener: socket.socket) -> None:
    # PostgreSQL's listener ends before its last connections do, and one of these is taken for the holder then.
    wish = wanted(listener)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with socket.create_connection(listener.getsockname()), listener.accept()[0]:

        def nobody() -> set[int]:
            listener.close()
            return set()

        require_free(wish, nobody, stack=STACK)


def test_every_port_that_is_taken_has_its_line_with_who_holds_it(listener: socket.socket) -> None:
    with socket.socket() as another:
        another.bind(("127.0.0.1", 0))
        another.listen()
        wishes = [*wanted(listener), Wanted("minio", Port("127.0.0.1", another.getsockname()[1], 9000))]
        with pytest.raises(Refused) as caught:
            require_free(wishes, set, stack=STACK)
    head, *lines = caught.value.message.splitlines()
    assert head == "2 ports are taken:"
    assert [re.split(r" is held by .* \(pid ", line)[0] for line in lines] == [f"  {wish}" for wish in wishes]
    assert caught.value.details["ports"] == [
        {"port": wish.port.published, "service": wish.service, "pid": os.getpid(), "holder": line.split(" held by ")[1]}
        for wish, line in zip(wishes, lines, strict=True)
    ]


def test_the_offset_that_is_advised_is_one_at_which_all_ports_are_free(listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    # At the first offset that comes to mind one of the two is taken.
    defaults = (taken - 1_000, taken - 1_001)
    (command,) = up_elsewhere(stack_at(*defaults))
    offset = int(command.removeprefix("spokectl up --port-offset "))
    assert offset > 1_000
    for default in defaults:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", default + offset))


def test_no_offset_is_advised_where_there_is_none() -> None:
    assert up_elsewhere(stack_at(65_000)) == []
    assert up_elsewhere(STACK) == []


class OrdinaryUsersSocket(socket.socket):
    """The kernel's answer to a user who is not root, whoever runs the test."""

    def bind(self, address: Any) -> None:
        if address[1] < 1024:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        super().bind(address)


@pytest.mark.parametrize(
    ("stack", "action"),
    [
        (stack_at(80), r"spokectl up --port-offset \d+000 --stack second"),
        # No setting moves ports that the stack file gives as numbers.
        (stack_at(), r"publish ports of 1024 and above in stack\.yml"),
    ],
)
def test_a_port_that_this_user_may_not_open_is_refused_with_a_way_around_it(
    stack: Stack, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", OrdinaryUsersSocket)
    wish = Wanted("nginx", Port("127.0.0.1", 80, 8080))
    with pytest.raises(Refused) as caught:
        require_free([wish], set, stack=replace(stack, name="second"))
    assert (caught.value.code, caught.value.exit_code) == ("port_forbidden", ExitCode.REFUSED)
    assert caught.value.message == "this user may not listen on port 80 (nginx): ports below 1024 are root's"
    assert [bool(re.fullmatch(action, said)) for said in caught.value.actions] == [True]


def test_another_stack_that_holds_a_port_is_named_with_the_command_that_ends_it(tmp_path: Path) -> None:
    listening = "import signal, socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    listening += "; signal.pause()"
    # A supervisord is known by its last two words: any program will do that is started with them and starts another.
    supervisor = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
    configuration = tmp_path / "second" / "supervisord.conf"
    words = [sys.executable, "-c", supervisor, listening, "-c", str(configuration)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        try:
            with pytest.raises(Refused) as caught:
                require_free([Wanted("spoke-1", Port("127.0.0.1", port, 8080))], set, stack=STACK)
        finally:
            os.killpg(other.pid, 9)
    assert "of the stack second" in caught.value.message
    assert caught.value.actions == ("spokectl down --stack second",)
