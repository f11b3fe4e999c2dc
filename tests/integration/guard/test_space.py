"""A standby that was away for longer than its primary could keep WAL for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.guard.nodes import Pair, wait_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration
_SEGMENT = 16 * 1024 * 1024


def test_a_standby_whose_wal_the_primary_has_dropped_is_copied_anew(binaries: Path, root: Path) -> None:
    pair = Pair(root, binaries, SPOKE_POSTGRES_WAL_KEEP_SIZE="0", SPOKE_POSTGRES_MAX_SLOT_WAL_KEEP_SIZE="16MB")
    try:
        pair.start()
        pair.wait_until_whole()
        before = pair.replica.sql("SELECT system_identifier FROM pg_control_system()", user="spoke_operator")
        assert pair.replica.stop() == 0
        pair.wait_for_mode("degraded")
        pair.primary.sql("CREATE TABLE much AS SELECT g, repeat('x', 500) AS x FROM generate_series(1, 150000) AS g")
        last_needed = int(pair.primary.sql("SELECT pg_current_wal_lsn() - '0/0'").partition(".")[0]) - 2 * _SEGMENT

        def dropped() -> bool:
            pair.primary.sql("CHECKPOINT", user="spoke_operator")
            kept = "SELECT restart_lsn - '0/0' > {} FROM pg_replication_slots WHERE wal_status <> 'lost'"
            return pair.primary.sql(kept.format(last_needed), user="spoke_operator") == "t"

        wait_for("a new slot, which keeps what is written from here on", dropped)
        pair.replica.start()
        pair.wait_until_whole()
        assert pair.replica.sql("SELECT count(*) FROM much") == "150000"
        assert pair.replica.sql("SELECT system_identifier FROM pg_control_system()", user="spoke_operator") == before
        assert "has dropped WAL that the data here needs: copying from" in pair.replica.log.read_text()
    finally:
        pair.end()
