"""The registry's rules: what a name, a version, a path and a dependency may be, and how versions are ordered.

Pure: no input or output happens here. Names follow docs/registry-api.md; upstream's batch-push makes module names of
Protobuf packages (dots) and version names of branches and dates, so both are wider than upstream's own constraints.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from spoke_server.errors import bad_request

MODULE_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,254}", re.ASCII)
VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", re.ASCII)
LATEST = "latest"
MAX_PATH_CHARACTERS = 512
MAX_DESCRIPTION_CHARACTERS = 65536
UNKNOWN_SOURCE = "unknown"

_SEMVER = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII)
_DIGITS_OR_TEXT = re.compile(r"\d+|\D+", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Dependency(NamedTuple):
    """One version that another needs."""

    module: str
    version: str

    def __str__(self) -> str:
        return f"{self.module}@{self.version}"


class File(NamedTuple):
    """One file of a version; the content is text, as on the wire."""

    path: str
    content: str


@dataclass(frozen=True)
class SourceInfo:
    """Where a version came from, as its pusher says."""

    repository: str = UNKNOWN_SOURCE
    commit_sha: str = UNKNOWN_SOURCE
    branch: str = UNKNOWN_SOURCE


@dataclass(frozen=True)
class NewVersion:
    """A version as pushed, its parts checked one by one."""

    module: str
    version: str
    files: tuple[File, ...]
    dependencies: tuple[Dependency, ...] = ()
    source: SourceInfo = SourceInfo()

    @cached_property
    def file_hashes(self) -> dict[str, str]:
        """The SHA-256 of every file's content, by path."""
        return {file.path: hashlib.sha256(file.content.encode()).hexdigest() for file in self.files}


def is_module_name(name: str) -> bool:
    """Whether a module can have this name."""
    return MODULE_NAME.fullmatch(name) is not None


def is_version_name(version: str) -> bool:
    """Whether a version can have this name; `latest` is no name but a question."""
    return VERSION_NAME.fullmatch(version) is not None and version.lower() != LATEST


def check_module_name(name: str) -> str:
    """Returns the name, or refuses it."""
    if not is_module_name(name):
        raise bad_request(
            "invalid_module_name",
            f"invalid module name {_shown(name)}: expected a lower-case letter, then up to 254 of a-z 0-9 _ . -",
        )
    return name


def check_version_name(version: str) -> str:
    """Returns the version's name, or refuses it."""
    if version.lower() == LATEST:
        raise bad_request("invalid_version", f"{version!r} is reserved: it stands for the highest version")
    if not is_version_name(version):
        raise bad_request(
            "invalid_version",
            f"invalid version {_shown(version)}: expected a letter or digit, then up to 99 of A-Z a-z 0-9 . _ + -",
        )
    return version


def check_description(description: str) -> str:
    """Returns the description, or refuses one that is longer than a description is."""
    if len(description) > MAX_DESCRIPTION_CHARACTERS:
        raise bad_request("invalid_field", f"description: more than {MAX_DESCRIPTION_CHARACTERS} characters")
    return description


def check_paths(paths: Sequence[str]) -> None:
    """Refuses paths that could leave the folder they are written to, or that cannot all exist in one folder."""
    seen: set[str] = set()
    for path in paths:
        if (reason := _path_defect(path)) is not None:
            raise bad_request("invalid_path", f"invalid path {_shown(path)}: {reason}")
        if path in seen:
            raise bad_request("duplicate_path", f"path {_shown(path)} is there twice")
        seen.add(path)
    for path in paths:
        folder = path
        while "/" in folder:
            folder = folder.rpartition("/")[0]
            if folder in seen:
                raise bad_request("invalid_path", f"{_shown(folder)} is both a file and the folder of {_shown(path)}")


def _path_defect(path: str) -> str | None:
    if not path:
        return "it is empty"
    if len(path) > MAX_PATH_CHARACTERS:
        return f"it is longer than {MAX_PATH_CHARACTERS} characters"
    if "\\" in path:
        return "a backslash is not allowed; separate folders by /"
    if _CONTROL.search(path):
        return "control characters are not allowed"
    if path.startswith("/"):
        return "it must be relative"
    segments = path.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        return "empty segments, . and .. are not allowed"
    if any(len(segment.encode()) > 255 for segment in segments):
        return "a segment is longer than 255 bytes"
    return None


def parse_dependency(text: str) -> Dependency:
    """Reads `module@version`, or refuses it."""
    module, separator, version = text.partition("@")
    if not separator or not is_module_name(module) or not is_version_name(version):
        raise bad_request("invalid_dependency", f"invalid dependency {_shown(text)}: expected module@version")
    return Dependency(module, version)


def content_digest(files: Iterable[tuple[str, str]], dependencies: Iterable[Dependency]) -> str:
    """What makes two versions the same: the paths, the files' hashes and the dependencies, in any order.

    `files` are (path, SHA-256 of the content) pairs. Where a version came from is no part of it.
    """
    digest = hashlib.sha256()
    for path, file_hash in sorted(files):
        digest.update(f"{len(path.encode())}:{path}={file_hash}\n".encode())
    for dependency in sorted(set(dependencies)):
        digest.update(f"@{dependency}\n".encode())
    return digest.hexdigest()


def version_sort_key(version: str) -> str:
    """A text whose order by code point (collation C) is the order of versions: the greatest one is `latest`.

    Semantic versions (with or without a `v`) come after all others and follow semver 2.0.0 section 11; others are
    compared by their runs of digits and text, so that v9 < v10 and dates sort. Build metadata does not count.
    """
    semver = _SEMVER.fullmatch(version)
    if semver is None:
        return "0" + "".join(_natural(part) for part in _DIGITS_OR_TEXT.findall(version))
    release = "".join(_number(part) for part in semver.group(1, 2, 3))
    if semver[4] is None:
        return f"1{release}~"
    identifiers = (_number(part) if part.isdigit() else f"a{part}" for part in semver[4].split("."))
    return f"1{release}-" + " ".join(identifiers)


def _number(digits: str) -> str:
    """A number whose text order is its numeric order: the count of its digits first."""
    digits = digits.lstrip("0") or "0"
    return f"{len(digits):03d}{digits}"


def _natural(part: str) -> str:
    return _number(part) + " " if part.isdigit() else f"a{part} "


def _shown(text: str) -> str:
    """The text as it may stand in a message: short, with what is not printable escaped."""
    shown = text if len(text) <= 80 else text[:77] + "..."
    return ascii(shown) if not shown.isprintable() else repr(shown)
