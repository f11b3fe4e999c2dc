"""Every command that a page of the docs types is one that there is, with options that it has."""

import re
from pathlib import Path

import click
import pytest

from spokectl.cli.app import root

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_SPAN = re.compile(r"`(spokectl [^`]+)`|^(?:\$ )?(spokectl .+)$", re.MULTILINE)
# What stands for something else in a usage line, and what a shell would take away.
_NOT_TYPED = re.compile(r"\.\.\.|…|[|&<>;#].*|\s{3,}.*")


def commands(page: Path) -> list[str]:
    return [_NOT_TYPED.sub("", code or line).strip() for code, line in _SPAN.findall(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_can_be_typed(page: Path) -> None:
    wrong = [f"{line}: {why}" for line in commands(page) if (why := _unknown(line))]
    assert wrong == []


def test_a_command_or_an_option_that_there_is_not_would_be_found() -> None:
    assert "No such command" in _unknown("spokectl polish")
    assert "No such option" in _unknown("spokectl status --shiny")
    assert "No such command" in _unknown("spokectl redis polish")


def _unknown(line: str) -> str:
    """Why the line cannot be a command; empty where it can. What it lacks is not looked at: pages name commands, too."""
    command: click.Command = root
    context = click.Context(command, info_name="spokectl")
    words = line.split()[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = {name: command.get_command(context, name) for name in words.pop(0).split("/")}
        if missing := [name for name, each in found.items() if each is None]:
            return f"No such command {missing[0]!r}"
        command = next(each for each in found.values() if each is not None)
        context = click.Context(command, parent=context, info_name=command.name)
    known = {option for each in command.get_params(context) for option in (*each.opts, *each.secondary_opts)}
    typed = [word.strip("[]").partition("=")[0] for word in words[: words.index("--") if "--" in words else None]]
    missing = [word for word in typed if re.fullmatch(r"--[a-z][a-z-]*|-[a-zA-Z]", word) and word not in known]
    return f"No such option {missing[0]!r}" if missing else ""
