from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.leftovers import will_be_removed

from .running import make_tools


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in front of PATH."""
    return make_tools(tmp_path_factory.mktemp("services") / "bin")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that NGINX's unprivileged workers can enter too, with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="spoke-"))
    will_be_removed(folder)
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
