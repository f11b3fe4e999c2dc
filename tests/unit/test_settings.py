import errno
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spokectl.errors import ExitCode, Refused, UsageError
from spokectl.settings import (
    StackRecord,
    StackState,
    command_line,
    for_stack,
    read_env_file,
    stack_name,
    state_root,
    write_env_file,
)


def test_the_state_lies_where_the_environment_says() -> None:
    assert state_root({"SPOKECTL_STATE_DIR": "/a", "XDG_STATE_HOME": "/b", "HOME": "/c"}, is_root=False) == Path("/a")
    assert state_root({"XDG_STATE_HOME": "/b", "HOME": "/c"}, is_root=True) == Path("/b/spokectl")
    assert state_root({"HOME": "/c"}, is_root=True) == Path("/var/lib/spokectl")
    assert state_root({"HOME": "/c"}, is_root=False) == Path("/c/.local/state/spokectl")


def test_a_state_folder_that_would_be_another_one_elsewhere_is_refused() -> None:
    for name, value in (("SPOKECTL_STATE_DIR", "state"), ("SPOKECTL_STATE_DIR", "~/state"), ("HOME", "home")):
        with pytest.raises(UsageError) as caught:
            state_root({name: value}, is_root=False)
        assert caught.value.code == "bad_state_dir"
        assert "relative" in caught.value.message
        assert caught.value.actions
    assert state_root({"XDG_STATE_HOME": "b", "HOME": "/c"}, is_root=False) == Path("/c/.local/state/spokectl")


@pytest.mark.parametrize("odd", ["/a\nb", "/a\x1b[2J", "/a\x7f", "/\udcff", "/a\u202eb", "/a:b"])
def test_a_state_folder_that_no_configuration_can_name_is_refused(odd: str) -> None:
    with pytest.raises(UsageError) as caught:
        state_root({"SPOKECTL_STATE_DIR": odd}, is_root=False)
    assert caught.value.code == "bad_state_dir"
    assert caught.value.message.isprintable()


def test_without_a_home_the_way_out_is_named() -> None:
    with pytest.raises(Refused) as caught:
        state_root({}, is_root=False)
    assert caught.value.code == "no_state_dir"
    assert "SPOKECTL_STATE_DIR" in caught.value.actions[0]


def test_the_stack_is_the_one_asked_for() -> None:
    assert stack_name("a", {"SPOKECTL_STACK": "b"}) == "a"
    assert stack_name(None, {"SPOKECTL_STACK": "b"}) == "b"
    assert stack_name(None, {"SPOKECTL_STACK": ""}) == "spoke"


def test_a_command_to_type_means_the_same_stack() -> None:
    assert command_line("spoke", "up") == "spokectl up"
    assert command_line("second", "logs nginx") == "spokectl logs nginx --stack second"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("spokectl failover postgres", "spokectl failover postgres --stack second"),
        ("spokectl exec a -- psql -c 'SELECT 1'", "spokectl exec a --stack second -- psql -c 'SELECT 1'"),
        ("docker ps -a", "docker ps -a"),
    ],
)
def test_what_a_guard_tells_to_type_is_made_to_mean_its_stack(said: str, meant: str) -> None:
    """Typed as the guard says it, `failover postgres` would have moved the default stack's primary."""
    assert for_stack("second", said) == meant
    assert for_stack("spoke", said) == said


@pytest.mark.parametrize("name", ["", "A", "-a", "a/b", "..", "a b", "a\n", "x" * 64, "ä", "$(id)"])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        stack_name(name, {})


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True),
        st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0")),
    )
)
def test_settings_come_back_as_they_were_kept(values: dict[str, str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.env"
        write_env_file(path, values)
        assert read_env_file(path) == values
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_broken_env_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "e").write_text("# fine\nA=1\nnot a setting\n")
    path = tmp_path / "e"
    with pytest.raises(UsageError) as caught:
        read_env_file(path)
    assert (caught.value.code, caught.value.exit_code) == ("bad_env_file", ExitCode.USAGE)
    assert caught.value.message == f"{path}, line 3: expected NAME=VALUE"
    assert caught.value.actions == (f"mend or delete line 3 of {path}",)


@pytest.mark.parametrize(
    ("make", "why"),
    [(lambda path: path.mkdir(), "Is a directory"), (lambda path: path.write_bytes(b"A=\xff\n"), "it is not text in UTF-8")],
)
def test_an_env_file_that_is_no_text_file_is_named_with_the_reason(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    path = tmp_path / "e"
    make(path)
    with pytest.raises(UsageError) as caught:
        read_env_file(path)
    assert (caught.value.code, caught.value.exit_code) == ("bad_env_file", ExitCode.USAGE)
    assert caught.value.message.startswith(f"{path} cannot be read: ")
    assert why in caught.value.message
    assert caught.value.message.count(str(path)) == 1
    assert f"mv {path}" in caught.value.actions[0]


def test_a_setting_with_a_line_break_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line break"):
        write_env_file(tmp_path / "e", {"A": "x\ny"})


def test_the_record_comes_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    state = StackState("s", tmp_path)
    assert state.read_record() is None
    state.ensure()
    record = StackRecord("local", "/f.yml", "2026-01-01T00:00:00+00:00")
    state.write_record(record)
    assert state.read_record() == record
    for damaged, code in [
        ("{", "state_damaged"),
        ("{}", "state_damaged"),
        ("[]", "state_damaged"),
        ('{"version": 99}', "state_newer"),
    ]:
        (state.folder / "stack.json").write_text(damaged)
        with pytest.raises(Refused) as caught:
            state.read_record()
        assert caught.value.code == code


def test_a_state_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused) as caught:
        StackState("s", tmp_path / "file").ensure()
    assert caught.value.code == "state_dir"


def test_a_record_of_somebody_else_is_no_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StackState("spoke", tmp_path)
    state.ensure()
    state.write_record(StackRecord("local", "f", "2026-01-01T00:00:00+00:00"))

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(state.record_file))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(Refused) as caught:
        state.read_record()
    assert caught.value.code == "state_unreadable"
    assert caught.value.message == f"{state.record_file} cannot be read: Permission denied"
    assert caught.value.actions[0].startswith("run spokectl as ")
    assert not any("rm " in action for action in caught.value.actions)


def _ensure_often(root: str) -> None:
    for _ in range(100):
        StackState("s", Path(root)).ensure()


def test_commands_that_come_at_the_same_time_do_not_trip_over_each_other(tmp_path: Path) -> None:
    # Each proves that it can write by a file of its own; a shared one was removed by the other command.
    with ProcessPoolExecutor(max_workers=4, mp_context=get_context("spawn")) as pool:
        list(pool.map(_ensure_often, [str(tmp_path)] * 4))
    assert list((tmp_path / "s").iterdir()) == []
