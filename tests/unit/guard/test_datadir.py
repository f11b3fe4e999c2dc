"""What the guard makes of a data directory, and of programs that say what nobody expects."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from pgguard.datadir import DataDirectory, read_facts
from pgguard.decision import DataFacts
from pgguard.processes import ProgramError, Programs

from tests.unit.guard.test_configuration import settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Says:
    """Stands for PostgreSQL's programs: each says the same."""

    def __init__(self, text: str) -> None:
        self._text = text

    def run(self, argv: Sequence[str]) -> str:
        assert argv
        return self._text


def directory(tmp_path: Path, text: str = "") -> DataDirectory:
    return DataDirectory(settings(tmp_path), cast("Programs", Says(text)), 18, [])


@pytest.mark.parametrize(
    "text", ["", "what?\n", "Min recovery ending loc's timeline: 1\nLatest checkpoint location: soon\n"]
)
def test_control_data_in_another_form_is_a_programs_failure(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProgramError, match="pg_controldata says what cannot be understood"):
        directory(tmp_path, text).control()


@pytest.mark.parametrize("text", [None, "1\n", "1 soon promoted\n"])
def test_a_timeline_history_in_another_form_is_a_failure_too(tmp_path: Path, text: str | None) -> None:
    wal = tmp_path / "data" / "pg_wal"
    wal.mkdir(parents=True)
    if text is not None:
        (wal / "00000002.history").write_text(text)
    with pytest.raises(ProgramError, match=r"00000002\.history cannot be understood"):
        directory(tmp_path).history(2)


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    (tmp_path / "data" / "global").mkdir(parents=True)
    (tmp_path / "data" / "PG_VERSION").write_text("18\n")
    (tmp_path / "data" / "global" / "pg_control").write_bytes(bytes(8))
    return directory(tmp_path)


def test_data_that_is_held_keeps_whose_it_was_until_it_is_a_primarys_again(data: DataDirectory) -> None:
    data.set_standby_signal(True, held_epoch=12)
    assert (data.facts().standby_signal, data.facts().held_epoch, data.held_epoch()) == (True, 12, 12)
    data.set_standby_signal(False)
    assert (data.facts().standby_signal, data.facts().held_epoch, data.held_epoch()) == (False, None, None)


@pytest.mark.parametrize("content", [b"", b"held in epoch \n", b"held in epoch 12", b"held in epoch 12\n\n", b"\xff\n"])
def test_a_standbys_signal_without_the_whole_mark_is_any_standbys(data: DataDirectory, content: bytes) -> None:
    data.set_standby_signal(True)
    assert (data.path / "standby.signal").read_bytes() == b""
    (data.path / "standby.signal").write_bytes(content)
    assert (data.facts().standby_signal, data.facts().held_epoch) == (True, None)


def test_what_a_base_backup_has_set_aside_is_seen_while_nothing_is_in_its_place(tmp_path: Path) -> None:
    assert read_facts(tmp_path / "data") == DataFacts()
    (tmp_path / "data.old").mkdir()
    assert read_facts(tmp_path / "data") == DataFacts(set_aside=True)
