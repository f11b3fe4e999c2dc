"""`help`: topics that belong to no single command, and every command's own help."""

import sys
from typing import Annotated, Any

import click
import typer

from spokectl.cli import names
from spokectl.cli.command import Answer, Command, unknown
from spokectl.cli.topics import TOPICS
from spokectl.result import Result

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("help", cls=Command)
def explain(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC|COMMAND...]", show_default=False, autocompletion=names.subjects)
    ] = None,
) -> Answer:
    """Explain a topic, or a command as its --help does; without words, list the topics.

    \b
    Examples:
      spokectl help exit-codes
      spokectl help versions push
    """
    return Answer(Result({"subject": " ".join(words or []), "text": _text(words or [])}), text=_print_text)


def _text(words: list[str]) -> str:
    if not words:
        return _listed()
    topic = TOPICS.get(words[0]) if len(words) == 1 else None
    return topic.text if topic else _of_command(words)


def _listed() -> str:
    width = max(map(len, TOPICS))
    lines = [f"  {name:<{width}}  {topic.summary}" for name, topic in TOPICS.items()]
    return "\n".join(
        ["spokectl help TOPIC:", *lines, "", "spokectl help COMMAND... is the command's --help; spokectl --help lists all."]
    )


def _of_command(words: list[str]) -> str:
    """The help of a command as its --help prints it, or the error for a word that is none, with the nearest one."""
    context = click.get_current_context().find_root()
    command: click.Command = context.command
    for word in words:
        group = command if isinstance(command, click.Group) else None
        found = group.get_command(context, word) if group else None
        if found is None:
            before = context.command_path.split()[1:]
            known = [*(group.list_commands(context) if group else []), *([] if before else TOPICS)]
            raise unknown(" ".join([*before, word]), [" ".join([*before, each]) for each in known])
        command = found
        context = click.Context(command, info_name=word, parent=context, **command.context_settings)
    return command.get_help(context)


def _print_text(data: Any) -> None:
    sys.stdout.write(data["text"] + "\n")
