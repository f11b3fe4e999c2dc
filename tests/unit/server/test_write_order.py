"""Which of two writes counts when they come to the lock in the other order."""

from __future__ import annotations

import time

import pytest

from spoke_server.errors import ApiError
from spoke_server.storage.modules import HELD_UP_AFTER_S, refuse_outrun


def test_a_write_that_was_held_up_gives_way_to_one_that_was_received_later() -> None:
    held_up = time.time() - HELD_UP_AFTER_S - 1
    with pytest.raises(ApiError) as refused:
        refuse_outrun("module m", held_up + 0.5, held_up)
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (503, "request_expired", 1)
    assert refused.value.message.startswith("module m ")


def test_a_write_that_was_received_last_counts_however_long_it_waited() -> None:
    held_up = time.time() - HELD_UP_AFTER_S - 1
    refuse_outrun("module m", held_up - 0.5, held_up)
    refuse_outrun("module m", held_up, held_up)


def test_a_clock_that_was_set_back_refuses_no_new_write() -> None:
    before_it_was_set_back = time.time() + 3600
    refuse_outrun("module m", before_it_was_set_back, time.time())
