"""Where two copies of one cluster went different ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pgguard.lsn import Branch, Divergence, divergence, format_lsn, parse_history, parse_lsn

FORK = 0x3000148
FIRST = [Branch(1, 0, None)]
PROMOTED = [Branch(1, 0, FORK), Branch(2, FORK, None)]


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_a_position_survives_writing_and_reading(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "0", "0-1", "x/y"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_lsn(text)


def test_a_history_file_gives_each_timeline_with_its_bounds() -> None:
    text = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tno recovery target specified\n"
    assert parse_history(3, text) == [Branch(1, 0, FORK), Branch(2, FORK, 0x5000000), Branch(3, 0x5000000, None)]


def test_a_clean_old_primary_whose_shutdown_record_the_new_one_has_can_follow() -> None:
    assert divergence(FIRST, FORK - 0x78, PROMOTED, FORK + 0x1000) is None


def test_an_old_primary_that_wrote_past_the_fork_has_diverged() -> None:
    assert divergence(FIRST, FORK + 0x200, PROMOTED) == Divergence(FORK, FORK + 0x200, 1)


def test_a_record_that_begins_exactly_at_the_fork_has_diverged() -> None:
    assert divergence(FIRST, FORK, PROMOTED) == Divergence(FORK, FORK, 1)


def test_an_unknown_end_counts_as_diverged_when_the_peer_went_another_way() -> None:
    lost = divergence(FIRST, None, PROMOTED)
    assert lost == Divergence(FORK, None, 1)
    assert lost.bytes is None


def test_a_node_promoted_on_its_own_has_diverged_from_a_primary_that_stayed() -> None:
    assert divergence(PROMOTED, FORK + 8, FIRST, FORK + 0x9000) == Divergence(FORK, FORK + 8, 2)


def test_two_promotions_from_different_points_diverge_at_the_earlier_one() -> None:
    other = [Branch(1, 0, FORK + 0x1000), Branch(2, FORK + 0x1000, None)]
    assert divergence(PROMOTED, FORK + 0x5000, other) == Divergence(FORK, FORK + 0x5000, 2)


def test_on_one_timeline_a_copy_behind_the_source_can_follow() -> None:
    assert divergence(FIRST, 0x100, FIRST, 0x200) is None


def test_on_one_timeline_a_copy_ahead_of_the_source_has_diverged() -> None:
    assert divergence(FIRST, 0x300, FIRST, 0x200) == Divergence(0x200, 0x300, 1)


def test_a_copy_two_promotions_behind_can_follow() -> None:
    source = [*PROMOTED[:1], Branch(2, FORK, 0x5000000), Branch(3, 0x5000000, None)]
    assert divergence(FIRST, FORK - 1, source) is None
    assert divergence(PROMOTED, 0x4FFFFFF, source) is None
    assert divergence(PROMOTED, 0x5000001, source) == Divergence(0x5000000, 0x5000001, 2)
