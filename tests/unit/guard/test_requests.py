"""What a guard is asked by its request file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pgguard.guard import Guard
from pgguard.requests import Request, write_request

from tests.unit.guard.test_configuration import settings

if TYPE_CHECKING:
    from pathlib import Path

    from pgguard.processes import Programs


def test_a_request_that_comes_while_the_one_before_is_dealt_with_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "request"
    request = Request(path)
    request.read()
    # It came after the look, and the guard has begun what it would have done anyway.
    later = write_request(path, "rejoin", discard=False)
    assert request.forget() is None
    request.read()
    assert (request.id, request.action) == (later, "rejoin")


def test_a_request_that_was_dealt_with_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "request"
    request = Request(path)
    first = write_request(path, "hold", discard=False)
    request.read()
    assert request.forget() == first
    request.read()
    assert request.id is None
    assert request.forget() is None
    request.read()
    assert request.id is None


def test_the_words_of_a_copy_are_used_up_once_it_is_made_and_its_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "request"
    request = Request(path)
    asked = write_request(path, "reinit", discard=True)
    request.read()
    assert (request.wants_copy, request.may_discard) == (True, True)
    request.copy_is_done()
    request.read()
    assert (request.wants_copy, request.may_discard, request.id) == (False, False, asked)


def test_what_an_earlier_guard_was_asked_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "request"
    write_request(path, "reinit", discard=True)
    request = Request(path)
    request.read()
    assert request.id is None
    assert path.exists()
    request.clear()
    request.read()
    assert request.id is None
    assert not path.exists()


@pytest.mark.parametrize("before", [False, True], ids=["first", "after another guard's"])
def test_a_request_left_while_the_guard_starts_is_dealt_with(tmp_path: Path, before: bool) -> None:
    path = tmp_path / "request"
    if before:
        write_request(path, "reinit", discard=True)
    request = Request(path)
    asked = write_request(path, "rejoin", discard=False)
    request.clear()
    request.read()
    assert (request.id, request.action) == (asked, "rejoin")


def test_a_guard_knows_what_was_there_before_anybody_can_see_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`postgres --version` may take so long that the status is written: what is asked then is no earlier guard's."""
    made: list[bool] = []

    class Seen(Request):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            made.append(True)

    def ask_version(_: Programs) -> int:
        assert made
        return 18

    monkeypatch.setattr("pgguard.guard.Wakeups", object)
    monkeypatch.setattr("pgguard.guard.Request", Seen)
    monkeypatch.setattr("pgguard.observe.major_version", ask_version)
    Guard(settings(tmp_path), {}, [])
    assert made == [True]
