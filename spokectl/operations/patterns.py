"""Regular expressions as people type them."""

import re

from spokectl.errors import UsageError
from spokectl.printable import printable, quoted

_SHOWN_CHARACTERS = 200


def pattern_of(option: str, text: str) -> re.Pattern[str]:
    """The expression that the option was given. UsageError (`bad_pattern`) with the reason when it is none."""
    try:
        return re.compile(text)
    except (re.error, OverflowError) as error:
        reason = printable(str(error))
    except RecursionError:
        reason = "it is nested too deeply"
    shown = quoted(text, _SHOWN_CHARACTERS)
    raise UsageError("bad_pattern", f"{option} {shown} is not a regular expression that can be used: {reason}")
