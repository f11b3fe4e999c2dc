"""What is asked beside a guard that lives, one that is just starting, and one that is gone."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from pgguard.control import Control, ControlError
from pgguard.record import SYNCHRONOUS, Record, RecordStore

from tests.unit.guard.test_configuration import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def woken() -> Iterator[list[int]]:
    """The signals that this process, which stands for the guard, has been sent."""
    received: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    yield received
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def control(tmp_path: Path) -> Control:
    found = settings(tmp_path)
    found.cluster_dir.mkdir(exist_ok=True)
    store = RecordStore(found.cluster_dir)
    store.create(Record("7", 1, found.peer_node, SYNCHRONOUS))
    store.write_status(found.node, {"guard_pid": os.getpid()})
    return Control(found)


def name_own_node(control: Control) -> Record:
    node = control.status()["node"]
    return control.name_primary(node, 1, "the test", "to see")


def test_the_guard_of_the_node_that_is_named_looks_at_the_record_at_once(control: Control, woken: list[int]) -> None:
    assert name_own_node(control).epoch == 2
    assert woken == [signal.SIGUSR1]


def test_a_process_that_may_have_taken_a_lost_guards_number_is_left_alone(
    control: Control, woken: list[int], tmp_path: Path
) -> None:
    found = settings(tmp_path)
    os.utime(found.cluster_dir / f"{found.node}.json", (0, 0))
    assert name_own_node(control).epoch == 2
    assert woken == []


def test_a_guard_that_lives_but_renews_nothing_does_not_count_as_alive(control: Control, tmp_path: Path) -> None:
    assert control.status()["guard_alive"] is True
    found = settings(tmp_path)
    os.utime(found.cluster_dir / f"{found.node}.json", (0, 0))
    assert control.status()["guard_alive"] is False


def test_without_any_guard_the_record_is_changed_all_the_same(control: Control, tmp_path: Path) -> None:
    found = settings(tmp_path)
    (found.cluster_dir / f"{found.node}.json").unlink()
    assert name_own_node(control).primary == found.node


def test_what_a_starting_guard_has_thrown_away_is_asked_again(control: Control, tmp_path: Path) -> None:
    """Found by a `switchover` after a killed `failover`: the old primary's guard started just as it was told to rejoin."""
    found = settings(tmp_path)
    store = RecordStore(found.cluster_dir)
    asked: list[str] = []

    def guard(*_: object) -> None:
        asked.append(json.loads(found.request_path.read_text())["id"])
        found.request_path.unlink()
        handled = asked[-1] if len(asked) > 1 else None
        store.write_status(found.node, {"guard_pid": os.getpid(), "state": "running", "request": handled})

    before = signal.signal(signal.SIGUSR1, guard)
    try:
        status = control.rejoin(60.0)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(asked) == 2
    assert status["request"] == asked[1] != asked[0]


def test_a_standby_that_must_be_promoted_has_not_rejoined_as_primary(control: Control, tmp_path: Path) -> None:
    found = settings(tmp_path)
    store = RecordStore(found.cluster_dir)
    answer = {"state": "running", "role": "standby", "code": "move-unfinished", "message": "a move is not finished"}

    def guard(*_: object) -> None:
        asked = json.loads(found.request_path.read_text())["id"]
        command = "spokectl failover postgres"
        store.write_status(found.node, {"guard_pid": os.getpid(), "request": asked, "command": command, **answer})

    before = signal.signal(signal.SIGUSR1, guard)
    try:
        with pytest.raises(ControlError, match="a move is not finished; type: spokectl failover postgres"):
            control.rejoin(60.0)
    finally:
        signal.signal(signal.SIGUSR1, before)
