"""What can go wrong, as scripts see it: every error has a stable code, an exit code, a cause and the command that mends it.

SpokectlError
├── UsageError            2   the command line or a value in it is wrong
├── ConfirmationRequired  3   a question would have to be asked and nobody can answer
├── NotFound              4   the stack is not running, or the thing named does not exist
├── Refused               5   a precondition does not hold; nothing was changed
├── OutcomeUnknown        6   the deadline passed; what was asked may still happen
├── Degraded             10   it is up, but not everything is well
├── Incomplete           12   done, but something is left to do by hand
└── Failed                1   everything else, also an answer of the registry that says no
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What a script may act on. The numbers never change."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIRMATION_REQUIRED = 3
    NOT_FOUND = 4
    REFUSED = 5
    OUTCOME_UNKNOWN = 6
    DEGRADED = 10
    OBJECTIVE_MISSED = 11
    INCOMPLETE = 12
    INTERRUPTED = 130
    NOBODY_READS = 141
    """128 and the number of SIGPIPE, as a shell says it of any other program in front of `| head`."""


class SpokectlError(Exception):
    """An expected failure: `message` is one line for a person, `code` is for scripts and never changes.

    `actions` are commands (or short instructions) that mend the cause, most likely first. `details` holds what a script
    may want to read: plain JSON values.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(
        self,
        code: str,
        message: str,
        *,
        actions: Sequence[str] = (),
        details: Mapping[str, object] | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.actions = tuple(actions)
        self.details = dict(details or {})
        self.retryable = retryable


class Failed(SpokectlError):
    """It was tried and did not succeed."""


class UsageError(SpokectlError):
    exit_code = ExitCode.USAGE


class ConfirmationRequired(SpokectlError):
    exit_code = ExitCode.CONFIRMATION_REQUIRED


class NotFound(SpokectlError):
    exit_code = ExitCode.NOT_FOUND


class Refused(SpokectlError):
    exit_code = ExitCode.REFUSED


class OutcomeUnknown(SpokectlError):
    exit_code = ExitCode.OUTCOME_UNKNOWN


class Degraded(SpokectlError):
    exit_code = ExitCode.DEGRADED


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, by whoever knows what has become of the work: `message` says it, `actions` what to type."""

    def __init__(self, message: str, actions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.actions = tuple(actions)


class Incomplete(SpokectlError):
    exit_code = ExitCode.INCOMPLETE


def why_unreadable(error: Exception) -> str:
    """Why a file of text cannot be read, for a person: the system's word, without its number and the path."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
