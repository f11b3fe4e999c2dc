"""What every runtime promises about bringing a stack up, repairing it and taking it down."""

import os
import socket
from pathlib import Path

import pytest

from spokectl.errors import NotFound, OutcomeUnknown, Refused
from spokectl.model import RunState
from spokectl.wait import Deadline, wait_until
from tests.contract.runtime.conftest import MakeStack
from tests.contract.runtime.tiny import WITHIN_S, TinyStack, is_alive, job, service, wait_until_gone
from tests.ports import free_ports

pytestmark = pytest.mark.timeout(180)


def test_bring_up_starts_every_service_where_it_is_published(pair: TinyStack) -> None:
    for name in ("one", "two"):
        seen = pair.inspect(name)
        assert seen.state is RunState.RUNNING
        assert seen.pid is not None
        assert seen.started_at is not None
        assert pair.ask(name)["pid"] == seen.pid


def test_bring_up_of_a_healthy_stack_touches_nothing(pair: TinyStack) -> None:
    before = {name: pair.ask(name)["pid"] for name in ("one", "two")}
    pair.up()
    assert {name: pair.ask(name)["pid"] for name in ("one", "two")} == before


def test_bring_up_repairs_what_was_stopped_killed_or_paused(pair: TinyStack) -> None:
    healthy = pair.ask("two")["pid"]
    for damage in (pair.stop, pair.kill, pair.runtime.pause):
        damage(["one"])
        pair.up()
        pair.wait_for_answer("one")
        assert pair.inspect("one").state is RunState.RUNNING
    assert pair.ask("two")["pid"] == healthy


def test_bring_up_starts_again_what_a_killed_command_was_stopping(make_stack: MakeStack) -> None:
    stubborn = service(free_ports(1)[0], environment={"STUBBORN": "1"}, stop_grace_period="3s")
    stack = make_stack({"one": stubborn})
    stack.up()
    before = stack.wait_for_answer("one")["pid"]
    stop = stack.call_elsewhere("stop(['one'], deadline)")
    wait_until(lambda: None if stack.log("one")[-1].endswith("no") else "not asked yet", Deadline(WITHIN_S), what="stopping")
    stop.kill()
    stop.wait()
    stack.up()
    assert stack.wait_for_answer("one")["pid"] != before


def test_bring_up_of_some_services_starts_no_others(make_stack: MakeStack) -> None:
    first, second = free_ports(2)
    stack = make_stack({"one": service(first), "two": service(second)})
    stack.up("one")
    stack.wait_for_answer("one")
    assert stack.inspect("two").state is RunState.ABSENT
    stack.up("two")
    stack.wait_for_answer("two")


def test_bring_up_restarts_only_the_service_whose_description_changed(pair: TinyStack) -> None:
    before = {name: pair.ask(name)["pid"] for name in ("one", "two")}
    pair.services["one"]["environment"]["COLOUR"] = "green"
    pair.up()
    changed = pair.wait_for_answer("one")
    assert changed["pid"] != before["one"]
    assert changed["environment"]["COLOUR"] == "green"
    assert pair.ask("two")["pid"] == before["two"]
    assert any("one" in notice for notice in pair.notices)


def test_bring_up_starts_a_service_that_was_added_and_ends_one_that_was_removed(pair: TinyStack) -> None:
    untouched, removed = pair.ask("one")["pid"], pair.ask("two")["pid"]
    pair.services["three"] = service(free_ports(1)[0])
    del pair.services["two"]
    pair.up()
    pair.wait_for_answer("three")
    wait_until_gone(removed)
    assert pair.ask("one")["pid"] == untouched


def test_a_job_runs_once_for_each_bring_up_and_is_done(make_stack: MakeStack) -> None:
    stack = make_stack({"one": service(free_ports(1)[0]), "setup": job()})
    stack.up()
    done = stack.wait_for("setup", RunState.DONE)
    assert done.exit_code == 0
    stack.wait_for_answer("one")
    pid = stack.ask("one")["pid"]
    stack.up()
    stack.wait_for("setup", RunState.DONE)
    runs = Path(stack.ask("one")["environment"]["DATA"]) / "runs"
    assert runs.read_text().split() == ["ran", "ran"]
    assert stack.ask("one")["pid"] == pid


def test_a_job_that_fails_is_tried_again_until_it_succeeds(make_stack: MakeStack) -> None:
    stack = make_stack({"one": service(free_ports(1)[0]), "setup": job(environment={"NEEDS": "note"})})
    stack.up()
    waiting = stack.wait_for("setup", RunState.RESTARTING)
    assert waiting.exit_code == 7
    assert waiting.detail
    stack.wait_for_answer("one")
    stack.ask("one", "write now it can work")
    stack.wait_for("setup", RunState.DONE)


