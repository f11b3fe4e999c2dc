"""`config`: the stack's settings."""

import sys
from typing import Annotated, Any

import typer

from spokectl.cli.command import Answer, Command, current_call, noun
from spokectl.operations import settings
from spokectl.printable import printable
from spokectl.settings import command_line

app = noun("The settings of the stack: every ${NAME} in its file.")


@app.command("list", cls=Command)
def listed(
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Show passwords.")] = False,
) -> Answer:
    """List every setting, its value and where that comes from (shell, file, or the stack file's default)."""
    from spokectl.output.stack import print_settings

    call = current_call()
    return Answer(settings.listed(call.stack, call.file, show_secrets=show_secrets), text=print_settings)


@app.command("get", cls=Command)
def get(name: str) -> Answer:
    """Print one setting's value."""
    call = current_call()
    return Answer(settings.value_of(call.stack, call.file, name), text=_print_value)


@app.command("set", cls=Command)
def keep(pairs: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...")]) -> Answer:
    """Keep values for this stack.

    \b
    Examples:
      spokectl config set SPOKE_POSTGRES_MAX_CONNS=50
      spokectl config set SPOKE_LOG_LEVEL=debug SPOKE_REDIS_POOL_SIZE=20
    """
    call = current_call()
    return Answer(settings.keep(call.stack, call.file, pairs), notes=[_next(call.stack)])


@app.command("unset", cls=Command)
def forget(names: Annotated[list[str], typer.Argument(metavar="NAME...")]) -> Answer:
    """Go back to the stack file's defaults."""
    call = current_call()
    return Answer(settings.forget(call.stack, call.file, names), notes=[_next(call.stack)])


def _next(stack: str) -> str:
    return f"It holds from the next: {command_line(stack, 'up')}"


def _print_value(setting: Any) -> None:
    sys.stdout.write(printable(setting.value) + "\n")
