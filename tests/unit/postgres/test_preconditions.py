"""What must hold before a switchover, and what a failover would lose."""

from dataclasses import replace

import pytest

from spokectl.clients.postgres_session import Position, Sender
from spokectl.lsn import lsn_number, lsn_text
from spokectl.operations.moves import typed_for
from spokectl.operations.postgres.preconditions import (
    MAX_LAG_BYTES,
    Measured,
    failover_risk,
    switchover_checks,
    switchover_warnings,
)
from spokectl.operations.postgres.tables import FAILOVER_STEPS, SWITCHOVER_STEPS

PRIMARY = Position(False, None, None, False, False, "77", 0, 0, 0)
STANDBY = Position(True, 5000, 5000, True, False, "77", 0, 0, 0)
LIMITS = {"max_connections": 200}
WELL = Measured(
    old="postgres-primary",
    new="postgres-replica",
    recorded_primary="postgres-primary",
    mode="synchronous",
    wants_synchronous=True,
    old_position=PRIMARY,
    new_position=STANDBY,
    sender=Sender(synchronous=True, replay_lag_bytes=0),
    old_limits=LIMITS,
    new_limits=LIMITS,
)


def failing(seen: Measured) -> list[str]:
    return [check.name for check in switchover_checks(seen) if not check.ok]


def test_what_a_remedy_tells_to_type_means_the_stack_that_was_looked_at() -> None:
    paused = replace(WELL, new_position=replace(STANDBY, replay_paused=True), sender=None)
    remedies = {check.name: check.remedy for check in typed_for("second", switchover_checks(paused))}
    assert remedies["standby streams"] == "spokectl start postgres-replica --stack second"
    assert remedies["replay runs"].startswith("spokectl exec postgres-replica --stack second -- psql ")
    silent = replace(WELL, silent=["postgres-primary", "postgres-replica"])
    remedies |= {check.name: check.remedy for check in typed_for("second", switchover_checks(silent)) if not check.ok}
    assert remedies["guards act"] == "spokectl restart postgres-primary postgres-replica --stack second"
    assert remedies["lag"] == "wait until the standby has caught up"


def test_a_pair_that_is_well_may_be_switched_over() -> None:
    assert failing(WELL) == []
    assert switchover_warnings(WELL) == []
    assert failing(replace(WELL, mode="asynchronous", wants_synchronous=False)) == []


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("one primary", replace(WELL, recorded_primary="postgres-replica")),
        ("one primary", replace(WELL, old_position=replace(PRIMARY, in_recovery=True))),
        ("same cluster", replace(WELL, new_position=replace(STANDBY, system_identifier="78"))),
        ("room on the disks", replace(WELL, full=["postgres-primary"])),
        ("room on the disks", replace(WELL, full=["postgres-replica"])),
        ("guards act", replace(WELL, silent=["postgres-primary"])),
        ("standby streams", replace(WELL, new_position=replace(STANDBY, receiving=False))),
        ("protection", replace(WELL, mode="degraded")),
        ("protection", replace(WELL, sender=Sender(synchronous=False, replay_lag_bytes=0))),
        ("protection", replace(WELL, mode="asynchronous")),
        ("lag", replace(WELL, sender=Sender(True, MAX_LAG_BYTES + 1))),
        ("replay runs", replace(WELL, new_position=replace(STANDBY, replay_paused=True))),
        ("no base backup", replace(WELL, old_position=replace(PRIMARY, base_backups=1))),
        ("same limits", replace(WELL, new_limits={"max_connections": 100})),
    ],
)
def test_each_precondition_fails_alone_and_says_what_to_do(name: str, seen: Measured) -> None:
    assert failing(seen) == [name]
    assert next(check for check in switchover_checks(seen) if not check.ok).remedy


def test_without_a_standby_that_streams_its_lag_is_unknown_too() -> None:
    assert failing(replace(WELL, sender=None)) == ["standby streams", "lag"]


def test_what_will_be_noticed_is_said() -> None:
    said = switchover_warnings(replace(WELL, old_position=replace(PRIMARY, long_transactions=2, prepared_transactions=1)))
    assert len(said) == 2


SYNCHRONOUS = {"mode": "synchronous", "primary": "a"}
DEGRADED = {"mode": "degraded", "primary": "a", "since_lsn": "0/10", "time": "10:00"}
ASYNCHRONOUS = {"mode": "asynchronous", "primary": "a"}


@pytest.mark.parametrize(
    ("record", "last", "received", "bytes_", "refused"),
    [
        (SYNCHRONOUS, 900, 100, 0, False),
        (SYNCHRONOUS, None, None, 0, False),
        (DEGRADED, 100, 100, 0, True),
        (DEGRADED, 900, 100, 800, True),
        (DEGRADED, None, 100, None, True),
        (ASYNCHRONOUS, 900, 100, 800, False),
        (ASYNCHRONOUS, 100, 900, 0, False),
        (ASYNCHRONOUS, 2000, 100, 1900, True),
        (ASYNCHRONOUS, None, 100, None, True),
    ],
)
def test_what_a_failover_may_lose(
    record: dict[str, object], last: int | None, received: int | None, bytes_: int | None, refused: bool
) -> None:
    risk = failover_risk(record, last, received, limit_bytes=1000)
    assert (risk.bytes_, bool(risk.refused)) == (bytes_, refused)


def test_a_refusal_names_the_bytes_and_since_when() -> None:
    refused = failover_risk(DEGRADED, 900, 100, 1000).refused
    assert "at least 800 bytes" in refused
    assert "0/10" in refused
    assert "10:00" in refused


@pytest.mark.parametrize("steps", [SWITCHOVER_STEPS, FAILOVER_STEPS], ids=["switchover", "failover"])
def test_in_no_prefix_of_a_table_two_nodes_may_be_primary(steps: tuple[object, ...]) -> None:
    """The old one is down before the record names the new one, and that comes before the promotion."""
    ids = [step.id for step in steps]  # type: ignore[attr-defined]
    down = "stop" if "stop" in ids else "fence"
    assert ids.index(down) < ids.index("name") < ids.index("promote") < ids.index("rejoin")
    before = steps[: ids.index("name")]
    # What takes writes away before the point of no return can be undone.
    assert all(step.undo is not None for step in before if step.id == down)  # type: ignore[attr-defined]
    assert all(step.undo is None for step in steps[ids.index("name") :])  # type: ignore[attr-defined]
    assert not any(step.aftercare for step in steps[: ids.index("follow")])  # type: ignore[attr-defined]


def test_positions_are_numbers_of_bytes() -> None:
    assert lsn_number("1/00000010") == (1 << 32) + 16
    assert lsn_text((1 << 32) + 16) == "1/10"
    with pytest.raises(ValueError, match="is no LSN"):
        lsn_number("5000")
