"""What protoc's words say about a pushed version. Pure.

A version may import files that live in modules nobody declared: upstream's clients push packages like that. So a file
with an import that could not be found is not held to what follows from that, only to its own syntax and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_LINE = re.compile(r"(?P<path>[^\n]+?\.proto):(?:(?P<line>\d+):(?P<column>\d+):)? (?P<message>.+)")
_IMPORT_FAILED = re.compile(r'Import "[^"]*" was not found or had errors\.')
_FOLLOWS = re.compile(
    r"is not defined|was not found|seems to be defined in|is resolved to|had errors"
    r"|[Oo]ption .*(unknown|unresolved)|[Ee]nsure that|is not a (message|enum)? ?type|is not an? (message|enum|extension)"
    r"|is not a field or extension|does not extend|[Uu]nresolved|[Uu]nknown (type|option|extension|enumeration)"
)


class Diagnostic(NamedTuple):
    """One complaint of protoc about one file."""

    path: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.message}"


def parse(output: str, folder: str) -> list[Diagnostic]:
    """The complaints about files in a folder, with paths from there; warnings and other files are left out."""
    found = []
    prefix = folder.rstrip("/") + "/"
    for text in output.splitlines():
        match = _LINE.fullmatch(text.strip())
        if match is None or not match["path"].startswith(prefix) or match["message"].startswith("warning:"):
            continue
        path, message = match["path"].removeprefix(prefix), match["message"]
        found.append(Diagnostic(path, int(match["line"] or 0), int(match["column"] or 0), message))
    return found


def defects(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The complaints that are about the files themselves, each once, in protoc's order."""
    every = list(dict.fromkeys(diagnostics))
    incomplete = {each.path for each in every if _IMPORT_FAILED.search(each.message)}
    return [each for each in every if not _is_excused(each, incomplete)]


def _is_excused(diagnostic: Diagnostic, incomplete: set[str]) -> bool:
    if _IMPORT_FAILED.search(diagnostic.message):
        return True
    return diagnostic.path in incomplete and _FOLLOWS.search(diagnostic.message) is not None