def test_a_job_that_is_not_to_be_restarted_fails_with_its_exit_code(make_stack: MakeStack) -> None:
    stack = make_stack({"setup": job(environment={"NEEDS": "note"}, restart="no")})
    stack.up()
    failed = stack.wait_for("setup", RunState.FAILED)
    assert failed.exit_code == 7


def test_tear_down_leaves_no_process_and_no_port_and_keeps_the_data(pair: TinyStack) -> None:
    answers = pair.wait_for_answers("one", "two")
    pair.ask("one", "write kept")
    pair.down()
    for answer in answers.values():
        assert not is_alive(answer["pid"])
        assert not is_alive(answer["child"])
    assert not pair.is_listening("one")
    assert pair.inspect("one").state is RunState.ABSENT
    pair.up()
    pair.wait_for_answer("one")
    assert (Path(pair.ask("one")["environment"]["DATA"]) / "note").read_text() == "kept"


def test_tear_down_with_volumes_deletes_the_data(pair: TinyStack) -> None:
    pair.ask("one", "write gone")
    note = Path(pair.ask("one")["environment"]["DATA"]) / "note"
    pair.down(volumes=True)
    assert not note.exists()


def test_tear_down_stops_in_good_order_and_keeps_the_logs_where_it_says_so(pair: TinyStack) -> None:
    pair.stop(["one", "two"])
    assert any(line.endswith("stopped in good order") for line in pair.log("one"))
    pair.down()
    assert bool(pair.log("one")) is pair.runtime.capabilities.keeps_logs


def test_tear_down_lets_servers_end_in_good_order_and_names_what_ran(pair: TinyStack) -> None:
    pair.stop(["two"])
    assert pair.down() == ["one"]
    pair.up()
    data = Path(pair.wait_for_answer("one")["environment"]["DATA"])
    assert (data / "ended").read_text() == "in good order"


def test_tear_down_ends_at_its_deadline_naming_what_runs_and_can_be_repeated(make_stack: MakeStack) -> None:
    first, second = free_ports(2)
    stubborn = service(first, environment={"STUBBORN": "1"}, stop_grace_period="4s")
    stack = make_stack({"one": stubborn, "two": stubborn | {"ports": [f"127.0.0.1:{second}:8080"]}})
    stack.up()
    answers = stack.wait_for_answers("one", "two")
    with pytest.raises(OutcomeUnknown) as caught:
        stack.down(within_s=0.5)
    assert caught.value.details["services"] == ["one", "two"]
    assert "one, two" in caught.value.message
    assert caught.value.actions
    assert is_alive(answers["one"]["pid"])
    stack.down()
    assert not any(is_alive(answer["pid"]) for answer in answers.values())
    assert not stack.is_listening("one")


def test_tear_down_of_a_paused_service_ends_it(pair: TinyStack) -> None:
    pid = pair.ask("one")["pid"]
    pair.runtime.pause(["one"])
    pair.down()
    assert not is_alive(pid)


def test_tear_down_of_a_stack_that_never_ran_does_nothing(make_stack: MakeStack) -> None:
    stack = make_stack({"one": service(free_ports(1)[0])})
    assert stack.down(volumes=True) == []
    assert stack.inspect("one").state is RunState.ABSENT


def test_starting_in_a_stack_that_does_not_run_is_not_found(make_stack: MakeStack) -> None:
    stack = make_stack({"one": service(free_ports(1)[0])})
    for action in (stack.start, stack.runtime.pause, stack.runtime.unpause):
        with pytest.raises(NotFound) as caught:
            action(["one"])
        assert caught.value.code == "not_running"
        assert caught.value.actions
    with pytest.raises(NotFound):
        stack.start([])


def test_two_stacks_run_side_by_side(make_stack: MakeStack) -> None:
    first, second = free_ports(2)
    here, there = make_stack({"one": service(first)}, "here"), make_stack({"one": service(second)}, "there")
    here.up()
    there.up()
    pids = here.wait_for_answer("one")["pid"], there.wait_for_answer("one")["pid"]
    here.down()
    assert not is_alive(pids[0])
    assert there.ask("one")["pid"] == pids[1]


def test_bring_up_is_refused_when_ports_are_taken_and_changes_nothing(make_stack: MakeStack) -> None:
    taken, also_taken, free = free_ports(3)
    stack = make_stack({"one": service(taken), "two": service(also_taken), "three": service(free)})
    with socket.socket() as squatter, socket.socket() as another:
        for holder, port in ((squatter, taken), (another, also_taken)):
            holder.bind(("127.0.0.1", port))
            holder.listen()
        with pytest.raises(Refused) as caught:
            stack.up()
    assert caught.value.code == "port_taken"
    assert str(taken) in caught.value.message
    assert str(also_taken) in caught.value.message
    assert f"pid {os.getpid()}" in caught.value.message
    # No setting moves ports that the stack file gives as numbers.
    assert caught.value.actions == ("if another stack holds them: spokectl down --stack NAME",)
    assert stack.inspect("three").state is RunState.ABSENT
    assert not stack.is_listening("three")
