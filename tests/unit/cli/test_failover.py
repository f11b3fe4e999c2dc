"""`failover postgres --allow-data-loss` says what would be lost before it asks, and asks only then."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from spokectl.cli.app import main
from spokectl.errors import Refused
from spokectl.operations.moves import Check, MoveData, MoveRequest
from spokectl.operations.postgres import moves
from spokectl.result import Report, Result
from tests.unit.cli.conftest import Types

OLD, NEW = "postgres-primary", "postgres-replica"
SINCE = "replication has been degraded since 2026-01-31T12:00:00Z: at least 4096 bytes of WAL are on postgres-primary only"
WORDS = ["failover", "postgres", "--stack", "second"]
ALLOWED = [*WORDS, "--allow-data-loss"]


def plan(bytes_at_risk: int | None = 4096, check: Check | None = None) -> MoveData:
    checks = [check or Check("data loss", False, SINCE, "--allow-data-loss")]
    return MoveData("failover postgres", "planned", OLD, NEW, checks, bytes_at_risk=bytes_at_risk)


NOTHING = plan(0, Check("data loss", True, "0 bytes"))
SWITCHED = MoveData(
    "switchover postgres", "planned", OLD, NEW, [Check("room on the disks", False, "none left", "make some")]
)
Asked = list[MoveRequest]
Plans = Callable[[MoveData | Refused], Asked]


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Plans:
    """Says what --dry-run finds; what the operation is asked for is kept."""

    def plans(found: MoveData | Refused) -> Asked:
        asked: Asked = []

        def failover(_: Any, request: MoveRequest, report: Report) -> Result:
            asked.append(request)
            if not request.dry_run:
                return Result(MoveData("failover postgres", "moved", OLD, NEW))
            if isinstance(found, Refused):
                raise found
            return Result(found)

        monkeypatch.setattr(moves, "open_pair", lambda *_: None)
        monkeypatch.setattr(moves, "failover", failover)
        return asked

    return plans


@pytest.mark.parametrize("found", [plan(), plan(None), plan(0), plan(1000, Check("data loss", True, "at least 1000 bytes"))])
def test_what_would_be_lost_is_said_and_the_name_of_the_stack_is_asked_for(
    found: MoveData, plans: Plans, types: Types, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = plans(found)
    types("second\n")
    assert main(ALLOWED) == 0
    assert asked == [MoveRequest(None, dry_run=True, allow_data_loss=True), MoveRequest(None, allow_data_loss=True)]
    loss, question, *_ = capsys.readouterr().err.splitlines()
    assert loss == f"Would be lost: {found.checks[0].found}."
    assert "[type second to go on]" in question


def test_who_types_something_else_loses_nothing(plans: Plans, types: Types) -> None:
    asked = plans(plan())
    types("postgres-primary\n")
    assert main(ALLOWED) == 3
    assert [request.dry_run for request in asked] == [True]


@pytest.mark.parametrize("found", [NOTHING, SWITCHED, Refused("primary_alive", "nothing was changed: it lives")])
def test_where_nothing_would_be_lost_nothing_is_asked_and_nothing_may_be_lost(
    found: MoveData | Refused, plans: Plans, types: Types, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = plans(found)
    types("")
    assert main(ALLOWED) == 0
    assert asked[-1] == MoveRequest(None, dry_run=False, allow_data_loss=False)
    assert "to go on" not in capsys.readouterr().err


def test_without_a_terminal_it_is_yes_or_nothing(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = plans(NOTHING)
    monkeypatch.setattr("sys.stdin", None)
    assert main(ALLOWED) == 3
    assert asked == []
    assert main([*ALLOWED, "--yes"]) == 0
    assert asked == [MoveRequest(None, allow_data_loss=True)]


@pytest.mark.parametrize(
    ("words", "found", "last"),
    [
        (WORDS, SWITCHED, "It would be refused, for this does not hold: room on the disks (none left)."),
        (
            WORDS,
            plan(),
            f"It would be refused, for this does not hold: data loss ({SINCE}). "
            "Nothing is lost where the old primary can be started "
            "(`spokectl start postgres-primary --stack second`); else "
            "`spokectl failover postgres --allow-data-loss --stack second` is needed.",
        ),
        (ALLOWED, plan(), "Do it: spokectl failover postgres --allow-data-loss --stack second"),
        (WORDS, NOTHING, "Do it: spokectl failover postgres --stack second"),
    ],
)
def test_a_plan_ends_with_whether_it_would_be_refused(
    words: list[str], found: MoveData, last: str, plans: Plans, capsys: pytest.CaptureFixture[str]
) -> None:
    plans(found)
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == last
    assert said.count(last) == 1
    assert main([*words, "--dry-run", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["warnings"] == ([last] if last.startswith("It would") else [])
    assert shown.err == ""
