"""The published schema: every command has one, and real answers fulfil it to the key."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator, ValidationError

from spokectl.cli.app import root
from spokectl.cli.reference import every_command
from spokectl.cli.schema import DATA, STREAMS, WITHOUT_JSON, schema
from spokectl.settings import StackRecord, StackState
from spokectl.stackfile import default_stack_file
from tests.contract.registry_cli.conftest import Running, Tool, registry, tool
from tests.contract.runtime.tiny import TinyStack
from tests.contract.test_cli import spokectl
from tests.contract.test_single_services import spokectl as on_stack
from tests.contract.test_single_services import stack
from tests.schema import checked, checked_line

__all__ = ["registry", "stack", "tool"]


def test_every_command_has_a_schema_or_no_json() -> None:
    named = [*DATA, *STREAMS, *WITHOUT_JSON]
    assert sorted(named) == sorted(words for words, command in every_command() if not isinstance(command, click.Group))


def test_the_schema_is_one_and_says_no_to_what_is_none() -> None:
    Draft202012Validator.check_schema(schema())
    good: dict[str, Any] = {
        "schema_version": 1,
        "command": "help",
        "status": "ok",
        "data": {"subject": "", "text": ""},
        "warnings": [],
    }
    for bad in (good, {**good, "error": None, "data": {"subject": ""}}, {**good, "error": None, "status": "fine"}):
        with pytest.raises(ValidationError):
            checked(json.dumps(bad))
    more = {**good, "error": None, "data": {**good["data"], "new": 1}}
    with pytest.raises(ValidationError):
        checked(json.dumps(more))
    Draft202012Validator(schema()).validate(more)  # a client of today can read what comes tomorrow


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        ("config list", 0),
        ("config get SPOKE_LOG_LEVEL", 0),
        ("config set SPOKE_LOG_LEVEL=debug", 0),
        ("config unset SPOKE_LOG_LEVEL", 0),
        ("down", 0),
        ("endpoints", 0),
        ("endpoints --env", 0),
        ("drill list", 0),
        ("drill show --list", 0),
        ("drill show", 4),
        ("help", 0),
        ("help json", 0),
        ("completion zsh", 0),
        ("status", 4),
        ("nope", 2),
        ("up --nope", 2),
        ("up --timeout 0", 2),
        ("modules", 2),
        ("", 2),
    ],
)
def test_an_answer_without_a_stack(tmp_path: Path, words: str, exit_code: int) -> None:
    done = spokectl(tmp_path, *words.split(), "--json")
    assert (done.returncode, done.stderr) == (exit_code, "")
    answer = checked(done.stdout)
    if exit_code == 0:
        assert answer["data"] is not None
        assert words.startswith(answer["command"])


def test_answers_of_a_registry(tool: Tool, registry: Running, tmp_path: Path) -> None:
    (tmp_path / "protos").mkdir()
    (tmp_path / "protos" / "a.proto").write_text('syntax = "proto3";\n')
    for words in (
        "modules create payments",
        "modules update payments -d More",
        "versions push payments v1 protos",
        "versions list payments",
        "versions get payments v1",
        "versions file payments v1 a.proto",
        "versions pull payments v1 out",
        "modules list",
        "modules list --limit 1",
        "modules get payments",
        "versions delete payments v1 --yes",
        "modules delete payments --yes",
        "modules get payments",
    ):
        answer = checked(tool(*words.split(), "--json").stdout)
        assert words.startswith(answer["command"])
        assert answer["data"] is not None or answer["error"]["code"] == "not_found"


def test_answers_of_a_stack(stack: TinyStack) -> None:
    for words in ("ps", "status", "stop one", "down"):
        with on_stack(stack, *words.split(), "--json") as running:
            out, _ = running.communicate(timeout=240)
        answer = checked(out)
        assert (answer["command"], answer["data"] is None) == (words.split(maxsplit=1)[0], False)


@pytest.fixture
def state(tmp_path: Path) -> StackState:
    state = StackState("spoke", tmp_path / "state")
    state.ensure()
    state.write_record(StackRecord("local", str(default_stack_file()), "2026-01-01T00:00:00+00:00"))
    return state


def test_lines_of_events(tmp_path: Path, state: StackState) -> None:
    said = '{"time":"2026-01-31T12:00:0%d.000+00:00","operation":"up","phase":"%s","actor":"ann","pid":7}\n'
    state.events_file.write_text("".join(said % each for each in enumerate(("started", "done", "started", "failed"))))
    lines = spokectl(tmp_path, "events", "--json").stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        checked_line("events", line)


def test_every_command_of_the_tree_is_found() -> None:
    assert {words for words, _ in every_command()} >= {"up", "modules create", "drill run", "help"}
    assert isinstance(root, click.Group)
