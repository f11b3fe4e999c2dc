"""What `up` leaves behind when it fails: in the journal of events, and of the settings that it was given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spokectl.errors import Refused, SpokectlError
from spokectl.journal import Journal
from spokectl.model import HealthProbe, Inspection, Kind, RunState, Service, Stack
from spokectl.operations import lifecycle
from spokectl.operations.context import Context
from spokectl.operations.lifecycle import UpRequest, down, up
from spokectl.result import Report
from spokectl.runtime.base import Notice, Runtime
from spokectl.settings import StackState
from spokectl.wait import Deadline
from tests.unit.test_readiness import SeenRuntime, unheard

pytestmark = pytest.mark.timeout(60)


class Started(SeenRuntime):
    """Starts what it is told to, unless it refuses to; what it starts is seen as the view says."""

    refuses = False

    def changed(self, services: Sequence[str], deadline: Deadline) -> list[str]:
        return []

    def bring_up(self, services: Sequence[str], deadline: Deadline, notice: Notice) -> None:
        if self.refuses:
            raise Refused("no_room", "the disk is full")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackState:
    monkeypatch.setenv("SPOKECTL_STATE_DIR", str(tmp_path))
    return StackState("second")


@pytest.fixture
def runtime(state: StackState, monkeypatch: pytest.MonkeyPatch) -> Started:
    """Its stack has a job that fails."""
    service = Service("setup", Kind.JOB, "job", HealthProbe("job"), {}, "setup")
    stack = Stack("second", (state.folder / "stack.yml",), {"setup": service}, (), {})
    runtime = Started([{"setup": Inspection("setup", RunState.FAILED, exit_code=7)}])

    def prepare(request: UpRequest, state: StackState, report: Report) -> tuple[Stack, Runtime]:
        state.env_file.write_text("GIVEN=1")
        return stack, runtime

    monkeypatch.setattr(lifecycle, "_prepare", prepare)
    return runtime


def failed_up(state: StackState) -> tuple[str, list[dict[str, Any]]]:
    """The code with which it fails; and what the journal says."""
    with pytest.raises(SpokectlError) as caught:
        up(UpRequest(state.name, None), unheard)
    return caught.value.code, [each for each in Journal(state.events_file).read() if each["operation"] == "up"]


def test_an_up_whose_wait_fails_is_told_as_failed_with_its_code_and_message(state: StackState, runtime: Started) -> None:
    code, (started, ended) = failed_up(state)
    assert (started["phase"], ended["phase"], ended["code"]) == ("started", "failed", code)
    assert "setup" in ended["message"]


@pytest.mark.parametrize(
    ("damaged", "refuses", "code", "phase", "kept"),
    [(True, False, "journal_damaged", "failed", True), (False, True, "no_room", "refused", False)],
)
def test_an_up_that_is_refused_has_failed_and_keeps_its_settings_once_something_was_started(
    damaged: bool, refuses: bool, code: str, phase: str, kept: bool, state: StackState, runtime: Started
) -> None:
    state.ensure()
    if damaged:
        state.underway_file.write_text("{}\n")
    runtime.refuses = refuses
    found, (_, ended) = failed_up(state)
    assert (found, ended["phase"], ended["code"]) == (code, phase, code)
    assert state.env_file.exists() is kept


def test_a_down_that_is_refused_once_everything_has_ended_has_failed(
    state: StackState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ending(Started):
        def tear_down(self, deadline: Deadline, *, volumes: bool, notice: Notice) -> list[str]:
            return []

        def unbuilt(self, services: Sequence[str]) -> list[str]:
            return []

        def build(self, services: Sequence[str], deadline: Deadline, progress: Notice) -> None:
            raise AssertionError("what ends is not built")

        def remove_images(self) -> list[str]:
            raise Refused("no_engine", "no Docker engine answers")

    context = Context(Stack("second", (tmp_path / "stack.yml",), {}, (), {}), state, Ending([{}]))
    monkeypatch.setattr(lifecycle, "_context_to_end", lambda *_: (context, ()))
    with pytest.raises(Refused):
        down("second", None, volumes=False, timeout_s=1.0, report=unheard, images=True)
    assert [each["phase"] for each in context.journal.read()] == ["started", "failed"]
