"""The local runtime after its supervisor, or everything, was killed from outside."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from spokectl.errors import NotFound, OutcomeUnknown, Refused
from spokectl.model import RunState
from spokectl.operations.services import act
from spokectl.runtime import ports
from spokectl.runtime.local import processes
from spokectl.runtime.local.places import Places
from spokectl.settings import StackRecord
from tests.contract.runtime.tiny import WITHIN_S, TinyStack, is_alive, service, tiny_stack, wait_until_gone
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[TinyStack]:
    first, second = free_ports(2)
    with tiny_stack("local", tmp_path, {"one": service(first), "two": service(second)}) as stack:
        stack.up()
        stack.wait_for_answers("one", "two")
        yield stack


def supervisor_pid(stack: TinyStack) -> int:
    found = processes.read_pid_file(Places(stack.state).supervisor_pid)
    assert found is not None
    return found[0]


def kill_supervisor(stack: TinyStack) -> None:
    pid = supervisor_pid(stack)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)


def test_servers_of_a_lost_supervisor_are_seen_and_said_to_be_orphans(pair: TinyStack) -> None:
    pid = pair.ask("one")["pid"]
    kill_supervisor(pair)
    pair.runtime.pause(["two"])
    seen = pair.inspect("one")
    assert (seen.state, seen.pid) == (RunState.RUNNING, pid)
    assert "supervisor is gone" in seen.detail
    assert pair.inspect("two").state is RunState.PAUSED
    with pytest.raises(Refused) as caught:
        pair.start(["one"])
    assert caught.value.code == "no_supervisor"
    assert all(name in caught.value.message for name in ("one", "two"))
    assert caught.value.actions[0].startswith("spokectl up --stack tiny")


def test_a_command_runs_in_an_orphan_and_what_does_not_run_is_named(pair: TinyStack) -> None:
    kill_supervisor(pair)
    pair.kill(["two"])
    invocation = pair.runtime.invocation("one", ["sh", "-c", 'echo "$TINY_PORT"'])
    done = subprocess.run(invocation.argv, env=invocation.environment, capture_output=True, text=True, timeout=WITHIN_S)
    assert done.stdout.strip() == str(pair.port("one"))
    with pytest.raises(NotFound, match="not running: two, and the stack's supervisor is gone") as caught:
        pair.runtime.invocation("two", ["true"])
    assert caught.value.actions == ("spokectl up --stack tiny",)


def test_a_restart_that_could_not_start_again_stops_nothing(pair: TinyStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOKECTL_STATE_DIR", str(pair.state.folder.parent))
    pair.state.write_record(StackRecord("local", str(pair.stack.files[0]), ""))
    pid = pair.ask("one")["pid"]
    kill_supervisor(pair)
    with pytest.raises(Refused) as caught:
        act("tiny", None, "restart", ["one"], WITHIN_S, lambda *_: None)
    assert caught.value.code == "no_supervisor"
    assert pair.ask("one")["pid"] == pid


def test_bring_up_takes_over_what_a_lost_supervisor_left_behind(pair: TinyStack) -> None:
    before = pair.wait_for_answers("one", "two")
    kill_supervisor(pair)
    pair.runtime.pause(["two"])
    pair.up()
    after = pair.wait_for_answers("one", "two")
    for name in ("one", "two"):
        assert after[name]["pid"] != before[name]["pid"]
        assert not is_alive(before[name]["pid"])
        assert not is_alive(before[name]["child"])
    assert sum(line.endswith("stopped in good order") for line in pair.log("one", "two")) == 2
    assert any("supervisor was gone" in notice and "started again" in notice for notice in pair.notices)
    pair.tell("one", "crash 1")
    wait_until_gone(after["one"]["pid"])
    pair.wait_for_answer("one")


def test_bring_up_takes_over_children_whose_root_was_killed_too(pair: TinyStack) -> None:
    before = pair.ask("one")
    kill_supervisor(pair)
    os.kill(before["pid"], signal.SIGKILL)
    wait_until_gone(before["pid"])
    assert is_alive(before["child"])
    pair.up()
    pair.wait_for_answer("one")
    assert not is_alive(before["child"])


def test_bring_up_after_a_kill_of_everything_brings_everything_back(pair: TinyStack) -> None:
    before = pair.wait_for_answers("one", "two")
    pids = [supervisor_pid(pair), *(answer[key] for answer in before.values() for key in ("pid", "child"))]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until_gone(*pids)
    assert pair.inspect("one").state is RunState.ABSENT
    pair.up()
    assert pair.wait_for_answer("one")["pid"] not in pids


def test_servers_go_on_and_keep_their_logs_without_a_supervisor(pair: TinyStack) -> None:
    pid = pair.ask("one")["pid"]
    kill_supervisor(pair)
    pair.ask("one", "say written without a supervisor")
    assert pair.log("one", tail=1)[0].endswith("written without a supervisor")
    assert pair.ask("one")["pid"] == pid


def test_stop_and_kill_reach_orphans(pair: TinyStack) -> None:
    answers = pair.wait_for_answers("one", "two")
    kill_supervisor(pair)
    pair.stop(["one"])
    pair.kill(["two"])
    for answer in answers.values():
        assert not is_alive(answer["pid"])
        assert not is_alive(answer["child"])


def test_a_deadline_ends_the_wait_for_orphans_and_kills_none(tmp_path: Path) -> None:
    stubborn = service(free_ports(1)[0], environment={"STUBBORN": "1"}, stop_grace_period="2s")
    with tiny_stack("local", tmp_path, {"one": stubborn}) as stack:
        stack.up()
        pid = stack.wait_for_answer("one")["pid"]
        kill_supervisor(stack)
        with pytest.raises(OutcomeUnknown) as stopping:
            stack.stop(["one"], within_s=0.3)
        with pytest.raises(OutcomeUnknown) as tearing_down:
            stack.down(within_s=0.3)
        for error in (stopping.value, tearing_down.value):
            assert error.details["services"] == ["one"]
        assert is_alive(pid)
        stack.stop(["one"])
        assert not is_alive(pid)


def test_tear_down_finds_the_servers_of_a_lost_supervisor(pair: TinyStack) -> None:
    answers = pair.wait_for_answers("one", "two")
    kill_supervisor(pair)
    pair.down()
    for answer in answers.values():
        assert not is_alive(answer["pid"])
    assert not pair.is_listening("one")
    assert not Places(pair.state).run.exists()


def test_a_supervisor_that_hangs_is_replaced(pair: TinyStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spokectl.runtime.local.supervisor._ANSWER_WITHIN_S", 0.5)
    hanging = supervisor_pid(pair)
    os.kill(hanging, signal.SIGSTOP)
    pair.up()
    pair.wait_for_answers("one", "two")
    assert not is_alive(hanging)


def test_a_process_that_got_the_id_of_a_dead_server_is_left_alone(pair: TinyStack) -> None:
    pair.down()
    places = Places(pair.state)
    places.ensure()
    stranger = os.getpid()
    for path in (places.pid_file("one"), places.supervisor_pid):
        path.write_text(f"{stranger} 0\n")
        long_ago = psutil.Process(stranger).create_time() - 1000
        os.utime(path, (long_ago, long_ago))
    assert pair.inspect("one").state is RunState.ABSENT
    pair.down()
    pair.up()
    pair.wait_for_answer("one")


@pytest.mark.parametrize("odd", ["a folder; with 100% odd 'characters'", "a" * 120])
def test_a_state_folder_may_have_any_name(tmp_path: Path, odd: str) -> None:
    with tiny_stack("local", tmp_path / odd, {"one": service(free_ports(1)[0])}) as stack:
        stack.up()
        answer = stack.wait_for_answer("one")
        assert odd in answer["environment"]["DATA"]
        run = Path(answer["environment"]["SPOKE_RUN_DIR"])
        assert run.is_dir()
        assert len(str(run)) < 80
        stack.down()
        assert not run.exists()


def test_a_foreign_folder_where_sockets_must_go_is_refused(tmp_path: Path) -> None:
    with tiny_stack("local", tmp_path / ("a" * 120), {"one": service(free_ports(1)[0])}) as stack:
        run = Places(stack.state).run
        run.symlink_to(tmp_path)
        try:
            with pytest.raises(Refused) as caught:
                stack.up()
        finally:
            run.unlink()
    assert caught.value.code == "unsafe_run_dir"


def test_nothing_of_the_shell_that_ran_up_reaches_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of somebody")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    with tiny_stack("local", tmp_path, {"one": service(free_ports(1)[0])}) as stack:
        stack.up()
        environment = stack.wait_for_answer("one")["environment"]
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert environment["TZ"] == "Europe/Berlin"
    assert environment["SPOKE_PYTHON"] == sys.executable


def test_a_port_that_this_machine_does_not_have_is_refused(tmp_path: Path) -> None:
    away = service(1) | {"ports": [f"192.0.2.1:{free_ports(1)[0]}:8080"]}
    with tiny_stack("local", tmp_path, {"one": away}) as stack, pytest.raises(Refused) as caught:
        stack.up()
    assert caught.value.code == "bad_bind_address"


def test_a_connection_that_still_closes_does_not_take_a_port(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server, _ = listener.accept()
            server.close()
            client.recv(1)
    with tiny_stack("local", tmp_path, {"one": service(port)}) as stack:
        wanted = [ports.Wanted("one", stack.stack.services["one"].ports[0])]
        ports.require_free(wanted, set, stack=stack.stack)
