"""Start-up stays short: only what a command needs is imported. Counted, not timed; `benchmarks/` measures."""

import os
import subprocess
import sys

import pytest

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
    "spoke_server",
}


def imported_by(*words: str) -> set[str]:
    code = (
        "import sys; sys.argv = ['spokectl', *sys.argv[1:]]\n"
        "from spokectl.__main__ import main\n"
        "import io, contextlib\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()): main()\n"
        "sys.__stdout__.write('\\n'.join(sys.modules))"
    )
    # Where an engine is, it is asked for a stack of plain Compose: here is none.
    environment = os.environ | {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    words = (sys.executable, "-c", code, *words)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, env=environment)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["--version"], set()),
        (["--help"], {"typer", "click"}),
        (["config", "list"], {"typer", "click", "yaml", "rich"}),
        (["modules", "list", "--help"], {"typer", "click"}),
        (["down", "--stack", "never-was"], {"typer", "click", "yaml", "rich"}),
    ],
)
def test_a_command_imports_no_more_than_it_needs(words: list[str], allowed: set[str]) -> None:
    assert imported_by(*words) & HEAVY <= allowed
