"""Standard input as the value of an argument: what `-` stands for."""

import sys

from spokectl.cli.confirmation import require_no_terminal
from spokectl.errors import UsageError

_MAX_TEXT_BYTES = 1024 * 1024


def text_argument(text: str) -> str:
    """The text itself, or for `-` all of standard input without its last line break."""
    if text != "-":
        return text
    raw = standard_input(_MAX_TEXT_BYTES)
    if len(raw) > _MAX_TEXT_BYTES:
        raise UsageError("too_large", "standard input: more text than a value can hold")
    from spokectl.operations.proto_files import text_of

    return text_of(raw, "standard input").removesuffix("\n")


def standard_input(limit_bytes: int) -> bytes:
    """Standard input as it is, but at most one byte more than the limit."""
    if sys.stdin is None:
        raise UsageError("no_input", "standard input is closed: there is nothing to read for -")
    require_no_terminal("what - stands for", "give it on standard input: < FILE")
    return sys.stdin.buffer.read(limit_bytes + 1)
