"""A node that does not exist is said before anybody is asked about it."""

import json
from pathlib import Path

import pytest

from spokectl.cli.app import main
from spokectl.errors import ExitCode
from spokectl.model import HealthProbe, Kind, Service, Stack
from spokectl.operations.context import Context
from spokectl.operations.postgres import moves
from spokectl.settings import StackState
from tests.unit.test_readiness import SeenRuntime


@pytest.mark.parametrize("words", [("adopt", "nope"), ("reinit", "nope", "--discard"), ("reinit", "nope", "--dry-run")])
def test_a_node_that_does_not_exist_is_not_asked_about(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = {name: Service(name, Kind.POSTGRES, "", HealthProbe("postgres", 5432), {}, name) for name in ("a", "b")}
    stack = Stack("spoke", (tmp_path / "stack.yml",), nodes, (), {})
    context = Context(stack, StackState("spoke", tmp_path), SeenRuntime([{}]))
    monkeypatch.setattr(moves, "open_pair", lambda *_: context)
    assert main(["postgres", *words, "--json"]) == ExitCode.NOT_FOUND
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unknown_node"
