import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spokectl.errors import Degraded, ExitCode, OutcomeUnknown, Refused
from spokectl.journal import Journal
from spokectl.result import Result, dumps, envelope, error_envelope
from spokectl.wait import Deadline, wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def test_a_wait_ends_as_soon_as_nothing_blocks() -> None:
    clock, asked = Clock(), []

    def blocker() -> str | None:
        asked.append(clock.now)
        return None if len(asked) == 3 else "not yet"

    wait_until(blocker, Deadline(10, clock), what="the test", interval_s=1, pause=clock.pause)
    assert asked == [0, 1, 2]


def test_a_wait_ends_at_its_deadline_with_the_last_reason() -> None:
    clock = Clock()
    with pytest.raises(OutcomeUnknown, match="the test: still not so after 3 s: port closed") as caught:
        wait_until(lambda: "port closed", Deadline(3, clock), what="the test", interval_s=1, pause=clock.pause)
    assert caught.value.code == "timeout"
    assert clock.now == pytest.approx(3, abs=0.1)


def test_a_capped_deadline_is_the_earlier_one() -> None:
    clock = Clock()
    deadline = Deadline(10, clock)
    clock.now = 4
    assert deadline.capped(2).remaining_s == 2
    assert deadline.capped(60).remaining_s == 6


@dataclass(frozen=True)
class Payload:
    name: str
    when: datetime
    where: Path


def test_the_envelope_has_all_its_keys_always() -> None:
    data = Payload("a", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), Path("/x"))
    assert json.loads(dumps(envelope("modules list", Result([data], warnings=("w",))))) == {
        "schema_version": 1,
        "command": "modules list",
        "status": "ok",
        "data": [{"name": "a", "when": "2026-01-02T03:04:05.000Z", "where": "/x"}],
        "warnings": ["w"],
        "error": None,
    }
    refused = Refused("port_taken", "port 80 is taken", actions=["stop it"], details={"port": 80})
    assert error_envelope("up", refused) == {
        "schema_version": 1,
        "command": "up",
        "status": "error",
        "data": None,
        "warnings": [],
        "error": {
            "code": "port_taken",
            "message": "port 80 is taken",
            "retryable": False,
            "details": {"port": 80},
            "actions": ["stop it"],
        },
    }


def test_degraded_is_partial() -> None:
    result = Result({}, exit_code=ExitCode.DEGRADED, error=Degraded("degraded", "one is down"))
    assert envelope("status", result)["status"] == "partial"


def test_json_on_stdout_is_one_ascii_line() -> None:
    text = dumps({"a": "ä\n\x1b[31m", "b": [1, None, True]})
    assert text == '{"a":"\\u00e4\\n\\u001b[31m","b":[1,null,true]}'


def test_the_journal_says_how_an_operation_ended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    with journal.operation("up"):
        pass
    with pytest.raises(Refused), journal.operation("down", volumes=True):
        raise Refused("locked", "busy")
    with pytest.raises(KeyboardInterrupt), journal.operation("up"):
        raise KeyboardInterrupt
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"cut sho')
    with journal.operation("repair"):
        pass
    assert [(e["operation"], e["phase"]) for e in journal.read()] == [
        ("up", "started"),
        ("up", "done"),
        ("down", "started"),
        ("down", "refused"),
        ("up", "started"),
        ("up", "broken off"),
        ("repair", "started"),
        ("repair", "done"),
    ]
