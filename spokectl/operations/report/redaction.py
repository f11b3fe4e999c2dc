"""Secrets out of texts: every value that is known to be one, and what looks like one. Pure."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from spokectl.operations.secret_settings import SECRET_WORDS, is_secret
from spokectl.operations.settings import MASK

# A shorter one is replaced where it stands alone only: in every word there are its letters.
_SHORT = 4
# No scheme is long, but many a word is.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20}://[^/\s:@\"'${}]*:)([^@\s/\"']+)(?=@)")
_WORDS = "|".join(SECRET_WORDS)
# A name that says so, wherever in it the word stands. Logs have more such words than settings.
_NAME = rf"(?<!\w)\w*(?:{_WORDS}|passwd|passphrase|api_key)\w*"
_UNMASKED = r"(?![$*{]|:?-)"
_NAMED = re.compile(
    rf"({_NAME}[\"']?[^\S\n]*[=:][^\S\n]*[\"']?){_UNMASKED}((?<=\")(?:\\.|[^\"\\\n])+|(?<=')[^'\n]+|[^\s\"',;&{{}}]+)",
    re.IGNORECASE,
)
# The quotes around name and value.
_QUOTED = [re.compile(rf"({q}{_NAME}\s*[=:]\s*){_UNMASKED}([^{q}\n]+)(?={q})", re.IGNORECASE) for q in "\"'"]
_ASSIGNED = re.compile(
    rf"(?P<before>^|(?<!\$)[{{\[,])[^\S\n]*(?:-[^\S\n]+)*(?:export[^\S\n]+)?(?P<quote>[\"']?)\w*(?:{_WORDS})\w*"
    r"(?P<closed>[\"']?)[^\S\n]*[=:][^\S\n]*(?P<value>[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_NEXT_LINE = re.compile(r"\n[^\S\n]+(?![\"']?\w+[\"']?[=:]|-\s)(\S[^\n]*)")
_COMMENT = re.compile(r"\s+#.*")
_END_IN_BRACES, _END_OF_LINE_IN_BRACES = re.compile(r"[,}\]].*"), re.compile(r"[,}\]]+(\s.*|\Z)")
_IN_QUOTES = re.compile(r"\"(?P<double>(?:\\.|[^\"\\])*)\"|'(?P<single>(?:''|[^'])*)'")
_REFERENCE = re.compile(r"[\"']?\$\{[^{}]*\}[\"']?([,}\]\s].*)?")
_ESCAPED = re.compile(r"\\([\\\"$])")
_DEFAULT = re.compile(r"\$\{(?P<name>\w+):?-(?P<value>[^}]*)\}")


def named_secrets(values: Mapping[str, Any]) -> set[str]:
    """The values of those that are named as secrets are."""
    return {str(value) for name, value in values.items() if value and is_secret(name.upper())}


def secrets_in(text: str) -> set[str]:
    """Secrets that a stack file or a file of settings assigns or gives as a default, also where it cannot be parsed.

    Where a value ends nobody knows then: it is taken in every way in which it can be read.
    """
    found = {match["value"] for match in _DEFAULT.finditer(text) if is_secret(match["name"].upper())}
    position = 0
    while match := _ASSIGNED.search(text, position):
        # What follows a name may hold the next one: `{A_TOKEN: a, B_TOKEN: b}`.
        position = match.start("value")
        value = match["value"].strip()
        if value.rstrip("+-") in {"", "|", ">"} and (below := _NEXT_LINE.match(text, match.end())):
            value = below[1].strip()
        elif match["quote"] and not match["closed"]:
            value = match["quote"] + value
        found |= _readings(value, in_braces=bool(match["before"]))
    return {each for each in found if each}


def _readings(value: str, *, in_braces: bool) -> set[str]:
    """What a value may be, that is given with all that follows it on its line."""
    defaults = {match["value"] for match in _DEFAULT.finditer(value)}
    if _REFERENCE.fullmatch(value):
        return defaults
    readings = {value}
    if quoted := _IN_QUOTES.match(value):
        readings.add(quoted["double"] or (quoted["single"] or "").replace("''", "'"))
    else:
        end = _END_IN_BRACES if in_braces else _END_OF_LINE_IN_BRACES
        readings |= {_COMMENT.sub("", value), end.sub("", value).strip()}
    readings |= {each.strip("\"'") for each in readings}
    readings |= {_ESCAPED.sub(r"\1", each) for each in readings}
    return defaults | readings | {each.replace("$$", "$") for each in readings}


def secrets_in_document(value: Any) -> set[str]:
    """Secrets among the keys of a JSON document, at whatever depth."""
    if isinstance(value, dict):
        own = named_secrets({str(name): each for name, each in value.items() if isinstance(each, str)})
        return own.union(*(secrets_in_document(each) for each in value.values()))
    if isinstance(value, list):
        return set().union(*(secrets_in_document(each) for each in value))
    return set()


class Redaction:
    """Replaces secrets and counts them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if secret.strip() for form in _forms(secret)} - {MASK}
        # The longest first: one may begin with another.
        ordered = sorted(forms, key=lambda each: (-len(each), each))
        self._known = re.compile("|".join(_pattern(each) for each in ordered)) if ordered else None

    def text(self, text: str) -> tuple[str, int]:
        """The text without secrets, and how many there were."""
        count = 0
        if self._known is not None:
            text, count = self._known.subn(MASK, text)
        for pattern in (_URL, *_QUOTED, _NAMED):
            text, more = _masked(pattern, text)
            count += more
        return text, count

    def document(self, value: Any) -> tuple[Any, int]:
        """A JSON value whose texts hold no secret; what has a secret's name is replaced whole."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            pairs = {name: self._member(str(name), each) for name, each in value.items()}
            return {name: each for name, (each, _) in pairs.items()}, sum(count for _, count in pairs.values())
        if isinstance(value, list):
            items = [self.document(each) for each in value]
            return [each for each, _ in items], sum(count for _, count in items)
        return value, 0

    def _member(self, name: str, value: Any) -> tuple[Any, int]:
        if isinstance(value, str) and value and value != MASK and is_secret(name.upper()):
            return MASK, 1
        return self.document(value)


def _forms(secret: str) -> set[str]:
    """How a value may be written: as it is, in JSON, in a shell's quotes, in a URL."""
    in_json = json.dumps(secret)[1:-1]
    # A log of JSON lines may quote another one.
    twice = json.dumps(in_json)[1:-1]
    return {
        secret,
        secret.strip(),
        in_json,
        twice,
        json.dumps(secret, ensure_ascii=False)[1:-1],
        shlex.quote(secret),
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        secret.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$"),
        secret.replace("$", "$$"),
    }


def _pattern(form: str) -> str:
    exact = re.escape(form)
    return exact if len(form) >= _SHORT else rf"(?<![A-Za-z0-9]){exact}(?![A-Za-z0-9])"


def _masked(pattern: re.Pattern[str], text: str) -> tuple[str, int]:
    """Its second group replaced, and how often; what is replaced already does not count again."""
    count = 0

    def mask(match: re.Match[str]) -> str:
        nonlocal count
        count += match[2] != MASK
        return match[1] + MASK

    return pattern.sub(mask, text), count
