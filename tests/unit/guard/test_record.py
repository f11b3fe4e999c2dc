"""The cluster record on a real file system."""

from __future__ import annotations

import json
import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest
from pgguard.record import (
    ASYNCHRONOUS,
    DEGRADED,
    SYNCHRONOUS,
    Move,
    Record,
    RecordError,
    RecordExistsError,
    RecordStore,
    render,
)

if TYPE_CHECKING:
    from pathlib import Path

# At a time of its own: it is in the names of tests, which are the same in each process that collects them.
CLAIM = Record(None, 1, "postgres-primary", SYNCHRONOUS)._replace(
    changed_by="postgres-primary", reason="first start", time="2026-11-28T08:00:00.000Z"
)


def claim(directory: Path, node: str) -> str:
    try:
        RecordStore(directory).create(CLAIM._replace(primary=node))
    except RecordExistsError:
        return ""
    return node


def test_there_is_no_record_at_first(tmp_path: Path) -> None:
    assert RecordStore(tmp_path).read() is None


def test_a_missing_folder_is_an_error_and_not_a_missing_record(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="does not exist"):
        RecordStore(tmp_path / "unmounted").read()


def test_a_record_survives_writing_and_reading(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    full = CLAIM._replace(
        system_identifier="7", since_lsn=0x16B374D848, moved_from=Move("postgres-replica", DEGRADED, 0x3000148)
    )
    store.create(full)
    assert store.read() == full
    assert json.loads((tmp_path / "cluster.json").read_text())["since_lsn"] == "16/B374D848"


def test_only_one_of_many_processes_claims_the_cluster(tmp_path: Path) -> None:
    names = [f"node-{number}" for number in range(8)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        winners = [name for name in pool.starmap(claim, [(tmp_path, name) for name in names]) if name]
    assert len(winners) == 1
    stored = RecordStore(tmp_path).read()
    assert stored is not None
    assert stored.primary == winners[0]
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.json"]


def test_a_change_of_a_record_that_has_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.create(CLAIM)
    moved = CLAIM.moved("postgres-replica", 0x100, "operator", "failover")
    store.replace(CLAIM, moved)
    with pytest.raises(RecordError, match="changed meanwhile"):
        store.replace(CLAIM, CLAIM.moved("postgres-replica", 0x200, "operator", "failover"))
    assert store.read() == moved


def test_a_move_keeps_what_protected_the_last_writes_of_the_old_primary() -> None:
    moved = CLAIM.moved("postgres-replica", 0x100, "operator", "failover")
    assert (moved.epoch, moved.primary, moved.mode, moved.since_lsn) == (2, "postgres-replica", DEGRADED, 0x100)
    assert moved.protection_of("postgres-primary") == SYNCHRONOUS
    assert moved.protection_of("postgres-replica") == DEGRADED


def test_a_move_of_an_asynchronous_cluster_stays_asynchronous() -> None:
    moved = CLAIM._replace(mode=ASYNCHRONOUS).moved("postgres-replica", 0x100, "operator", "failover")
    assert (moved.mode, moved.since_lsn) == (ASYNCHRONOUS, None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        json.dumps({**render(CLAIM), "format": 2}),
        json.dumps({**render(CLAIM), "mode": "hopeful"}),
        json.dumps({**render(CLAIM), "epoch": "many"}),
        json.dumps({**render(CLAIM), "since_lsn": "here"}),
    ],
)
def test_a_record_that_cannot_be_understood_is_an_error_and_stays_as_it_is(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.json").write_text(content)
    store = RecordStore(tmp_path)
    with pytest.raises(RecordError):
        store.read()
    with pytest.raises(RecordError):
        store.replace(CLAIM, CLAIM)
    assert (tmp_path / "cluster.json").read_text() == content


def test_the_change_stamp_tells_of_a_new_record(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    assert store.change_stamp() is None
    store.create(CLAIM)
    before = store.change_stamp()
    store.replace(CLAIM, CLAIM.moved("postgres-replica", None, "operator", "failover"))
    assert store.change_stamp() not in (None, before)


def test_a_status_that_is_missing_or_damaged_reads_as_empty(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    assert store.read_status("postgres-primary") == {}
    (tmp_path / "postgres-primary.json").write_text("{half")
    assert store.read_status("postgres-primary") == {}
    store.write_status("postgres-primary", {"state": "running"})
    assert store.read_status("postgres-primary") == {"state": "running"}


def test_a_claim_killed_before_its_last_step_leaves_no_way_to_change_the_record_in_place(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.create(CLAIM)
    # As a kill between link() and unlink() leaves it; in a container the next guard has the same process id.
    (tmp_path / f".cluster.json.{os.getpid()}").hardlink_to(tmp_path / "cluster.json")
    with (tmp_path / "cluster.json").open() as reader:
        store.replace(CLAIM, CLAIM.moved("postgres-replica", None, "test", "test"))
        assert json.loads(reader.read())["epoch"] == 1
    record = store.read()
    assert record is not None
    assert record.epoch == 2
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.json"]
