"""Canaries: passwords that nobody types by chance, set for a whole stack, and then looked for where none may be."""

import os
import shlex
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spokectl.runtime.docker.engine import PROJECT
from tests.e2e.conftest import Tool, eventually, processes_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

# With every character that means something to a shell, to YAML, Compose, a URL, a conninfo or a server's configuration.
MARK = "c4n4ry"
NASTY = " " + MARK + """'"\\$%@:/ #=;,{}*?!&|<>`~^()[]-ü€${HOME}$(id)"""
SECRETS = [
    "SPOKE_POSTGRES_PASSWORD",
    "SPOKE_POSTGRES_REPLICATION_PASSWORD",
    "SPOKE_POSTGRES_OPERATOR_PASSWORD",
    "SPOKE_REDIS_PASSWORD",
    "SPOKE_S3_SECRET_KEY",
]
# A canary, however it was quoted: some part of it stands as it is in any writing.
TRACE = MARK.encode()
# Below the stack's folder: the settings, what `up` keeps of the services, and what the servers themselves read.
HOLDERS = ("stack.env", "last-known.json", "applied.json", "launchers/", "run/postgres-", "volumes/redis-")
MODULE = ("modules", "create", "payments", "--description", "Payments")
# Each as people and as scripts use it. What fails is meant to: errors must be as silent as the rest.
COMMANDS: list[tuple[str, ...]] = [
    *[("status",), ("ps",), ("endpoints",), ("endpoints", "--env"), ("events",), ("config", "list"), ("drill", "list")],
    *[("postgres", "status"), ("redis", "info"), ("redis", "sentinels"), ("modules", "list"), ("modules", "get", "none")],
    *[("switchover", "postgres", "--dry-run"), ("start", "no-such-service"), ("logs", "--tail", "5000")],
    *[("doctor",), ("metrics",), ("cache", "stats"), ("cache", "keys"), ("lb", "status"), ("lb", "test")],
    *[("scale", "3", "--dry-run"), ("completion", "bash"), ("config", "unset", "SPOKE_POSTGRES_PASSWORD")],
]
ONCE: list[tuple[str, ...]] = [
    *[("modules", "create", "payments", "--description", "Payments"), ("switchover", "redis", "--json"), ("up", "--json")],
    *[("shell", "postgres", "--", "-Atc", "SELECT 1"), ("shell", "redis", "--", "PING"), ("shell", "s3", "--", "ls")],
    ("exec", "redis-master", "--", "redis-cli", "DBSIZE"),
    ("exec", "postgres-primary", "--", "psql", "-Atc", "SELECT count(*) FROM modules"),
]
# Somebody else's password: refused by the servers, whose words then reach logs and errors.
WRONG = {"SPOKE_POSTGRES_PASSWORD": f"wrong-{MARK}", "SPOKE_POSTGRES_OPERATOR_PASSWORD": f"wrong-{MARK}"}
WRONG |= {"SPOKE_REDIS_PASSWORD": f"wrong-{MARK}", "SPOKE_S3_SECRET_KEY": f"wrong-{MARK}"}


def test_a_secret_is_seen_by_nobody_who_is_not_meant_to(runtime: str, make_tool: Callable[..., Tool]) -> None:
    tool = make_tool(runtime=runtime)
    for name in SECRETS:
        # MinIO cuts blanks off the ends of its key, so such a key is refused.
        value = NASTY.strip() if name == "SPOKE_S3_SECRET_KEY" else NASTY
        kept = tool.run("config", "set", f"{name}=-", stdin=f"{value}{name}\\".encode())
        assert kept.returncode == 0, kept.stderr.decode()
    with Watch() as watch:
        _silent(tool, "up", "--port-offset", str(tool.offset), "--timeout", "4m")
        for words in ONCE:
            _silent(tool, *words)
        for words in COMMANDS:
            _silent(tool, *words, may_fail=True)
            _silent(tool, *words, "--json", may_fail=True)
        for words in (("status",), ("shell", "s3", "--", "ls"), ("redis", "info"), ("postgres", "status", "--json")):
            _silent(tool, *words, may_fail=True, extra=WRONG)
        _silent(tool, "drill", "run", "spoke-kill", may_fail=True)
        _silent(tool, "logs", "--json")
    assert watch.looks > 10
    assert watch.seen == set()
    # What the drill killed was just started again.
    eventually(lambda: tool.run("status").returncode == 0, "all is well again", timeout_s=300.0)

    clients = tool.ok("endpoints", "--env", "--show-secrets")
    assert f"export PGPASSWORD={shlex.quote(NASTY + 'SPOKE_POSTGRES_PASSWORD')}".rstrip("'") in clients
    assert [words for words in _arguments(tool) if TRACE in words] == []
    _files_are_closed(tool)


