"""Text from outside (servers, files, arguments) as it may reach a terminal or a one-line message."""

import unicodedata

# Control characters, invisible format characters (text direction among them), lone surrogates and line separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners change no line and no colour, and several scripts need them.
_HARMLESS = frozenset("\u200c\u200d")


def printable(text: str) -> str:
    r"""The text with every character that could steer a terminal or break the line written as an escape such as `\x1b`.

    Applied again it changes nothing.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSAFE and c not in _HARMLESS else c for c in text)


def shortened(text: str, limit: int) -> str:
    """The printable text, with an ellipsis in place of what goes beyond `limit` characters."""
    shown = printable(text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def quoted(text: str, limit: int = 80) -> str:
    """The text in quotes, as it may stand in a message: what is not printable is escaped, what is too long cut."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def is_utf8(text: str) -> bool:
    """Whether the text came from bytes that are UTF-8: arguments and the environment may hold others."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
