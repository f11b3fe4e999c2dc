"""Which files say that something runs where nothing does: real files, real processes, real sockets."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from spokectl.errors import Refused
from spokectl.operations.doctor.findings import Checked, Finding, Verdict
from spokectl.operations.doctor.fixes import Mended, mend
from spokectl.operations.doctor.scene import Scene
from spokectl.runtime.local.leftovers import stale_files
from spokectl.settings import StackState


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[StackState]:
    # Sockets need a short path.
    with TemporaryDirectory(prefix="doc", dir="/tmp") as folder:
        monkeypatch.setenv("SPOKECTL_STATE_DIR", folder)
        state = StackState("s")
        state.ensure()
        for name in ("pids", "run", "launchers"):
            (state.folder / name).mkdir(mode=0o700)
        yield state


@pytest.fixture
def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def names(state: StackState, *running: str) -> list[str]:
    return [str(each.path.relative_to(state.folder)) for each in stale_files(state, running)]


def test_a_pid_file_is_stale_when_its_process_is_gone(state: StackState, ended_pid: int) -> None:
    pids = state.folder / "pids"
    (pids / "gone").write_text(f"{ended_pid} digest\n")
    (pids / "lives").write_text(f"{os.getpid()} digest\n")
    (pids / "starts").write_text(f"{ended_pid} digest\n")
    (state.folder / "supervisord.pid").write_text(f"{ended_pid}\n")
    assert names(state, "starts") == ["supervisord.pid", "pids/gone"]


def test_a_socket_is_stale_when_nobody_listens(state: StackState) -> None:
    (state.folder / "run" / "nginx").mkdir()
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as left:
        listening.bind(str(state.folder / "run" / "supervisor.sock"))
        listening.listen()
        left.bind(str(state.folder / "run" / "nginx" / "left.sock"))
        left.close()
        assert names(state) == ["run/nginx/left.sock"]
        assert names(state, "nginx") == []


def test_what_a_killed_command_was_writing_is_stale(state: StackState, ended_pid: int) -> None:
    for name in ("stack.env.new", f".writable-{ended_pid}", f".writable-{os.getpid()}", "stack.env"):
        (state.folder / name).touch()
    assert names(state) == ["stack.env.new", f".writable-{ended_pid}"]


def mended(state: StackState, *checks: str) -> Mended:
    wanted = [Checked("stack", each, Verdict.WARNING, (Finding(Verdict.WARNING, "", fixable=True),)) for each in checks]
    return mend(Scene(state.name, None), wanted, lambda told: told("healed"))


def mended_by(state: StackState, *checks: str) -> tuple[list[str], list[str]]:
    found = mended(state, *checks)
    return found.done, found.failed


def test_fixing_removes_what_is_stale_and_nothing_else(state: StackState, ended_pid: int) -> None:
    stale, living = state.folder / "pids" / "gone", state.folder / "pids" / "lives"
    stale.write_text(f"{ended_pid} digest\n")
    living.write_text(f"{os.getpid()} digest\n")
    done, failed = mended_by(state, "stale-files")
    assert (done, failed) == ([f"removed {stale}: it names a process of gone that is gone"], [])
    assert (stale.exists(), living.exists()) == (False, True)


def test_fixing_takes_rights_away_and_gives_none(state: StackState) -> None:
    kept = {"events.jsonl": (0o644, 0o600), "stack.json": (0o440, 0o400), "lock": (0o600, 0o600)}
    for name, (before, _) in kept.items():
        (state.folder / name).touch()
        (state.folder / name).chmod(before)
    outside = Path(state.folder).parent / "outside"
    outside.touch()
    outside.chmod(0o644)
    (state.folder / "link.json").symlink_to(outside)
    done, failed = mended_by(state, "state-folder")
    assert failed == []
    assert {Path(line.split()[0]).name for line in done} == {"events.jsonl", "stack.json"}
    assert {name: (state.folder / name).stat().st_mode & 0o777 for name in kept} == {
        n: after for n, (_, after) in kept.items()
    }
    assert outside.stat().st_mode & 0o777 == 0o644


def test_only_what_was_found_is_mended(state: StackState, ended_pid: int) -> None:
    stale = state.folder / "pids" / "gone"
    stale.write_text(f"{ended_pid} digest\n")
    assert mended_by(state, "leftovers") == (["healed"], [])
    assert stale.exists()
    assert mended_by(state, "slots") == ([], [])


def test_what_another_command_holds_is_not_mended(state: StackState, ended_pid: int) -> None:
    from spokectl.operations.context import exclusive

    (state.folder / "pids" / "gone").write_text(f"{ended_pid} digest\n")
    with exclusive(state, "up"):
        found = mended(state, "stale-files")
    assert (found.done, found.failed) == ([], [])
    assert found.refused is not None
    assert "another operation is under way" in found.refused.message
    assert (state.folder / "pids" / "gone").exists()


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), OSError(28, "No space left on device"), Refused("x", "no")])
def test_a_fix_that_fails_in_whatever_way_is_said(state: StackState, error: Exception) -> None:
    def heal(told: object) -> None:
        raise error

    leftover = Checked("stack", "leftovers", Verdict.PROBLEM, (Finding(Verdict.PROBLEM, "x", fixable=True),))
    found = mend(Scene("s", None), [leftover], heal)
    assert (len(found.failed), found.done, found.refused) == (1, [], None)
