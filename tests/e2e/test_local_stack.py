"""The whole stack as native processes: what an operator does with it, and what must hold afterwards."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import COMMAND_TIMEOUT_S, Tool, eventually
from tests.e2e.protos import contents, lay_out, modules

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FIRST_ROLES = {
    "postgres-primary": "primary",
    "postgres-replica": "standby",
    "redis-master": "master",
    "redis-replica": "replica",
}


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
        return body


def push_all(tool: Tool, folder: Path) -> dict[str, Path]:
    """Pushes every module of tests/e2e/protos.py as version v1.0.0; gives the folder of each."""
    pushed = {}
    for name, files in modules().items():
        pushed[name] = lay_out(files, folder / name)
        tool.ok("modules", "create", name, "--description", f"protos of {name}")
        tool.ok("versions", "push", name, "v1.0.0", str(pushed[name]))
    return pushed


def pull_all(tool: Tool, pushed: dict[str, Path], folder: Path) -> None:
    """Pulls each module through the load balancer and holds every byte against what was pushed."""
    for name, source in pushed.items():
        target = folder / name
        tool.ok("versions", "pull", name, "v1.0.0", str(target))
        assert contents(target) == contents(source), name


def processes_of(tool: Tool) -> list[psutil.Process]:
    """Every live process that has the stack's state folder in its command line, working folder or open files."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline()) + " " + process.cwd()
        except psutil.Error:
            continue
        if str(tool.state) in words and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


