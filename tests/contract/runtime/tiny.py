"""A stack of tiny servers: what a runtime promises can be seen from how they answer, whatever runs them."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spokectl.model import Inspection, RunState, Stack
from spokectl.runtime.base import BuildsImages, Runtime
from spokectl.runtime.select import runtime_for
from spokectl.settings import StackState
from spokectl.stackfile import load_stack
from spokectl.wait import Deadline, wait_until

WITHIN_S = 30.0
BUILD_WITHIN_S = 120.0
TARGET = 8080

# Answers one request a line. A child shares the listening socket, as NGINX's workers do.
_SERVER = r"""
import json, os, signal, socket, sys, time

def say(text):
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)

def stop(*_):
    if os.environ.get("STUBBORN"):
        say("no")
        return
    say("stopped in good order")
    with open(os.environ["DATA"] + "/ended", "w") as file:
        file.write("in good order")
    try:
        os.kill(child, signal.SIGKILL)
    finally:
        os._exit(0)

if os.environ.get("CRASH"):
    say("crashing")
    sys.exit(int(os.environ["CRASH"]))
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((os.environ["LISTEN"], int(os.environ["TINY_PORT"])))
listener.listen()
child = os.fork()
if not child:
    signal.pause()
signal.signal(signal.SIGTERM, stop)
say("listening")
while True:
    connection, _ = listener.accept()
    with connection, connection.makefile("rw") as stream:
        for line in stream:
            word, _, rest = line.strip().partition(" ")
            if word == "crash":
                os.kill(child, signal.SIGKILL)
                os._exit(int(rest))
            if word == "say":
                say(rest)
            if word == "write":
                with open(os.environ["DATA"] + "/note", "w") as file:
                    file.write(rest)
            answer = {"pid": os.getpid(), "child": child, "arguments": sys.argv[1:], "environment": dict(os.environ)}
            stream.write(json.dumps(answer) + "\n")
            stream.flush()
"""
_SERVER_RUN = '#!/bin/sh\nexec "${SPOKE_PYTHON:-python3}" -E -S "$(dirname "$0")/server.py" "$@"\n'
_JOB_RUN = """#!/bin/sh
echo ran >>"$DATA/runs"
[ -z "${NEEDS:-}" ] || [ -e "$DATA/$NEEDS" ] || exit 7
"""


def service(port: int, *, environment: dict[str, str] | None = None, **keys: Any) -> dict[str, Any]:
    """A tiny server of the stack file; `keys` are more of its Compose keys."""
    return {
        "labels": {"spokectl.kind": "spoke", "spokectl.role": "instance", "spokectl.health": f"http:{TARGET}/"},
        "restart": "unless-stopped",
        "stop_grace_period": "20s",
        "environment": {"LISTEN": "0.0.0.0", "TINY_PORT": str(TARGET), "DATA": "/data"} | (environment or {}),
        "ports": [f"127.0.0.1:{port}:{TARGET}"],
        "volumes": ["notes:/data"],
    } | keys


def job(*, environment: dict[str, str] | None = None, restart: str = "on-failure") -> dict[str, Any]:
    """A tiny job; with NEEDS it fails with exit code 7 until that file is in the volume."""
    return {
        "labels": {"spokectl.kind": "job", "spokectl.role": "job", "spokectl.health": "job"},
        "restart": restart,
        "environment": {"DATA": "/data"} | (environment or {}),
        "volumes": ["notes:/data"],
    }


IMAGE = "spoke:local"
"""Any image with a Python would do; this one is there wherever the Docker runtime can run at all."""


def in_containers(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The services with what only containers need: an image, and the entry scripts inside."""
    made = {}
    for name, keys in services.items():
        entry = f"/opt/spoke/services/{keys['labels']['spokectl.kind']}/run"
        volumes = [*keys["volumes"], "./services:/opt/spoke/services:ro"]
        made[name] = {"image": IMAGE} | keys | {"entrypoint": [entry], "volumes": volumes}
    return made


