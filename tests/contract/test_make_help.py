"""`make help`: what the Makefile offers, told by itself."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_make_help_names_every_target_with_what_it_does() -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    done = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    rows = [re.fullmatch(r"make (.*?)  +(\S.*)", line) for line in done.stdout.splitlines()]
    assert all(rows)
    assert sorted(name for row in rows if row for name in row[1].split()) == sorted(" ".join(phony).split())
