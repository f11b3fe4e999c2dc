"""What the local runtime cannot do is said with the file or port that is in the way, and with what to do about it."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spokectl.errors import ExitCode, Failed, Incomplete, Refused
from spokectl.model import Kind, Port
from spokectl.runtime.local import preparation
from spokectl.runtime.local import runtime as local_runtime
from spokectl.runtime.local.places import Places
from spokectl.runtime.local.preparation import entry_script
from spokectl.runtime.local.runtime import LocalRuntime
from spokectl.settings import StackState
from spokectl.wait import Deadline
from tests.unit.local_runtime.conftest import build_service, build_stack


def test_a_kind_without_an_entry_script_is_refused_with_where_one_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where spokectl's own files are incomplete: with them every kind has one.
    monkeypatch.setattr(preparation, "default_stack_file", lambda: tmp_path / "own" / "ha-stack.yml")
    with pytest.raises(Refused) as caught:
        entry_script(build_stack(folder=tmp_path / "mine"), Kind.S3)
    assert (caught.value.code, caught.value.exit_code) == ("no_entry_script", ExitCode.REFUSED)
    assert caught.value.message == f"there is no entry script services/s3/run beside {tmp_path}/mine/ha-stack.yml"
    assert "services folder" in caught.value.actions[0]


@pytest.fixture
def state(tmp_path: Path) -> StackState:
    state = StackState("second", tmp_path / "my stacks")
    state.ensure()
    return state


@pytest.fixture
def places(state: StackState) -> Iterator[Places]:
    made = Places(state)
    made.ensure()
    yield made
    made.remove(volumes=True)


def test_data_that_cannot_be_deleted_is_named_with_its_whole_path(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another user's, say, deep in a volume: root may delete anything, so the kernel's answer is made here."""
    data = places.volume("data")
    (data / "base").mkdir(parents=True)
    (data / "base" / "1").write_text("")
    unlink = os.unlink

    def denied(path: str, *, dir_fd: int | None = None) -> None:
        if path == "1":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", denied)
    with pytest.raises(Failed) as caught:
        places.remove(volumes=True)
    doomed = data.parent.with_name("volumes.deleted")
    assert (caught.value.code, caught.value.exit_code) == ("cannot_delete", ExitCode.FAILED)
    assert caught.value.message == f"nothing runs any more, but {doomed} cannot be deleted: Permission denied"
    assert caught.value.actions == (f"delete it by hand: rm -r '{doomed}'",)


@pytest.fixture
def left_behind(places: Places) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of the service `spoke-1` whose supervisor is gone."""
    words = [sys.executable, "-E", "-S", "-c", "import signal; signal.pause()"]
    with subprocess.Popen(words, start_new_session=True) as process:
        places.pid_file("spoke-1").write_text(f"{process.pid} digest")
        yield process
        process.kill()


@pytest.mark.parametrize(("volumes", "again"), [(False, "down"), (True, "down --volumes")])
def test_a_port_that_is_still_taken_when_all_has_ended_is_named_and_the_data_stays(
    left_behind: "subprocess.Popen[bytes]",
    places: Places,
    state: StackState,
    monkeypatch: pytest.MonkeyPatch,
    volumes: bool,
    again: str,
) -> None:
    monkeypatch.setattr(local_runtime, "_PORTS_FREE_WITHIN_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        service = build_service(ports=(Port("127.0.0.1", port, 8080),), stop_grace_s=60.0)
        stack = replace(build_stack(service), name="second")
        with pytest.raises(Incomplete) as caught:
            LocalRuntime(stack, state, {}).tear_down(Deadline(60), volumes=volumes, notice=lambda _: None)
    assert left_behind.wait(60) != 0
    assert (caught.value.code, caught.value.exit_code) == ("port_still_taken", ExitCode.INCOMPLETE)
    assert caught.value.message == f"everything of the stack has ended, but something listens still: {port} (spoke-1)"
    assert "ss -ltnp" in caught.value.actions[0]
    assert caught.value.actions[-1] == f"spokectl {again} --stack second"
    assert places.volume("").exists()