def test_secrets_that_are_made_at_the_first_up_stay_and_let_others_in_reach_no_further(
    make_tool: Callable[..., Tool],
) -> None:
    tool = make_tool()
    refused = tool.run("up", "--port-offset", str(tool.offset), extra={"SPOKE_BIND": "0.0.0.0"})
    assert (refused.returncode, b"everybody knows the value of" in refused.stderr) == (5, True)
    assert not (tool.state / tool.stack / "volumes").exists()

    tool.up("--generate-secrets")
    made = _settings(tool)
    assert len(set(made.values())) == len(SECRETS)
    assert all(len(value) >= 32 for value in made.values())
    tool.ok("config", "set", "SPOKE_REDIS_MAXMEMORY=64mb")
    tool.up("--generate-secrets")
    assert _settings(tool) == made
    assert tool.ok("shell", "redis", "--", "PING") == "PONG\n"
    # Those of Redis and of the store can be changed on a stack that runs.
    for name in ("SPOKE_REDIS_PASSWORD", "SPOKE_S3_SECRET_KEY"):
        assert tool.run("config", "set", f"{name}=-", stdin=b"another-of-its-own").returncode == 0
    tool.up()
    assert tool.run("status").returncode == 0
    assert tool.ok("shell", "redis", "--", "PING") == "PONG\n"
    tool.ok("shell", "s3", "--", "ls")


def _settings(tool: Tool) -> dict[str, str]:
    return {name: tool.ok("config", "get", name).removesuffix("\n") for name in SECRETS}


def _silent(tool: Tool, *words: str, may_fail: bool = False, extra: dict[str, str] | None = None) -> None:
    done = tool.run(*words, extra=extra)
    assert may_fail or done.returncode == 0, f"{words}: {done.stderr.decode()}"
    assert TRACE not in done.stdout, words
    assert TRACE not in done.stderr, words


class Watch(threading.Thread):
    """Looks at the arguments of all processes again and again, as every user of the machine can."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.looks = 0
        self._over = threading.Event()

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.05):
            self.seen |= {words for words in _command_lines() if TRACE in words}
            self.looks += 1


def _command_lines() -> Iterator[bytes]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield (folder / "cmdline").read_bytes()
        except OSError:
            continue


def _arguments(tool: Tool) -> Iterator[bytes]:
    """What is there to be seen of the stack's processes now."""
    yield from _command_lines()
    if tool.runtime == "local":
        assert len(processes_of(tool)) > 10
        return
    # Others' containers may go while they are looked at.
    of_stack = ["docker", "ps", "--quiet", "--filter", f"label={PROJECT}={tool.stack}"]
    names = subprocess.run(of_stack, capture_output=True, text=True, check=True).stdout.split()
    assert len(names) > 10
    for shown in ("Args", "Path", "Config.Cmd", "Config.Healthcheck", "Config.Labels"):
        look = ["docker", "inspect", "--format", f"{{{{json .{shown}}}}}", *names]
        yield subprocess.run(look, capture_output=True, check=True).stdout


def _files_are_closed(tool: Tool) -> None:
    """Only what has to know a secret holds it, closed to others; and nobody else may list a folder, or write anywhere."""
    holders, open_to_others = [], []
    for path in (tool.state / tool.stack).rglob("*"):
        found = path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISDIR(found.st_mode) and mode & 0o066 and os.access(path.parent, os.X_OK):
            open_to_others.append(f"{mode:o} {path}")
        if stat.S_ISREG(found.st_mode):
            if mode & 0o022:
                open_to_others.append(f"{mode:o} {path}")
            if TRACE in path.read_bytes():
                holders.append(str(path.relative_to(tool.state / tool.stack)))
                assert mode & 0o077 == 0, f"{mode:o} {path}"
    assert open_to_others == []
    assert [each for each in holders if not each.startswith(HOLDERS)] == []
    assert "stack.env" in holders
