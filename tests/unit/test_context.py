import os
import threading
from pathlib import Path

import pytest

from spokectl.errors import Refused
from spokectl.operations.context import exclusive
from spokectl.settings import StackState


def test_a_second_operation_is_refused_and_told_who_holds_the_stack_since_when(tmp_path: Path) -> None:
    state = StackState("s", tmp_path)
    with exclusive(state, "up"), pytest.raises(Refused) as caught, exclusive(state, "down"):
        raise AssertionError("two at the same time")
    assert caught.value.code == "locked"
    assert f"up, process {os.getpid()}, since 20" in caught.value.message
    with exclusive(state, "down"):
        assert state.lock_file.stat().st_mode & 0o777 == 0o600


def test_who_has_just_taken_the_stack_is_named_once_they_have_written_it(tmp_path: Path) -> None:
    # Between taking the lock and writing who took it there is a moment: the one refused in it waits for the name.
    state = StackState("s", tmp_path)
    with exclusive(state, "up"):
        holder = state.folder / "lock.holder"
        said = holder.read_text()
        holder.unlink()
        writer = threading.Timer(0.2, holder.write_text, [said])
        writer.start()
        with pytest.raises(Refused, match=f"up, process {os.getpid()}"), exclusive(state, "down"):
            raise AssertionError("two at the same time")
        writer.join()
