"""A stack of two PostgreSQL nodes alone, which is up in seconds, and clients that write to each of them directly."""

import contextlib
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import psycopg
import yaml

from tests.direct_writers import TABLE, Target, TcpSession, WriteFailed
from tests.e2e.conftest import STACK_FILE, Tool, eventually, free_offset, require_docker

PORTS = {"postgres-primary": 5432, "postgres-replica": 5433}
_CONNECT_TIMEOUT_S = 5


@contextlib.contextmanager
def postgres_pair(runtime: str, name: str, **settings: str) -> Iterator[Tool]:
    """The pair, up, with the table of the writers; taken down with its data at the end."""
    if runtime == "docker":
        require_docker()
    tool = Tool(Path(f"/tmp/spokectl-e2e-{os.getpid()}-{name}-{runtime}"), f"e2e-{name}", free_offset(), runtime)
    tool.state.mkdir()
    file = tool.state / "postgres.yml"
    content = yaml.safe_load(STACK_FILE.read_text())
    for part in ("services", "volumes"):
        content[part] = {each: said for each, said in content[part].items() if each.startswith("postgres-")}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    try:
        if settings:
            tool.ok("config", "set", *(f"{each}={value}" for each, value in settings.items()))
        tool.up("--file", str(file))
        with connect(tool, "postgres-primary") as connection:
            connection.execute(TABLE)
        yield tool
    finally:
        done = tool.run("down", "--volumes", "--yes")
        shutil.rmtree(tool.state, ignore_errors=True)
        assert done.returncode == 0, done.stderr.decode()


def connect(tool: Tool, node: str) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(
        host="127.0.0.1",
        port=tool.port(PORTS[node]),
        user="spoke",
        dbname="spoke",
        password="spoke-password",
        connect_timeout=_CONNECT_TIMEOUT_S,
        sslmode="disable",
        autocommit=True,
    )


def outside(tool: Tool, node: str) -> Target:
    """A client that comes by the published port."""
    return Target(node, lambda: TcpSession(connect(tool, node)))


def inside(tool: Tool, node: str) -> Target:
    """A client on the node itself, which no network keeps from its server."""
    return Target(node, lambda: _PsqlSession(["docker", "exec", "-i", f"{tool.stack}-{node}", "psql"]))


class _PsqlSession:
    """A session of psql, which ends with the first failure."""

    def __init__(self, words: list[str]) -> None:
        options = ["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "spoke", "-d", "spoke"]
        self._process = subprocess.Popen(
            [*words, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )

    def begin(self, statement: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{statement} RETURNING 'done';\n".encode())
        except OSError as error:
            raise WriteFailed(str(error)) from error

    def answered(self, timeout_s: float) -> bool:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            return False
        if not self._process.stdout.readline().startswith(b"done"):
            raise WriteFailed("psql has ended")
        return True

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        self._process.kill()
        self._process.wait()


def rows(tool: Tool, node: str) -> set[str]:
    with connect(tool, node) as connection:
        return {str(word) for (word,) in connection.execute("SELECT word FROM written")}


def observed(tool: Tool) -> tuple[int, dict[str, str]]:
    """The exit code of `status`, and the node of each role."""
    done = tool.run("status", "--json")
    services = json.loads(done.stdout)["data"]["services"]
    return done.returncode, {each["role"]: each["service"] for each in services}


def wait_until_whole(tool: Tool, primary: str) -> None:
    """Returns once `primary` is primary, the other node its standby, and all is well."""

    def whole() -> bool:
        code, nodes = observed(tool)
        return code == 0 and nodes.get("primary") == primary and "standby" in nodes

    eventually(whole, f"{primary} is primary, and all is well", timeout_s=180)


def guard_of(tool: Tool, node: str) -> psutil.Process:
    found: list[psutil.Process] = []

    def look() -> bool:
        # One that has just crashed is not there for a moment.
        pid = tool.pids()[node]
        with contextlib.suppress(psutil.NoSuchProcess):
            first = [] if pid is None else [psutil.Process(pid)]
            found[:] = [one for each in first for one in [each, *each.children(recursive=True)] if is_guard(one.cmdline())]
        return len(found) == 1

    eventually(look, f"the guard of {node}")
    return found[0]


def is_guard(words: list[str]) -> bool:
    return any(Path(each).name == "guard.py" and then == "run" for each, then in pairwise(words))
