"""Tab: live names, and nothing else on the terminal, whatever is wrong."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spokectl.cli.app import COMMANDS
from spokectl.cli.names import drill_names
from spokectl.cli.topics import TOPICS
from spokectl.drills.catalog import all_drills
from spokectl.settings import StackState
from spokectl.stackfile import default_stack_file, load_stack
from tests.contract.registry_cli.conftest import Running, Tool, registry, tool
from tests.contract.test_cli import spokectl

__all__ = ["registry", "tool"]
STACK = load_stack("spoke", [default_stack_file()], shell={}, env_file={})


def tab(tmp_path: Path, line: str, **variables: str) -> list[str]:
    """What bash offers after `spokectl LINE`; the last word of the line is the begun one."""
    asked = {"COMP_WORDS": f"spokectl {line}", "COMP_CWORD": str(len(line.split(" ")))}
    patient = {"SPOKECTL_COMPLETE_WITHIN_S": "60"}
    done = spokectl(tmp_path, _SPOKECTL_COMPLETE="bash_complete", **(asked | patient | variables))
    assert (done.returncode, done.stderr) == (0, "")
    return [each.partition(",")[2] for each in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", list(COMMANDS)),
        ("ev", ["events"]),
        ("postgres s", ["status", "slots"]),
        ("up --no", ["--no-input"]),
        ("stop spoke-", [each for each in STACK.services if each.startswith("spoke-")]),
        ("restart spoke-1 spoke-", [each for each in STACK.services if each.startswith("spoke-") and each != "spoke-1"]),
        ("logs -f nginx post", ["postgres-primary", "postgres-replica"]),
        ("exec ng", ["nginx"]),
        ("switchover redis --to ", ["redis-master", "redis-replica"]),
        ("failover postgres --to ", ["postgres-primary", "postgres-replica"]),
        ("shell postgres --node ", ["postgres-primary", "postgres-replica"]),
        ("postgres reinit ", ["postgres-primary", "postgres-replica"]),
        ("config get SPOKE_LOG", ["SPOKE_LOG_LEVEL"]),
        ("config set SPOKE_LOG", ["SPOKE_LOG_LEVEL="]),
        ("config unset ", sorted(STACK.settings)),
        ("drill run ", sorted(all_drills())),
        ("drill show 2026", ["20260201-120000", "20260131-120000"]),
        ("status --stack ", ["second", "spoke"]),
        ("help ", [*COMMANDS, *TOPICS]),
        ("help versions pul", ["pull"]),
        ("completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_the_names_that_there_are_now(tmp_path: Path, line: str, offered: list[str]) -> None:
    (tmp_path / "state" / "second").mkdir(parents=True)
    for run in ("20260131-120000", "20260201-120000"):
        (StackState("spoke", tmp_path / "state").drills / run).mkdir(parents=True)
    assert tab(tmp_path, line) == offered


def test_drills_are_read_from_the_catalogs_text_as_they_are() -> None:
    assert drill_names() == sorted(all_drills())


def test_modules_and_versions_are_asked_from_the_registry(tool: Tool, registry: Running, tmp_path: Path) -> None:
    (tmp_path / "protos").mkdir()
    (tmp_path / "protos" / "a.proto").write_text('syntax = "proto3";\n')
    for module, version in (("payments", "v1.0.0"), ("payments", "v1.1.0"), ("orders", "v2")):
        assert tool("versions", "push", module, version, "protos", "--create").returncode == 0
    assert tab(tmp_path, "modules get pa", SPOKECTL_URL=registry.url) == ["payments"]
    assert sorted(tab(tmp_path, f"versions list --url {registry.url} ")) == ["orders", "payments"]
    offered = tab(tmp_path, "versions pull payments v", SPOKECTL_URL=registry.url)
    assert sorted(offered) == ["v1.0.0", "v1.1.0"]
    assert tab(tmp_path, "versions get orders ", SPOKECTL_URL=registry.url) == ["latest", "v2"]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes a connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        ("modules get ", {"SPOKECTL_URL": "http://127.0.0.1:1"}),
        ("modules get ", {"SPOKECTL_URL": "nonsense"}),
        ("nope ", {}),
        ("modules nope ", {}),
        ("restart --stack ../x ", {}),
        ("restart --file nowhere.yml ", {}),
        ("restart ", {"SPOKECTL_STATE_DIR": "relative"}),
        ("drill show ", {}),
        ("status --query a[ nothing-like-this", {}),
    ],
)
def test_what_goes_wrong_is_no_name_and_no_word(tmp_path: Path, line: str, variables: dict[str, str]) -> None:
    assert tab(tmp_path, line, **variables) == []


def test_a_registry_that_hangs_is_not_waited_for(tmp_path: Path, silent_port: int) -> None:
    """That it ends at all is the test: nobody ever answers."""
    for within_s in ("60", "0.1"):  # the request ends by itself, or everything is ended
        variables = {"SPOKECTL_URL": f"http://127.0.0.1:{silent_port}", "SPOKECTL_COMPLETE_WITHIN_S": within_s}
        assert tab(tmp_path, "modules get ", **variables) == []


@pytest.mark.parametrize("within_s", ["", "abc", "nan", "inf", "1e300", "-1", "0"])
def test_a_time_that_is_none_is_no_word_either(tmp_path: Path, within_s: str) -> None:
    """On a slow machine nothing is offered: the usual time holds then."""
    assert tab(tmp_path, "ev", SPOKECTL_COMPLETE_WITHIN_S=within_s) in (["events"], [])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(tmp_path: Path, shell: str) -> None:
    done = spokectl(tmp_path, "completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_SPOKECTL_COMPLETE={shell}_complete" in done.stdout
    assert spokectl(tmp_path, "completion", "csh").returncode == 2


def test_bash_takes_the_script_and_offers_what_it_is_told(tmp_path: Path) -> None:
    script = spokectl(tmp_path, "completion", "bash").stdout
    (tmp_path / "spokectl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m spokectl "$@"\n')
    (tmp_path / "spokectl").chmod(0o755)
    typed = "COMP_WORDS=(spokectl config get SPOKE_LOG); COMP_CWORD=3; _spokectl_completion spokectl; echo ${COMPREPLY[@]}"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SPOKECTL_STATE_DIR": str(tmp_path / "state")}
    environment["SPOKECTL_COMPLETE_WITHIN_S"] = "60"
    done = subprocess.run(["bash", "-c", f"{script}\n{typed}"], capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stdout) == (0, "SPOKE_LOG_LEVEL\n"), done.stderr