class Reader(threading.Thread):
    """Reads a module through the load balancer, again and again, and keeps every failure."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.answers, self.failures = url, 0, list[str]()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                json.loads(get(self.url))
                self.answers += 1
            except Exception as error:  # noqa: BLE001 - every kind of failure is what this test looks for
                self.failures.append(repr(error))

    def stop(self) -> None:
        self._over.set()
        self.join(timeout=90)


def test_real_modules_survive_a_lost_instance_and_a_restart_of_everything(
    make_tool: Callable[..., Tool], tmp_path: Path
) -> None:
    tool = make_tool()
    data = tool.up()
    assert {each["service"]: each["health"] for each in data["services"]} == {
        each["service"]: "left-out"
        if each["service"] == "otel-collector"
        else "done"
        if each["kind"] == "job"
        else "healthy"
        for each in data["services"]
    }
    assert FIRST_ROLES.items() <= tool.roles().items()

    pushed = push_all(tool, tmp_path / "pushed")
    assert sum(len(contents(folder)) for folder in pushed.values()) >= 70
    reader = Reader(f"{tool.url()}/modules/{next(iter(pushed))}")
    reader.start()
    eventually(lambda: reader.answers > 20, "reads go through")
    before = reader.answers
    tool.ok("kill", "spoke-2")
    pull_all(tool, pushed, tmp_path / "with-one-lost")
    eventually(lambda: reader.answers > before + 50, "reads go on without spoke-2")
    reader.stop()
    assert reader.failures == []

    tool.ok("down")
    assert processes_of(tool) == []
    tool.up()
    pull_all(tool, pushed, tmp_path / "after-restart")
    assert {each["name"] for each in json.loads(get(f"{tool.url()}/modules"))} == set(pushed)


def test_up_repairs_what_is_missing_and_touches_nothing_healthy(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    before = tool.pids()
    tool.ok("stop", "spoke-1", "redis-replica")
    tool.ok("kill", "nginx")
    tool.ok("pause", "redis-sentinel-2")
    done = tool.run("status", "--json")
    assert done.returncode == 10
    status = {each["service"]: each for each in json.loads(done.stdout)["data"]["services"]}
    assert {name for name, each in status.items() if each["health"] in {"down", "unhealthy"}} >= {
        "spoke-1",
        "redis-replica",
        "nginx",
        "redis-sentinel-2",
    }
    tool.up()
    after = tool.pids()
    changed = {name for name in before if before[name] != after[name] and name != "minio-init"}
    assert changed == {"spoke-1", "redis-replica", "nginx"}
    assert tool.run("status").returncode == 0

    # A second time nothing at all changes.
    tool.up()
    assert {n: p for n, p in tool.pids().items() if n != "minio-init"} == {
        n: p for n, p in after.items() if n != "minio-init"
    }


def test_a_server_that_dies_comes_back_by_itself(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    for service in ("spoke-3", "minio", "redis-sentinel-1", "nginx", "postgres-replica"):
        victim = tool.pids()[service]
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        eventually(lambda v=victim, s=service: tool.pids()[s] not in {None, v}, f"{service} is started again")  # type: ignore[misc]
    eventually(lambda: tool.run("status").returncode == 0, "everything is well again", timeout_s=180)
    assert FIRST_ROLES.items() <= tool.roles().items()


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
    assert FIRST_ROLES.items() <= tool.roles().items()
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
    words = [sys.executable, "-m", "spokectl", "up", "--port-offset", str(tool.offset), "--json"]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, env=tool.environment, cwd="/") for _ in range(2)]
    answers = [json.loads(each.communicate(timeout=COMMAND_TIMEOUT_S)[0]) for each in both]
    codes = sorted(each.returncode for each in both)
    assert codes in ([0, 5], [0, 0]), answers
    for answer in answers:
        if answer["error"]:
            assert answer["error"]["code"] == "locked"
            assert "process" in answer["error"]["message"]
    assert tool.run("status").returncode == 0


def test_down_keeps_data_and_down_volumes_deletes_it(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    tool.ok("modules", "create", "here", "--description", "still")
    tool.ok("down")
    tool.up()
    assert tool.json("modules", "get", "here")["description"] == "still"
    tool.ok("down", "--volumes", "--yes")
    assert processes_of(tool) == []
    tool.up()
    assert tool.json("modules", "list") == []


def test_two_stacks_live_side_by_side(make_tool: Callable[..., Tool]) -> None:
    one, two = make_tool("one"), make_tool("two")
    one.up()
    two.up("--spokes", "1")
    one.ok("modules", "create", "mine", "--description", "of one")
    assert two.json("modules", "list") == []
    two.ok("down")
    assert one.run("status").returncode == 0
    assert one.json("modules", "get", "mine")["name"] == "mine"


def test_the_number_of_spokes_follows_up(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up("--spokes", "5")
    seen: set[str] = set()

    def ask() -> bool:
        with urllib.request.urlopen(f"{tool.url()}/modules", timeout=30) as answer:
            seen.add(answer.headers["X-Spoke-Instance"])
        return seen == {f"spoke-{n}" for n in range(1, 6)}

    eventually(ask, "all five answer through the load balancer")
    tool.ok("up", "--spokes", "2")
    assert {name for name in tool.pids() if name.startswith("spoke-")} == {"spoke-1", "spoke-2"}
    seen.clear()
    for _ in range(20):
        ask()
    assert seen == {"spoke-1", "spoke-2"}


def test_single_services_are_operated(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    tool.ok("pause", "spoke-1")
    rows = {row["service"]: row for row in tool.json("ps")}
    assert rows["spoke-1"]["state"] == "paused"
    for _ in range(6):
        assert get(f"{tool.url()}/modules") == b"[]"
    tool.ok("unpause", "spoke-1")
    tool.ok("restart", "spoke-1")
    version = tool.ok("exec", "postgres-primary", "--", "psql", "--version")
    assert "PostgreSQL" in version
    sentinel = tool.ok("exec", "redis-sentinel-1", "--", "redis-cli", "-p", str(tool.port(26379)), "SENTINEL", "masters")
    assert "spoke-redis" in sentinel
    assert tool.run("exec", "spoke-1", "--", "false").returncode == 1
    assert tool.run("exec", "spoke-1", "--", "no-such-program").returncode == 4
    assert tool.run("stop", "spoke-9").returncode == 2

    lines = [json.loads(line) for line in tool.ok("logs", "--json", "--tail", "200").splitlines()]
    assert len({line["service"] for line in lines}) >= 3
    times = [line["time"] for line in lines if line["time"]]
    assert times == sorted(times)
    assert "database system is ready" in tool.ok("logs", "postgres-primary", "--grep", "ready to accept|system is ready")
    follower = subprocess.Popen(
        [sys.executable, "-m", "spokectl", "logs", "-f", "spoke-1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=tool.environment,
    )
    try:
        assert follower.stdout is not None
        assert follower.stdout.readline().startswith("spoke-1")
    finally:
        follower.send_signal(signal.SIGINT)
        said = follower.communicate(timeout=60)[1]
    assert said == ""
    assert follower.returncode == 130


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


def test_passwords_of_any_characters_work_and_are_seen_nowhere(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
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
    assert len(seen) > 20
    assert [line for line in seen if canary in line] == []
    for shown in (output, tool.ok("status", "--json"), tool.ok("config", "list", "--json"), tool.ok("logs", "--json")):
        assert canary not in shown
    private = [path for path in tool.state.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]
    assert private
    assert [str(path) for path in private if path.stat().st_mode & 0o077] == []
