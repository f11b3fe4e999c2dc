"""What the commands `modules` and `versions` share: which registry, how long, and standard input."""

import sys
from typing import Annotated

import click
import typer
from click.core import ParameterSource

from spokectl.cli.command import Duration, current_call
from spokectl.errors import UsageError
from spokectl.operations.registry import Target
from spokectl.printable import printable

TIMEOUT_S = 60.0
_MAX_TEXT_BYTES = 1024 * 1024

Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", envvar="SPOKECTL_URL", help="A registry other than the stack's own."),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        click_type=Duration(),
        show_default=False,
        help="How long to wait for an answer, repeats included (default: 60s).",
    ),
]
Permanent = Annotated[bool, typer.Option("--permanent", help="Remove it for good instead of hiding it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Deleted = Annotated[bool, typer.Option("--deleted", help="Show deleted ones too.")]


def target(url: str | None, timeout_s: float) -> Target:
    """The registry of this call. What goes on is said on stderr, unless a program is listening."""
    call = current_call()
    silent = call.json or call.quiet
    named = click.get_current_context().get_parameter_source("url") is ParameterSource.COMMANDLINE
    if call.stack_named and not named:
        # What stands on the command line comes before what an earlier `eval` has left in the shell.
        url = None
    return Target(
        stack=call.stack,
        file=call.file,
        url=url,
        timeout_s=timeout_s,
        waiting=_ignore if silent else _say,
        trace=_say if call.verbose and not silent else _ignore,
    )


def text_argument(text: str) -> str:
    """The text itself, or for `-` all of standard input without its last line break."""
    if text != "-":
        return text
    raw = standard_input(_MAX_TEXT_BYTES)
    if len(raw) > _MAX_TEXT_BYTES:
        raise UsageError("too_large", "standard input: more text than a description can hold")
    from spokectl.operations.proto_files import text_of

    return text_of(raw, "standard input").removesuffix("\n")


def standard_input(limit_bytes: int) -> bytes:
    """Standard input as it is, but at most one byte more than the limit."""
    if sys.stdin is None:
        raise UsageError("no_input", "standard input is closed: there is nothing to read for -")
    return sys.stdin.buffer.read(limit_bytes + 1)


def _say(line: str) -> None:
    click.echo(printable(line), err=True)


def _ignore(_: str) -> None:
    """Nobody listens."""
