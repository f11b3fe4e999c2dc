"""The whole stack as native processes: what an operator does with it, and what must hold afterwards."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.clients import get, require_one_of_each_role
from tests.e2e.conftest import COMMAND_TIMEOUT_S, Tool, eventually, processes_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.mark.parametrize("victims", ["everything", "the supervisor alone"])
def test_up_brings_the_same_data_back_after_kill_9_of(make_tool: Callable[..., Tool], tmp_path: Path, victims: str) -> None:
    tool = make_tool()
    tool.up()
    tool.ok("modules", "create", "kept", "--description", "survives")
    proto = tmp_path / "kept.proto"
    proto.write_text('syntax = "proto3";\nmessage Kept { string name = 1; }\n')
    tool.ok("versions", "push", "kept", "v1.0.0", str(proto))
    everything = processes_of(tool) + [psutil.Process(pid) for pid in tool.pids().values() if pid]
    trees = {p for root in everything if root.is_running() for p in [root, *root.children(recursive=True)]}
    supervisor = [p for p in everything if "supervisord" in " ".join(p.cmdline())]
    assert len(supervisor) == 1
    for process in trees if victims == "everything" else supervisor:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    tool.up()
    require_one_of_each_role(tool)
    assert get(f"{tool.url()}/modules/kept/versions/v1.0.0/files/kept.proto")
    pulled = tool.json("versions", "file", "kept", "v1.0.0", "kept.proto")
    assert pulled["content"] == proto.read_text()


def test_down_finds_what_a_lost_supervisor_left_behind(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    supervisor = [p for p in processes_of(tool) if "supervisord" in " ".join(p.cmdline())]
    supervisor[0].kill()
    tool.ok("down")
    assert processes_of(tool) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", tool.port(5432))) != 0


def test_a_taken_port_is_refused_with_the_process_that_holds_it_and_nothing_is_left(
    make_tool: Callable[..., Tool],
) -> None:
    tool = make_tool()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", tool.port(6379)))
        taken.listen()
        done = tool.run("up", "--port-offset", str(tool.offset), "--json")
        assert done.returncode == 5, done.stderr
        error = json.loads(done.stdout)["error"]
        assert error["code"] == "port_taken"
        assert str(tool.port(6379)) in error["message"]
        assert str(os.getpid()) in error["message"]
    assert processes_of(tool) == []
    assert json.loads(tool.run("ps", "--json").stdout)["error"]["code"] == "no_stack"


def test_of_two_ups_at_the_same_time_one_is_refused_naming_the_other(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    words = ["up", "--port-offset", str(tool.offset), "--json"]
    first = subprocess.Popen(
        [sys.executable, "-m", "spokectl", *words], stdout=subprocess.PIPE, env=tool.environment, cwd="/"
    )
    holder = tool.state / tool.stack / "lock.holder"
    eventually(lambda: holder.exists() and f"process {first.pid}," in holder.read_text(), "the first up has the lock")
    # Frozen, it keeps the lock for as long as the second one may take to start.
    first.send_signal(signal.SIGSTOP)
    try:
        second = tool.run(*words)
    finally:
        first.send_signal(signal.SIGCONT)
    error = json.loads(second.stdout)["error"]
    assert (second.returncode, error["code"]) == (5, "locked")
    assert f"up, process {first.pid}," in error["message"]
    answer = json.loads(first.communicate(timeout=COMMAND_TIMEOUT_S)[0])
    assert (first.returncode, answer["status"]) == (0, "ok"), answer
    assert tool.run("status").returncode == 0


def test_two_stacks_live_side_by_side(make_tool: Callable[..., Tool]) -> None:
    one, two = make_tool("one"), make_tool("two")
    one.up()
    two.up("--spokes", "1")
    one.ok("modules", "create", "mine", "--description", "of one")
    assert two.json("modules", "list") == []
    two.ok("down")
    assert one.run("status").returncode == 0
    assert one.json("modules", "get", "mine")["name"] == "mine"


def test_a_shell_script_can_drive_it_by_exit_codes_and_json(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    script = f"""
set -euo pipefail
spokectl() {{ '{sys.executable}' -m spokectl "$@"; }}
field() {{ '{sys.executable}' -c "import json,sys; print(eval('json.load(sys.stdin)' + sys.argv[1]))" "$1"; }}
if spokectl status -q 2>/dev/null; then exit 90; else test $? -eq 4; fi
spokectl up -q --port-offset {tool.offset} --timeout 4m >/dev/null
test "$(spokectl modules create payments -d 'from a script' --json | field "['data']['name']")" = payments
printf 'syntax = "proto3";\\nmessage Payment {{}}\\n' | spokectl versions push payments v1.0.0 - --path payment.proto
spokectl versions file payments v1.0.0 payment.proto | grep -q Payment
if spokectl modules get nowhere 2>/dev/null; then exit 91; else test $? -eq 4; fi
test "$(spokectl status --json | field "['status']")" = ok
spokectl down -q
"""
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=tool.environment, timeout=COMMAND_TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_passwords_and_a_state_folder_of_any_characters_work_and_passwords_are_seen_nowhere(
    make_tool: Callable[..., Tool],
) -> None:
    tool = make_tool(folder=" o$HOME d\"q'u 100%s \\n|p;é&#{x}")
    names = [
        "SPOKE_POSTGRES_PASSWORD",
        "SPOKE_POSTGRES_REPLICATION_PASSWORD",
        "SPOKE_POSTGRES_OPERATOR_PASSWORD",
        "SPOKE_REDIS_PASSWORD",
        "SPOKE_S3_SECRET_KEY",
    ]
    canary = "c4nary"
    tool.ok("config", "set", *(f"{name}={canary}'\"\\ $x%@:/#?&=ü{index}" for index, name in enumerate(names)))
    words = [sys.executable, "-m", "spokectl", "up", "--port-offset", str(tool.offset)]
    up = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=tool.environment, cwd="/", text=True)
    seen: set[str] = set()
    while up.poll() is None:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                seen.add(" ".join(process.cmdline()))
    output = up.communicate()[0]
    assert up.returncode == 0, output
    tool.ok("modules", "create", "secret", "--description", "kept")
    eventually(lambda: "POST /modules" in tool.ok("logs", "nginx"), "NGINX writes its log there")
    assert len(seen) > 20
    assert [line for line in seen if canary in line] == []
    for shown in (output, tool.ok("status", "--json"), tool.ok("config", "list", "--json"), tool.ok("logs", "--json")):
        assert canary not in shown
    private = [path for path in tool.state.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]
    assert private
    assert [str(path) for path in private if path.stat().st_mode & 0o077] == []
