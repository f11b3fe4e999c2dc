"""Nothing is undocumented: a command, a drill, a setting, an answer's form. `make docs` writes what the code says."""

import re
from pathlib import Path

import pytest

from spokectl.cli.app import COMMANDS
from spokectl.cli.reference import PAGES, every_command
from spokectl.drills.catalog import all_drills
from spokectl.stackfile import default_stack_file, load_stack

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_as_the_code_has_it(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == PAGES[page](), "out of date: make docs"


def test_every_command_and_drill_has_a_heading() -> None:
    def headings(page: str) -> list[str]:
        return re.findall(r"^### (.+)$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert set(headings("commands.md")) >= {words for words, _ in every_command()}
    assert sorted(headings("drill-list.md")) == sorted(all_drills())


def test_every_command_has_a_line_in_the_readme_s_table() -> None:
    _, _, behind = (DOCS.parent / "README.md").read_text(encoding="utf-8").partition("| Command | What it does |\n")
    table, _, _ = behind.partition("\n\n")
    named = {word for row in table.splitlines() for word in re.findall(r"`(\w+)", row.split(" | ")[0])}
    assert named == set(COMMANDS)


def test_every_setting_has_a_row_with_its_default() -> None:
    rows = re.findall(
        r"^\| `(SPOKE_\w+)` \| `(.*?)` \|", (DOCS / "settings.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    settings = load_stack("spoke", [default_stack_file()], shell={}, env_file={}).settings
    assert sorted(rows) == sorted((each.name, each.default) for each in settings.values())
