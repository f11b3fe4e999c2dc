"""`completion`: the script for a shell, and what that script asks for with every Tab."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import click
import typer
from click.shell_completion import get_completion_class

from spokectl.cli.command import Answer, Command
from spokectl.errors import UsageError
from spokectl.result import Result

app = typer.Typer(rich_markup_mode=None, add_completion=False)
SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_SPOKECTL_COMPLETE"
"""Set by the shell's script: `bash_complete`, say. click's protocol."""
_WITHIN_S = 0.8
_SHORTEST_S, _LONGEST_S = 0.001, 3600.0


@app.command("completion", cls=Command)
def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", show_default=False, autocompletion=lambda: [*SHELLS])],
) -> Answer:
    """Print the script that teaches a shell to complete commands, options and the names that there are now.

    \b
    Examples:
      eval "$(spokectl completion bash)"                                           bash 4.4 and newer, in ~/.bashrc
      eval "$(spokectl completion zsh)"                                            zsh, in ~/.zshrc after compinit
      spokectl completion fish > ~/.config/fish/completions/spokectl.fish
    """
    if shell not in SHELLS:
        raise UsageError("unknown_shell", f"there is no completion for {shell!r}, but for {', '.join(SHELLS)}")
    completing = get_completion_class(shell)
    if completing is None:
        raise UsageError("unknown_shell", f"this release of click knows no {shell}")
    # Not its `source`, which starts the shell to see its version.
    script = completing(click.Group(), {}, "spokectl", VARIABLE)
    return Answer(Result({"shell": shell, "script": script.source_template % script.source_vars()}), text=_print_script)


def complete(root: click.Command, instruction: str) -> int:
    """Prints what may follow on the command line. Within a second, without an error: a wrong line has no completions."""
    shell = instruction.partition("_")[0]
    with _silent_after(_within_s()):
        completing = get_completion_class(shell)
        if completing is not None:
            names = completing(root, {}, "spokectl", VARIABLE).complete()
            sys.stdout.write(names + "\n" if names else "")
            sys.stdout.flush()
    return 0


def _within_s() -> float:
    """What the environment says, where it is a time at all: who presses Tab cannot be told that it is none."""
    try:
        seconds = float(os.environ.get("SPOKECTL_COMPLETE_WITHIN_S", ""))
    except ValueError:
        return _WITHIN_S
    return seconds if _SHORTEST_S <= seconds <= _LONGEST_S else _WITHIN_S


class _TooLate(BaseException):
    """No library on the way may take it for an error of its own."""


@contextmanager
def _silent_after(seconds: float) -> Iterator[None]:
    """Whatever goes wrong inside, also that it takes longer: nothing is said, and it goes on behind."""

    def end(*_: Any) -> None:
        raise _TooLate

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    said, sys.stderr = sys.stderr, open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of a short life
    try:
        yield
    except (Exception, SystemExit, KeyboardInterrupt, _TooLate):  # noqa: BLE001, S110 - a person is typing
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stderr = said


def _print_script(data: Any) -> None:
    sys.stdout.write(data["script"])
