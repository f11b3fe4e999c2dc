"""The pages of docs/ that are made from the commands themselves: `python -m spokectl.cli.reference` writes them anew.

They are of a fixed width and need no terminal; a test fails while they are out of date.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import click

from spokectl.cli.app import COMMANDS, root
from spokectl.cli.topics import TOPICS

_DOCS = Path(__file__).parents[2] / "docs"
_WIDTH = 110


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Each command and noun with its words, in the order of the help."""
    context = click.Context(root, info_name="spokectl")
    for name in COMMANDS:
        yield from _below(name, root.get_command(context, name))


def _below(words: str, command: click.Command | None) -> Iterator[tuple[str, click.Command]]:
    if command is None:
        return
    yield words, command
    if isinstance(command, click.Group):
        for verb, each in command.commands.items():
            yield from _below(f"{words} {verb}", each)


def commands_text() -> str:
    """Every command's help, group by group, and the topics of `help`."""
    parts = [
        "# Commands",
        "Made from the commands themselves by `make docs`: what stands here is what `--help` says.",
    ]
    group = ""
    for words, command in every_command():
        entry = COMMANDS[words.split(" ")[0]]
        if entry.group != group:
            group = entry.group
            parts.append(f"## {group}")
        parts += [f"### {words}", f"```\n{_help(words, command)}\n```"]
    parts.append("## Topics")
    for name, topic in TOPICS.items():
        parts += [f"### help {name}", f"```\n{topic.text}\n```"]
    return "\n\n".join(parts) + "\n"


def _help(words: str, command: click.Command) -> str:
    context = click.Context(root, info_name="spokectl", **root.context_settings)
    for word in words.split(" ")[:-1]:
        context = click.Context(click.Command(word), info_name=word, parent=context)
    settings = {**command.context_settings, "max_content_width": _WIDTH, "terminal_width": _WIDTH}
    return command.get_help(click.Context(command, info_name=words.rpartition(" ")[2], parent=context, **settings)).rstrip()


def drills_text() -> str:
    """Every drill: what it breaks, what has to hold, its bounds, and what it needs."""
    from spokectl.drills.catalog import all_drills

    parts = [
        "# The drills",
        "Made from the catalog by `make docs`. How they are run, and what the figures mean: `drills.md`.",
    ]
    group = ""
    for each in all_drills().values():
        if each.group != group:
            group = each.group
            parts.append(f"## {group}")
        lines = [f"Breaks: {each.breaks}.", f"Holds: {each.holds}.", f"Objective: `{each.objective.text}`."]
        lines += ["One of the six of the stack's README."] * (each.seed_test is not None) + ["In `--ci`."] * each.in_ci
        lines += ["Only with `--allow-data-loss`."] * each.gives_up_writes
        parts += [f"### {each.name}", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def schema_text() -> str:
    import json

    from spokectl.cli.schema import schema

    return json.dumps(schema(), indent=1) + "\n"


PAGES: dict[Path, Callable[[], str]] = {
    _DOCS / "commands.md": commands_text,
    _DOCS / "drill-list.md": drills_text,
    _DOCS / "json-schema.json": schema_text,
}


def main() -> None:
    for file, text in PAGES.items():
        file.write_text(text(), encoding="utf-8")
        click.echo(f"written: {file.relative_to(_DOCS.parent)}")


if __name__ == "__main__":
    main()
