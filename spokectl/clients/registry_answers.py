"""What the registry answers, as nouns: pure reading of its JSON, which is the one that upstream's clients know.

A field that a version of the registry leaves out has a default; one of the wrong type is Malformed, since then
whatever answered is not a Spoke.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spokectl.version_order import latest_of


class Malformed(ValueError):
    """The answer is not what a registry sends."""


@dataclass(frozen=True)
class File:
    """One file of a version; its content is text, as on the wire."""

    path: str
    content: str

    @property
    def size_bytes(self) -> int:
        return len(self.content.encode())


@dataclass(frozen=True)
class Source:
    """Where a version came from, as its pusher said."""

    repository: str = ""
    commit_sha: str = ""
    branch: str = ""


@dataclass(frozen=True)
class Version:
    """One immutable version. `files` is empty where the registry lists versions without them."""

    module: str
    version: str
    created_at: str
    deleted_at: str | None
    dependencies: tuple[str, ...]
    source: Source
    files: tuple[File, ...]


@dataclass(frozen=True)
class Module:
    """A module; `versions` are the names of its versions, newest first, and `latest` is the highest of them."""

    name: str
    description: str
    created_at: str
    updated_at: str
    deleted_at: str | None
    versions: tuple[str, ...]
    latest: str | None


def module_of(raw: object) -> Module:
    fields = _object(raw, "a module")
    versions = [_object(item, "a version") for item in _list(fields, "versions")]
    names = tuple(_text(item, "version") for item in versions)
    alive = [_text(item, "version") for item in versions if not item.get("deleted_at")]
    return Module(
        name=_text(fields, "name"),
        description=_text(fields, "description", ""),
        created_at=_text(fields, "created_at", ""),
        updated_at=_text(fields, "updated_at", ""),
        deleted_at=_text(fields, "deleted_at", "") or None,
        versions=names,
        latest=latest_of(alive),
    )


def version_of(raw: object) -> Version:
    fields = _object(raw, "a version")
    source = _object(fields.get("source_info") or {}, "source_info")
    return Version(
        module=_text(fields, "module_name"),
        version=_text(fields, "version"),
        created_at=_text(fields, "created_at", ""),
        deleted_at=_text(fields, "deleted_at", "") or None,
        dependencies=tuple(_checked_text(item, "a dependency") for item in _list(fields, "dependencies")),
        source=Source(*(_text(source, name, "") for name in ("repository", "commit_sha", "branch"))),
        files=tuple(file_of(item) for item in _list(fields, "files")),
    )


def file_of(raw: object) -> File:
    fields = _object(raw, "a file")
    return File(_text(fields, "path"), _text(fields, "content", ""))


def list_of(raw: object) -> list[object]:
    """The items of an array; `null`, which upstream sends for an empty one, is none."""
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise Malformed("expected an array")
    return raw


def _object(raw: object, what: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise Malformed(f"expected an object for {what}")
    return raw


def _list(fields: Mapping[str, Any], name: str) -> list[object]:
    try:
        return list_of(fields.get(name))
    except Malformed:
        raise Malformed(f"expected an array for {name}") from None


def _text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name)
    return default if value is None and default is not None else _checked_text(value, name)


def _checked_text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Malformed(f"expected a text for {what}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Malformed(f"{what} is no Unicode text") from None
    return value
