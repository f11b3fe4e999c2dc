"""What the commands `modules` and `versions` share: which registry, and how long."""

from typing import Annotated

import click
import typer
from click.core import ParameterSource

from spokectl.cli.command import Duration, current_call
from spokectl.operations.registry import Target
from spokectl.printable import printable

TIMEOUT_S = 60.0

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


def _say(line: str) -> None:
    click.echo(printable(line), err=True)


def _ignore(_: str) -> None:
    """Nobody listens."""
