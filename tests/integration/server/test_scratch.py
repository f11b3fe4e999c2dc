"""The files of a check never outlive their server for long, and never go while somebody reads them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spoke_server.protobuf import scratch
from spoke_server.registry import File

pytestmark = pytest.mark.integration

FILES = {"pushed": [File("a/b.proto", "ä"), File("a/c.proto", ""), File("d.proto", "x")]}
MAKE_ONE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from spoke_server.protobuf import scratch
from spoke_server.registry import File
kept = scratch.Scratch(Path(sys.argv[1]), {"pushed": [File("a.proto", "x")]})
os.kill(os.getpid(), signal.SIGKILL)
"""


def grow_old(folder: Path) -> None:
    then_s = time.time() - scratch.MIN_LEFTOVER_AGE_S - 1
    os.utime(folder, (then_s, then_s))


def test_files_lie_where_their_paths_say_until_the_folder_is_closed(tmp_path: Path) -> None:
    laid_out = scratch.lay_out(FILES, [tmp_path])
    found = {str(path.relative_to(laid_out.path)): path.read_text("utf-8") for path in laid_out.path.rglob("*.proto")}
    assert found == {"pushed/a/b.proto": "ä", "pushed/a/c.proto": "", "pushed/d.proto": "x"}
    laid_out.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_asker_has_gone_goes_too(tmp_path: Path) -> None:
    scratch.lay_out(FILES, [tmp_path])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_hold_the_files_is_passed_over(tmp_path: Path) -> None:
    laid_out = scratch.lay_out(FILES, [tmp_path / "missing", tmp_path])
    assert laid_out.path.parent == tmp_path
    laid_out.close()
    with pytest.raises(FileNotFoundError):
        scratch.lay_out(FILES, [tmp_path / "missing"])


def test_what_a_killed_server_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", MAKE_ONE_AND_DIE, str(tmp_path)], check=False, timeout=60)
    assert dead.returncode < 0
    (left,) = tmp_path.iterdir()
    in_use = scratch.lay_out(FILES, [tmp_path])
    foreign = tmp_path / "something-else"
    foreign.mkdir()
    link = tmp_path / f"{scratch.PREFIX}link"
    link.symlink_to(foreign)
    # A folder may be looked at between its making and its locking.
    assert scratch.remove_leftovers([tmp_path]) == 0
    for folder in (left, in_use.path, foreign):
        grow_old(folder)
    assert scratch.remove_leftovers([tmp_path]) == 1
    assert set(tmp_path.iterdir()) == {in_use.path, foreign, link}
    in_use.close()
