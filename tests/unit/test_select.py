from pathlib import Path

import pytest

from spokectl.errors import ExitCode, Refused, UsageError
from spokectl.model import Stack
from spokectl.runtime.select import runtime_for, select_runtime
from spokectl.settings import StackRecord, StackState

LOCAL = StackRecord("local", "/stack.yml", "2026-11-23T08:00:00+00:00")
DOCKER = StackRecord("docker", "/stack.yml", "2026-11-23T08:00:00+00:00")


def select(asked: str | None, record: StackRecord | None, environ: dict[str, str], lacking: str | None) -> tuple[str, str]:
    return select_runtime("second", asked, record, lambda: lacking, environ)


@pytest.mark.parametrize(
    ("asked", "environ", "record"),
    [
        ("local", {"SPOKECTL_RUNTIME": "docker"}, None),
        (None, {"SPOKECTL_RUNTIME": "local"}, None),
        (None, {}, LOCAL),
        ("local", {"SPOKECTL_RUNTIME": "docker"}, LOCAL),
        ("auto", {"SPOKECTL_RUNTIME": "docker"}, LOCAL),
    ],
)
def test_the_local_runtime_is_chosen_where_it_is_asked_for_or_recorded(
    asked: str | None, environ: dict[str, str], record: StackRecord | None
) -> None:
    name, reason = select(asked, record, environ, None)
    assert name == "local"
    assert reason


@pytest.mark.parametrize(
    ("asked", "environ", "record"),
    [("docker", {}, None), (None, {"SPOKECTL_RUNTIME": "docker"}, None), (None, {}, DOCKER), ("docker", {}, DOCKER)],
)
def test_the_docker_runtime_is_chosen_where_it_is_asked_for_or_recorded(
    asked: str | None, environ: dict[str, str], record: StackRecord | None
) -> None:
    assert select(asked, record, environ, "there is no Docker engine")[0] == "docker"


def test_where_nobody_asks_an_engine_with_the_images_decides_and_the_other_runtime_is_named() -> None:
    assert select(None, None, {}, None)[0] == "docker"
    assert "--runtime local" in select(None, None, {}, None)[1]
    name, reason = select("auto", None, {"SPOKECTL_RUNTIME": "docker"}, "the engine has no image spoke:local")
    assert name == "local"
    assert "the engine has no image spoke:local" in reason
    assert "--runtime docker" in reason


@pytest.mark.parametrize(("asked", "environ"), [("docker", {}), (None, {"SPOKECTL_RUNTIME": "docker"})])
def test_another_runtime_than_the_recorded_one_is_refused(asked: str | None, environ: dict[str, str]) -> None:
    with pytest.raises(Refused) as caught:
        select(asked, LOCAL, environ, None)
    assert caught.value.code == "other_runtime"
    assert caught.value.exit_code is ExitCode.REFUSED
    assert "spokectl up --runtime local --stack second" in caught.value.actions


def test_an_unknown_runtime_is_a_usage_error_that_says_where_it_stands() -> None:
    with pytest.raises(UsageError, match="SPOKECTL_RUNTIME is 'podman'"):
        select(None, None, {"SPOKECTL_RUNTIME": "podman"}, None)


def test_a_stack_of_another_release_is_refused(tmp_path: Path) -> None:
    stack, state = Stack("spoke", (tmp_path / "stack.yml",), {}, (), {}), StackState("spoke", tmp_path)
    assert runtime_for("local", stack, state).name == "local"
    assert runtime_for("docker", stack, state).name == "docker"
    with pytest.raises(Refused, match="kubernetes"):
        runtime_for("kubernetes", stack, state)
