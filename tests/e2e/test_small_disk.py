"""A stack on a disk that is too small, full, or cannot be written: one line, what to do, and nothing half-made."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import free_offset
from tests.e2e.test_full_disk import fill

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own can be mounted by root alone"),
]


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True, timeout=60)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Too small for two databases."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=100m,mode=755", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True, timeout=60)


def spokectl(disk: Path, *words: str) -> tuple[int, str]:
    """The exit code and what was said of it."""
    done = subprocess.run(
        [sys.executable, "-m", "spokectl", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(disk.parent),
            "SPOKECTL_STATE_DIR": str(disk),
            "SPOKECTL_STACK": "small",
            "SPOKECTL_RUNTIME": "local",
        },
    )
    return done.returncode, done.stderr.partition("error: ")[2]


def up(disk: Path) -> tuple[int, str]:
    return spokectl(disk, "up", "--port-offset", str(free_offset()))


def test_too_small_a_disk_is_refused_before_anything_is_kept_or_started(disk: Path) -> None:
    code, said = up(disk)
    assert code == 5
    assert said.startswith(f"{disk}/small has ")
    assert "MiB left; the servers need 256 MiB to start with\n  try: free some space" in said
    assert {each.name for each in (disk / "small").iterdir()} == {"events.jsonl", "lock"}
    assert spokectl(disk, "status")[0] == 4


def test_a_disk_that_cannot_be_written_is_named_with_what_helps(disk: Path) -> None:
    mount("-o", "remount,ro", disk)
    assert up(disk) == (
        5,
        f"the stack's state cannot be kept in {disk}/small: Read-only file system\n"
        "  try: mount its file system for writing\n"
        "  try: choose another folder: export SPOKECTL_STATE_DIR=/path/to/a/folder\n",
    )
    assert list(disk.iterdir()) == []


def test_a_setting_that_a_full_disk_cannot_keep_is_refused_and_the_old_one_stays(disk: Path) -> None:
    assert spokectl(disk, "config", "set", "SPOKE_LOG_LEVEL=debug")[0] == 0
    kept = disk / "small" / "stack.env"
    before = kept.read_bytes()
    fill(disk)
    code, said = spokectl(disk, "config", "set", "SPOKE_LOG_LEVEL=error")
    assert (code, said) == (5, f"{kept} cannot be written: No space left on device\n  try: free some space: {disk}/small\n")
    assert kept.read_bytes() == before
    assert sorted(each.name for each in kept.parent.iterdir()) == ["lock", "stack.env"]
