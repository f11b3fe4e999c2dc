"""Questions before what cannot be taken back."""

import sys

import click

from spokectl.cli.command import started_call
from spokectl.errors import ConfirmationRequired, Interrupted
from spokectl.printable import printable, quoted


def confirm(question: str, name: str, *, type_name: bool, yes: bool) -> None:
    """Returns when the operator agrees; what cannot be undone is agreed to by typing its name.

    ConfirmationRequired without a terminal (`confirmation_required`), or when the answer is another (`not_confirmed`);
    Interrupted by Ctrl-C.
    """
    require_answerer(question, yes=yes)
    if yes:
        return
    expected, how = (name, f"type {printable(name)} to go on") if type_name else ("y", "y/N")
    answer = _answer(f"{printable(question)}? [{how}]: ")
    if answer.strip() != expected and (type_name or answer.strip().lower() not in {"y", "yes"}):
        raise ConfirmationRequired("not_confirmed", f"the answer was {quoted(answer)}: nothing was done")


def _answer(question: str) -> str:
    """The line that is typed, empty at the end of input. click's own prompt does not tell that from Ctrl-C."""
    try:
        click.echo(question, nl=False, err=True)
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was changed") from None
    if not answer.endswith("\n"):
        click.echo(err=True)
    return answer.rstrip("\n")


def require_answerer(question: str, *, yes: bool) -> None:
    """For what looks before it asks: ConfirmationRequired (`confirmation_required`) where nobody could answer."""
    if not yes and not may_ask():
        raise ConfirmationRequired(
            "confirmation_required",
            f"{question}? {_why_nobody()}, so nothing was done",
            actions=["repeat the command with --yes"],
        )


def may_ask() -> bool:
    """Whether somebody sits there who may be asked: a terminal, and no --no-input."""
    return not _asking_is_forbidden() and sys.stdin is not None and sys.stdin.isatty()


def require_no_terminal(what: str, action: str) -> None:
    """For input that a person would have to type: ConfirmationRequired (`input_required`) on a terminal with --no-input."""
    if _asking_is_forbidden() and sys.stdin is not None and sys.stdin.isatty():
        raise ConfirmationRequired("input_required", f"{what} would have to be typed, and {_FORBIDDEN}", actions=[action])


_FORBIDDEN = "--no-input (or SPOKECTL_NO_INPUT) forbids to ask"


def _asking_is_forbidden() -> bool:
    call = started_call()
    return call is not None and call.no_input


def _why_nobody() -> str:
    return _FORBIDDEN if _asking_is_forbidden() else "There is no terminal to answer on"
