"""`${…}` in the stack file, as Compose replaces it.

Source: the Compose specification, section "Interpolation": `$NAME`, `${NAME}`, `:-` and `-` (default), `:?` and `?`
(required), `:+` and `+` (alternative); with the colon an empty value counts as unset; `$$` is a dollar sign; a default may
itself hold `${…}`.
"""

import re
from collections.abc import Callable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")

Lookup = Callable[[str, str | None], str | None]
"""Gives a variable's value or None; the second argument is the default that the file names for it, if any."""


class InterpolationError(ValueError):
    """The text cannot be replaced; the message says what was expected."""


def interpolate(text: str, lookup: Lookup) -> str:
    """The text with every variable replaced; an unset one without a default becomes empty, as in Compose."""
    result, rest = _replace(text, lookup, until_brace=False)
    if rest:
        raise InterpolationError(f"unexpected {rest[:10]!r}")
    return result


def _replace(text: str, lookup: Lookup, *, until_brace: bool) -> tuple[str, str]:
    """Replaces up to the end, or up to the `}` that closes the surrounding variable; gives the rest behind it."""
    out: list[str] = []
    while text:
        character = text[0]
        if character == "}" and until_brace:
            return "".join(out), text[1:]
        if character != "$":
            out.append(character)
            text = text[1:]
        elif text.startswith("$$"):
            out.append("$")
            text = text[2:]
        elif text.startswith("${"):
            value, text = _braced(text[2:], lookup)
            out.append(value)
        else:
            name = _NAME.match(text[1:])
            if name is None:
                raise InterpolationError(f"a lone $ in {text[:20]!r}: write $$ for a dollar sign")
            out.append(lookup(name[0], None) or "")
            text = text[1 + name.end() :]
    if until_brace:
        raise InterpolationError("a ${ without its }")
    return "".join(out), ""


def _braced(text: str, lookup: Lookup) -> tuple[str, str]:
    name = _NAME.match(text)
    if name is None:
        raise InterpolationError(f"${{{text[:20]} does not start with a variable's name")
    text = text[name.end() :]
    if text.startswith("}"):
        return lookup(name[0], None) or "", text[1:]
    if not text:
        raise InterpolationError("a ${ without its }")
    operator = _OPERATOR.match(text)
    if operator is None:
        raise InterpolationError(f"after ${{{name[0]} one of :- - :? ? :+ + or }} was expected, found {text[:10]!r}")
    argument, rest = _replace(text[operator.end() :], lookup, until_brace=True)
    kind = operator[0][-1]
    value = lookup(name[0], argument if kind == "-" else None)
    present = value is not None and (value != "" or not operator[0].startswith(":"))
    if kind == "+":
        return (argument if present else ""), rest
    if not present and kind == "?":
        raise InterpolationError(f"{name[0]} must be set: {argument or 'it has no default'}")
    return (value or "" if present else argument), rest
