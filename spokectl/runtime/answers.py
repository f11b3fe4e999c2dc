"""What every runtime says in the same words, whatever runs the servers."""

from collections.abc import Sequence

from spokectl.errors import NotFound, OutcomeUnknown
from spokectl.settings import command_line
from spokectl.wait import Deadline


def not_running(stack: str, services: Sequence[str] = ()) -> NotFound:
    """The named services do not run; without names nothing of the stack does."""
    if not services:
        return NotFound("not_running", f"the stack {stack} does not run", actions=[command_line(stack, "up")])
    start = command_line(stack, f"start {' '.join(services)}")
    return NotFound("not_running", f"not running: {', '.join(services)}", actions=[start])


def still_running(stack: str, services: Sequence[str], deadline: Deadline) -> OutcomeUnknown:
    """The services were asked to stop and have not by the deadline."""
    return OutcomeUnknown(
        "timeout",
        f"not ended after {deadline.timeout_s:g} s: {', '.join(services)}",
        details={"services": list(services), "timeout_s": deadline.timeout_s},
        retryable=True,
        actions=[
            "repeat the command, with a longer --timeout: it goes on where this one has ended",
            command_line(stack, f"kill {' '.join(services)}"),
        ],
    )
