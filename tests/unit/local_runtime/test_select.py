import pytest

from spokectl.errors import ExitCode, Refused, UsageError
from spokectl.model import Stack
from spokectl.runtime.select import runtime_for, select_runtime
from spokectl.settings import StackRecord, StackState
from tests.unit.local_runtime.conftest import MakeStack

LOCAL = StackRecord("local", "/stack.yml", "2026-11-23T08:00:00+00:00")


@pytest.mark.parametrize(
    ("asked", "environ", "record"),
    [
        (None, {}, None),
        ("auto", {"SPOKECTL_RUNTIME": "docker"}, None),
        ("local", {"SPOKECTL_RUNTIME": "docker"}, None),
        (None, {"SPOKECTL_RUNTIME": "local"}, None),
        (None, {}, LOCAL),
        ("local", {"SPOKECTL_RUNTIME": "docker"}, LOCAL),
        ("auto", {}, LOCAL),
    ],
)
def test_the_local_runtime_is_chosen_with_a_reason(
    asked: str | None, environ: dict[str, str], record: StackRecord | None
) -> None:
    name, reason = select_runtime(asked, record, environ)
    assert name == "local"
    assert reason


@pytest.mark.parametrize(("asked", "environ"), [("docker", {}), (None, {"SPOKECTL_RUNTIME": "docker"})])
def test_another_runtime_than_the_recorded_one_is_refused(asked: str | None, environ: dict[str, str]) -> None:
    with pytest.raises(Refused) as caught:
        select_runtime(asked, LOCAL, environ)
    assert caught.value.code == "other_runtime"
    assert caught.value.exit_code is ExitCode.REFUSED
    assert any("--runtime docker" in action for action in caught.value.actions)


def test_the_docker_runtime_is_refused_until_there_is_one() -> None:
    with pytest.raises(Refused) as caught:
        select_runtime("docker", None, {})
    assert caught.value.code == "no_docker_runtime"


def test_an_unknown_runtime_is_a_usage_error_that_says_where_it_stands() -> None:
    with pytest.raises(UsageError, match="SPOKECTL_RUNTIME is 'podman'"):
        select_runtime(None, None, {"SPOKECTL_RUNTIME": "podman"})


def test_a_stack_of_another_release_is_refused(make_stack: MakeStack) -> None:
    stack: Stack = make_stack()
    assert runtime_for("local", stack, StackState("spoke")).name == "local"
    with pytest.raises(Refused, match="docker"):
        runtime_for("docker", stack, StackState("spoke"))
