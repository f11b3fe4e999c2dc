"""A history survives on disk as it was, also when the process that wrote it was killed."""

import threading
from pathlib import Path

import pytest

from spokectl.drills.history import Clock, Ledger, Outcome, Read, Request, Write, read_ledger
from spokectl.errors import Failed

HISTORY: list[Request] = [
    Write("a", 1.0, 1.5, Outcome.ACKNOWLEDGED, client="1"),
    Read("a", 2.0, 2.25, found=True, client="2", layer="redis"),
    Write("b", 2.0, 2.5, Outcome.REFUSED, why="409", client="1"),
    Read("b", 3.0, 3.5, found=None, why="no answer — gone"),
    Write("c", 4.0, 4.5, Outcome.IN_DOUBT, why="line one\nline two", layer="postgres"),
]


def written(path: Path) -> Path:
    with Ledger(path) as ledger:
        for request in HISTORY:
            ledger.add(request)
    return path


def test_what_was_added_is_read_in_the_same_order(tmp_path: Path) -> None:
    assert read_ledger(written(tmp_path / "ledger")) == HISTORY


def test_what_was_added_is_on_disk_before_the_ledger_is_closed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(HISTORY[0])
    assert read_ledger(tmp_path / "ledger") == HISTORY[:1]
    ledger.close()


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "ledger")
    path.write_bytes(path.read_bytes()[:-10])
    assert read_ledger(path) == HISTORY[:-1]


@pytest.mark.parametrize(
    "line", ["{}", "[]", '{"kind": "rumour"}', '{"kind": "write", "key": "a", "outcome": "perhaps"}', "no"]
)
def test_a_whole_line_that_is_no_request_is_named(tmp_path: Path, line: str) -> None:
    path = written(tmp_path / "ledger")
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(Failed, match=f"{path}, line 6, ") as caught:
        read_ledger(path)
    assert caught.value.code == "ledger_damaged"


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    def add(client: str) -> None:
        for number in range(200):
            ledger.add(Write(f"{client}-{number}", 0, 1, Outcome.ACKNOWLEDGED, client=client))

    with Ledger(tmp_path / "ledger") as ledger:
        threads = [threading.Thread(target=add, args=(str(number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({request.key for request in read_ledger(tmp_path / "ledger")}) == 1600


def test_the_clock_does_not_follow_the_machine_s_when_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    before = clock.now_s()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert clock.now_s() >= before
