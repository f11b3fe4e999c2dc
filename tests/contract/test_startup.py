"""Start-up stays short: only what a command needs is imported. Counted, not timed; `benchmarks/` measures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spokectl.settings import StackRecord, StackState
from spokectl.stackfile import default_stack_file
from tests.contract.test_cache_and_metrics import serving

HEAVY = {
    "psycopg",
    "redis",
    "httpx",
    "boto3",
    "docker",
    "rich",
    "typer",
    "click",
    "yaml",
    "asyncio",
    "psutil",
    "jmespath",
    "opentelemetry",
    "spoke_server",
}
OF_OTHER_COMMANDS = {
    "spokectl.operations.event_lines",
    "spokectl.operations.postgres.observe",
    "spokectl.operations.redis.observe",
    "spokectl.output.terminal",
}
"""Modules beside those that `status` is made of: each is small, together they were noticed."""


def modules_of(code: str, *words: str, **variables: str) -> set[str]:
    """All that is imported when the code has run in a process of its own."""
    code += "\nimport sys; sys.__stdout__.write('\\n'.join(sys.modules))"
    # Where an engine is, it is asked for a stack of plain Compose: here is none.
    environment = os.environ | {"DOCKER_HOST": "unix:///nowhere/docker.sock"} | variables
    words = (sys.executable, "-c", code, *words)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, env=environment)
    return set(done.stdout.split())


MAIN = (
    "import sys; sys.argv = ['spokectl', *sys.argv[1:]]\n"
    "from spokectl.__main__ import main\n"
    "import io, contextlib\n"
    "said = io.StringIO()\n"
    "with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()): main()\n"
)


# Nothing is offered where Tab is cut off on the way, and what would have come behind that is not imported then.
TAB = MAIN + "assert said.getvalue(), 'nothing is offered'\n"
REGISTRY = {"/modules": (200, '[{"name": "payments", "versions": [{"version": "v1"}]}]')}


def packages(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["--version"], set()),
        (["--help"], {"typer", "click"}),
        (["config", "list"], {"typer", "click", "yaml", "rich"}),
        (["modules", "list", "--help"], {"typer", "click"}),
        (["cache", "bench", "--help"], {"typer", "click"}),
        (["metrics", "--stack", "never-was"], {"typer", "click", "yaml"}),
        (["cache", "stats", "--stack", "never-was"], {"typer", "click", "yaml"}),
        (["down", "--stack", "never-was"], {"typer", "click", "yaml", "rich"}),
    ],
)
def test_a_command_imports_no_more_than_it_needs(words: list[str], allowed: set[str]) -> None:
    assert packages(modules_of(MAIN, *words)) & HEAVY <= allowed


@pytest.mark.parametrize(
    "words",
    [
        "status sp",
        "restart sp",
        "config get SPOKE",
        "drill run sp",
        "modules get ",
        "versions list ",
        "versions get payments ",
        "help ",
    ],
)
def test_tab_imports_no_more_than_the_parser_and_the_stack_file_need(tmp_path: Path, words: str) -> None:
    completing = {
        "COMP_WORDS": f"spokectl {words}",
        "COMP_CWORD": str(len(words.split(" "))),
        "SPOKECTL_STATE_DIR": str(tmp_path),
        "SPOKECTL_COMPLETE_WITHIN_S": "60",
    }
    with serving(REGISTRY) as port:
        completing["SPOKECTL_URL"] = f"http://127.0.0.1:{port}"
        found = packages(modules_of(TAB, _SPOKECTL_COMPLETE="bash_complete", **completing))
    assert found & HEAVY <= {"typer", "click", "yaml"}


def test_status_imports_its_runtime_and_its_own_modules_only(tmp_path: Path) -> None:
    """Of a stack in the local runtime; nothing of it runs, so nobody is asked."""
    state = StackState("looked-at", tmp_path)
    state.ensure()
    state.write_record(StackRecord("local", str(default_stack_file()), "2026-01-31T12:00:00+00:00"))
    found = modules_of(
        MAIN + "import spokectl.output.stack, spokectl.operations.observe",
        *("status", "--stack", "looked-at"),
        SPOKECTL_STATE_DIR=str(tmp_path),
    )
    assert "spokectl.runtime.local.runtime" in found
    assert packages(found) & HEAVY <= {"typer", "click", "yaml", "psutil"}
    assert not found & OF_OTHER_COMMANDS


def test_probes_import_psycopg_and_redis_without_what_those_could_do_besides() -> None:
    found = packages(modules_of("from spokectl.operations.health import load_probes; load_probes()"))
    # Both have an asynchronous half, which they always import; yaml is for the stack file.
    assert found & HEAVY == {"psycopg", "redis", "asyncio", "yaml"}
