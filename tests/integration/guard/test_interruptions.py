"""A kill in the middle of initdb, base backup or rewind is seen and done again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.guard.failovers import diverge
from tests.integration.guard.nodes import Node, Pair, wait_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def kill_when_there_is(node: Node, path: Path) -> None:
    wait_for(str(path), path.exists)
    node.kill()


def test_an_interrupted_initdb_is_done_again(fresh: Pair) -> None:
    unfinished = fresh.primary.data.with_name("data.new")
    fresh.primary.start()
    kill_when_there_is(fresh.primary, unfinished)
    assert fresh.record()["system_identifier"] is None
    assert not fresh.primary.data.exists()
    fresh.start()
    fresh.wait_until_whole()
    assert not unfinished.exists()


def test_a_claim_interrupted_after_initdb_is_completed_with_the_same_data(pair: Pair) -> None:
    identifier = pair.record()["system_identifier"]
    for node in pair:
        node.stop()
    pair.change_record(system_identifier=None)
    pair.start()
    pair.wait_until_whole()
    assert pair.record()["system_identifier"] == identifier
    assert pair.primary.sql("SELECT word FROM written") == "first"


def test_an_interrupted_base_backup_is_done_again(fresh: Pair) -> None:
    unfinished = fresh.replica.data.with_name("data.new")
    fresh.start()
    kill_when_there_is(fresh.replica, unfinished)
    assert not fresh.replica.data.exists()
    fresh.replica.start()
    fresh.wait_until_whole()
    assert not unfinished.exists()


def test_an_interrupted_rewind_ends_in_a_base_backup(pair: Pair) -> None:
    diverge(pair)
    mark = pair.primary.data.with_name("data.rewinding")
    pair.primary.start()
    kill_when_there_is(pair.primary, mark)
    assert mark.exists()
    pair.primary.start()
    pair.primary.wait_for_state("running", "standby")
    pair.primary.wait_until_streaming()
    assert "a rewind was interrupted: copying from postgres-replica" in pair.primary.log.read_text()
    assert not mark.exists()
    assert list(pair.primary.data.parent.glob("data.divergent-*/0000*"))


def test_a_rewind_that_fails_ends_in_a_base_backup(pair: Pair) -> None:
    diverge(pair)
    shims = pair.root / "shims"
    shims.mkdir()
    (shims / "pg_rewind").write_text("#!/bin/sh\necho pg_rewind: error: no luck >&2\nexit 1\n")
    (shims / "pg_rewind").chmod(0o755)
    pair.primary.environ["PATH"] = f"{shims}:{pair.primary.environ['PATH']}"
    pair.primary.start()
    pair.primary.wait_for_state("running", "standby")
    pair.primary.wait_until_streaming()
    assert "pg_rewind failed (exit code 1): pg_rewind: error: no luck" in pair.primary.log.read_text()