@dataclass
class TinyStack:
    """One stack of tiny servers in one runtime, and what a test asks of it."""

    runtime_name: str
    folder: Path
    services: dict[str, dict[str, Any]]
    name: str = "tiny"
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for kind, text in (("spoke", _SERVER_RUN), ("job", _JOB_RUN)):
            entry = self.folder / "services" / kind / "run"
            entry.parent.mkdir(parents=True, exist_ok=True)
            entry.write_text(text)
            entry.chmod(0o755)
        (self.folder / "services/spoke/server.py").write_text(_SERVER)
        self.state = StackState(self.name, self.folder / "state")

    @property
    def stack(self) -> Stack:
        """As the stack file stands now."""
        path = self.folder / "stack.yml"
        services = self.services if self.runtime_name == "local" else in_containers(self.services)
        path.write_text(yaml.safe_dump({"services": services, "volumes": {"notes": {}}}))
        return load_stack(self.name, [path], shell={}, env_file={})

    @property
    def runtime(self) -> Runtime:
        """A new object each time, as every command makes one: a runtime remembers nothing."""
        return runtime_for(self.runtime_name, self.stack, self.state)

    def up(self, *names: str) -> None:
        runtime, services = self.runtime, names or list(self.services)
        if isinstance(runtime, BuildsImages) and runtime.unbuilt(services):
            runtime.build(runtime.unbuilt(services), Deadline(BUILD_WITHIN_S), self.notices.append)
        runtime.bring_up(services, Deadline(WITHIN_S), self.notices.append)

    def down(self, *, volumes: bool = False, within_s: float = WITHIN_S) -> list[str]:
        return self.runtime.tear_down(Deadline(within_s), volumes=volumes, notice=self.notices.append)

    def start(self, names: Sequence[str]) -> None:
        self.runtime.start(names, Deadline(WITHIN_S))

    def stop(self, names: Sequence[str], within_s: float = WITHIN_S) -> None:
        self.runtime.stop(names, Deadline(within_s))

    def kill(self, names: Sequence[str]) -> None:
        self.runtime.kill(names, Deadline(WITHIN_S))

    def call_elsewhere(self, call: str) -> "subprocess.Popen[bytes]":
        """Makes a call of the runtime, such as `stop(['one'], deadline)`, in a process of its own, which a test may kill."""
        path = self.stack.files[0]
        code = f"""
from pathlib import Path
from spokectl.runtime.select import runtime_for
from spokectl.settings import StackState
from spokectl.stackfile import load_stack
from spokectl.wait import Deadline
deadline = Deadline({WITHIN_S})
stack = load_stack({self.name!r}, [Path({str(path)!r})], shell={{}}, env_file={{}})
runtime_for({self.runtime_name!r}, stack, StackState({self.name!r}, Path({str(self.state.folder.parent)!r}))).{call}
"""
        return subprocess.Popen([sys.executable, "-c", code])

    def inspect(self, name: str) -> Inspection:
        return self.runtime.inspect()[name]

    def wait_for(self, name: str, state: RunState) -> Inspection:
        seen: list[Inspection] = []

        def blocker() -> str | None:
            seen.append(self.inspect(name))
            return None if seen[-1].state is state else f"{name} is {seen[-1].state}"

        wait_until(blocker, Deadline(WITHIN_S), what=f"{name} {state}")
        return seen[-1]

    def port(self, name: str) -> int:
        return self.stack.services[name].ports[0].published

    def ask(self, name: str, request: str = "hello", timeout_s: float = WITHIN_S) -> dict[str, Any]:
        """The server's answer: its pid, its child's, its arguments and environment. OSError when it does not listen."""
        with socket.create_connection(("127.0.0.1", self.port(name)), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(request.encode() + b"\n")
            answer = connection.makefile("rb").readline()
        if not answer:
            raise ConnectionError(f"{name} ended without an answer")
        found: dict[str, Any] = json.loads(answer)
        return found if self.runtime_name == "local" else self._seen_from_the_host(name, found)

    def _seen_from_the_host(self, name: str, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer of a server in a container, with its processes and its folder as the host knows them."""
        import psutil

        pid = self.inspect(name).pid
        assert pid is not None
        children = [process.pid for process in psutil.Process(pid).children()]
        environment = answer["environment"] | {"DATA": f"/proc/{pid}/root/data"}
        return answer | {"pid": pid, "child": children[0], "environment": environment}

    def wait_for_answer(self, name: str) -> dict[str, Any]:
        """The first answer of a server that is being started."""
        answers: list[dict[str, Any]] = []

        def blocker() -> str | None:
            try:
                answers.append(self.ask(name))
            except OSError as error:
                return str(error)
            return None

        wait_until(blocker, Deadline(WITHIN_S), what=f"an answer of {name}", interval_s=0.01)
        return answers[-1]

    def wait_for_answers(self, *names: str) -> dict[str, dict[str, Any]]:
        return {name: self.wait_for_answer(name) for name in names}

    def tell(self, name: str, request: str) -> None:
        """Sends what ends the server before it can answer."""
        try:
            self.ask(name, request)
        except OSError:
            return

    def log(self, *names: str, **options: Any) -> list[str]:
        wanted = {"since": None, "tail": None, "follow": False} | options
        return [line.text for line in self.runtime.logs(names or list(self.services), **wanted)]

    def is_listening(self, name: str) -> bool:
        with socket.socket() as probe:
            probe.settimeout(WITHIN_S)
            return probe.connect_ex(("127.0.0.1", self.port(name))) == 0


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(*pids: int) -> None:
    def blocker() -> str | None:
        left = [pid for pid in pids if is_alive(pid)]
        return f"alive: {left}" if left else None

    wait_until(blocker, Deadline(WITHIN_S), what="the end of processes", interval_s=0.01)


@contextmanager
def tiny_stack(
    runtime_name: str, folder: Path, services: dict[str, dict[str, Any]], name: str = "tiny"
) -> Iterator[TinyStack]:
    """A stack that is taken down in the end, whatever the test did to it."""
    stack = TinyStack(runtime_name, folder, services, name)
    try:
        yield stack
    finally:
        stack.down(volumes=True)


def names(lines: Sequence[str], text: str) -> int:
    """How many lines end with the text."""
    return sum(line.endswith(text) for line in lines)
