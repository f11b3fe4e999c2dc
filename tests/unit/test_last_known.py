"""What `down` knows of a stack whose file cannot be read."""

from pathlib import Path

import pytest

from spokectl.operations import last_known
from spokectl.settings import StackState
from spokectl.stackfile import default_stack_file, load_stack


@pytest.fixture
def state(tmp_path: Path) -> StackState:
    state = StackState("spoke", tmp_path)
    state.ensure()
    return state


def test_every_service_comes_back_as_it_was_noted(state: StackState) -> None:
    stack = load_stack("spoke", [default_stack_file()], shell={}, env_file={})
    last_known.keep(state, stack)
    known = last_known.read(state)
    assert known.services == stack.services
    assert (known.name, known.files) == (stack.name, stack.files)
    assert state.last_known_file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"files": [], "services": [{}]}', '{"files": [], "services": [1]}'])
def test_what_was_not_noted_or_is_damaged_is_a_stack_without_services(state: StackState, text: str | None) -> None:
    if text is not None:
        state.last_known_file.write_text(text)
    known = last_known.read(state)
    assert (known.name, known.services) == ("spoke", {})
