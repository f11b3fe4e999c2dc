"""An operator at a terminal, in the test's own process."""

import io
from collections.abc import Callable

import pytest

Types = Callable[[str], None]


class Terminal(io.StringIO):
    """What is typed there."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch) -> Types:
    """Says what is typed; nothing is the end of input (Ctrl-D)."""
    return lambda text: monkeypatch.setattr("sys.stdin", Terminal(text))
