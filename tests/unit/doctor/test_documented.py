"""Every check is in the documentation, and the documentation has no check that is none."""

import re
from pathlib import Path

import pytest

from spokectl.operations.doctor.examine import look
from spokectl.operations.doctor.scene import Scene

PAGE = Path(__file__).parents[3] / "docs" / "doctor.md"


def test_every_check_is_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOKECTL_STATE_DIR", str(tmp_path))
    found = look(Scene("never-was", tmp_path / "no-stack-file.yml"))
    documented = re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text(), re.MULTILINE)
    checks = [each.check for each in found.checks]
    assert [name for name in documented if name not in {"ok", "warning", "problem"}] == checks
