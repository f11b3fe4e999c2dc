"""Request bodies: bytes to checked values.

As lenient as upstream where that harms nobody (Content-Type is not looked at, unknown fields are ignored, keys match in
any case, `null` is an absent value), and strict where leniency would store something that cannot be given back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from spoke_server import registry
from spoke_server.errors import bad_request
from spoke_server.registry import UNKNOWN_SOURCE, Dependency, File, NewVersion, SourceInfo

_MAX_DEPENDENCIES = 1000
# One object for each takes 5 to 8 ms with the smallest store on a busy machine with two cores: half a retry budget (15 s).
# With the largest body (10 MiB) that leaves 10 KiB for each file, more than the files of most trees have.
_MAX_FILES = 1_000


class NewModule(NamedTuple):
    """A module as pushed."""

    name: str
    description: str


def parse_module(body: bytes) -> NewModule:
    """Reads the body of POST /modules."""
    fields = _object(_json(body))
    name = registry.check_module_name(_text(fields, "name") or "")
    return NewModule(name, registry.check_description(_text(fields, "description") or ""))


def parse_description(body: bytes) -> str | None:
    """Reads the body of PUT or PATCH /modules/{name}; None when it says nothing about the description."""
    description = _text(_object(_json(body)), "description")
    return None if description is None else registry.check_description(description)


def parse_version(module: str, body: bytes) -> NewVersion:
    """Reads the body of POST /modules/{name}/versions: its `module_name` is `module` or, from upstream's client, empty."""
    fields = _object(_json(body))
    if (named := _text(fields, "module_name") or module) != module:
        raise bad_request("module_mismatch", f"module_name: the address says {module}, the body {named[:100]!r}")
    version = registry.check_version_name(_text(fields, "version") or "")
    items = _list(fields, "files")
    if len(items) > _MAX_FILES:
        raise bad_request("too_many_files", f"files: a version holds at most {_MAX_FILES} files, got {len(items)}")
    files = tuple(_file(item, index) for index, item in enumerate(items))
    if not files:
        raise bad_request("no_files", "files: a version holds at least one file")
    registry.check_paths([file.path for file in files])
    dependencies = _dependencies(fields)
    if (module, version) in dependencies:
        raise bad_request("invalid_dependency", f"dependencies: {module}@{version} cannot depend on itself")
    return NewVersion(module, version, files, dependencies, _source(fields))


def _dependencies(fields: Mapping[str, object]) -> tuple[Dependency, ...]:
    items = _list(fields, "dependencies")
    if len(items) > _MAX_DEPENDENCIES:
        raise bad_request("invalid_dependency", f"dependencies: more than {_MAX_DEPENDENCIES}")
    texts = [_as_text(item, f"dependencies[{index}]") for index, item in enumerate(items)]
    return tuple(dict.fromkeys(registry.parse_dependency(text) for text in texts))


def _source(fields: Mapping[str, object]) -> SourceInfo:
    found = fields.get("source_info")
    source = {} if found is None else _object(found, "source_info")

    def text(name: str, limit: int) -> str:
        value = _text(source, name, "source_info.") or UNKNOWN_SOURCE
        if len(value) > limit:
            raise bad_request("invalid_field", f"source_info.{name}: more than {limit} characters")
        return value

    return SourceInfo(text("repository", 512), text("commit_sha", 64), text("branch", 255))


def _file(item: object, index: int) -> File:
    fields = _object(item, f"files[{index}]")
    path = _text(fields, "path", f"files[{index}].") or ""
    return File(path, _text(fields, "content", f"files[{index}].") or "")


def _json(body: bytes) -> object:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise bad_request("invalid_utf8", f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise bad_request("invalid_json", "invalid JSON: nested too deeply") from None
    except ValueError as error:
        reason = "unexpected end of input" if not text.strip() else str(error)
        raise bad_request("invalid_json", f"invalid JSON: {reason}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _object(value: object, name: str = "the body") -> dict[str, object]:
    """The value as a mapping that finds its keys in any case; the exact spelling wins."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_request("invalid_field", f"{name}: expected an object, got {_kind(value)}")
    return {**{key.lower(): item for key, item in value.items()}, **value}


def _list(fields: Mapping[str, object], name: str) -> list[object]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_request("invalid_field", f"{name}: expected an array, got {_kind(value)}")
    return value


def _text(fields: Mapping[str, object], name: str, prefix: str = "") -> str | None:
    value = fields.get(name)
    return None if value is None else _as_text(value, prefix + name)


def _as_text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise bad_request("invalid_field", f"{name}: expected a string, got {_kind(value)}")
    if "\x00" in value:
        raise bad_request("invalid_text", f"{name}: the character NUL is not allowed")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise bad_request("invalid_text", f"{name}: a lone surrogate at character {error.start}") from None
    return value


def _kind(value: object) -> str:
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}
    return "null" if value is None else kinds.get(type(value), "an object")
