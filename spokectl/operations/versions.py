"""What an operator does with versions: immutable sets of files of a module."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spokectl.errors import NotFound, UsageError
from spokectl.operations import proto_files
from spokectl.operations.modules import Deletion, check_module_name
from spokectl.operations.proto_files import ProtoFile
from spokectl.operations.registry import Target, connect, every, hints, max_body_bytes, word
from spokectl.printable import quoted
from spokectl.result import Result

if TYPE_CHECKING:
    from spokectl.clients.registry import RegistryClient
    from spokectl.clients.registry_answers import Source, Version

VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}\Z", re.ASCII)
LATEST = "latest"
_PAGE = 20

Progress = Callable[[int, int], None]
"""Takes how much is done, and of how much."""


@dataclass(frozen=True)
class Push:
    """A version to be; `files` are collected already."""

    module: str
    version: str
    files: Sequence[ProtoFile]
    create: bool = False
    dependencies: Sequence[str] = ()
    repository: str = ""
    commit: str = ""
    branch: str = ""


@dataclass(frozen=True)
class Pushed:
    """`module_created` says that the module was not there before."""

    module: str
    version: str
    files: int
    bytes: int
    dependencies: Sequence[str]
    created_at: str
    module_created: bool


@dataclass(frozen=True)
class Pulled:
    """`version` is the one behind `latest`; `written` says how many of the files were not in the folder already."""

    module: str
    version: str
    folder: Path
    files: list[str]
    bytes: int
    written: int


@dataclass(frozen=True)
class FileSize:
    path: str
    bytes: int


@dataclass(frozen=True)
class VersionInfo:
    """A version without the contents of its files."""

    module: str
    version: str
    created_at: str
    deleted_at: str | None
    dependencies: Sequence[str]
    source: "Source"
    files: list[FileSize]
    bytes: int


@dataclass(frozen=True)
class FileText:
    module: str
    version: str
    path: str
    content: str


def push(target: Target, request: Push, progress: Progress) -> Result:
    """Sends a version. The same content again is no error, other content under the same number is (`conflict`)."""
    from spokectl.clients.registry import encoded

    check_module_name(request.module)
    check_version_name(request.version)
    body = encoded(_body(request))
    if len(body) > (limit_bytes := max_body_bytes(target)):
        one = len(request.files) == 1
        files = "one file makes" if one else f"{len(request.files)} files make"
        raise proto_files.too_large(f"{files} a request of {len(body)} bytes", limit_bytes, in_one_file=one)
    module = word(request.module)
    with (
        connect(target) as registry,
        hints(
            module_not_found=f"create it: {target.command(f'modules create {module}')}, or push with --create",
            module_deleted=f"bring it back with its description: {target.command(f'modules create {module} -d TEXT')}",
            version_exists="push it under another version number",
            version_deleted="push it under another version number",
            version_retired="push it under another version number",
        ),
    ):
        version, created = _push(registry, request, body, lambda sent: progress(sent, len(body)))
    size_bytes = sum(file.size_bytes for file in request.files)
    return Result(
        Pushed(
            module=request.module,
            version=version.version,
            files=len(request.files),
            bytes=size_bytes,
            dependencies=version.dependencies,
            created_at=version.created_at,
            module_created=created,
        )
    )


def pull(target: Target, module: str, version: str, folder: Path, *, force: bool, progress: Progress) -> Result:
    """Writes a version's files below `folder`, all of them or none; see `proto_files.write`."""
    found = read_version(target, module, version)
    files = [ProtoFile(file.path, file.content) for file in found.files]
    written = proto_files.write(files, folder, force=force, report=lambda count: progress(count, len(files)))
    size_bytes = sum(file.size_bytes for file in files)
    return Result(Pulled(module, found.version, folder, [file.path for file in files], size_bytes, written))


def listed(target: Target, module: str, *, deleted: bool) -> Result:
    """A module's versions, newest first."""
    with connect(target) as registry, hints(module_not_found=target.command("modules list")):
        # Versions come with their files: a page at a time, of which only names and sizes are kept.
        versions = every(lambda asked: registry.versions(module, deleted=deleted, limit=_PAGE, cursor=asked))
        return Result([_info(version) for version in versions])


def get(target: Target, module: str, version: str) -> Result:
    return Result(_info(read_version(target, module, version)))


def file(target: Target, module: str, version: str, path: str) -> Result:
    """One file's text, exactly as it was pushed."""
    proto_files.check_path(path)
    with (
        connect(target) as registry,
        hints(
            version_not_found=target.command(f"versions list {word(module)}"),
            file_not_found=target.command(f"versions get {word(module)} {word(version)}"),
        ),
    ):
        found = registry.file(module, version, path)
    return Result(FileText(module, version, path, found.content))


def delete(target: Target, module: str, version: str, *, permanent: bool) -> Result:
    """Hides a version, or removes it for good; its number is never used again then."""
    if version.lower() == LATEST:
        raise UsageError("bad_name", "name the version to delete: what `latest` is may change meanwhile")
    with connect(target) as registry, hints(version_not_found=target.command(f"versions list {word(module)}")):
        registry.delete_version(module, version, permanent=permanent)
    return Result(Deletion(module, version, permanent))


def _push(registry: "RegistryClient", request: Push, body: bytes, sent: Callable[[int], None]) -> "tuple[Version, bool]":
    try:
        return registry.push_version(request.module, body, sent), False
    except NotFound as error:
        if not request.create or error.details.get("code") != "module_not_found":
            raise
    registry.create_module(request.module, "")
    return registry.push_version(request.module, body, sent), True


def _body(request: Push) -> dict[str, object]:
    source = {"repository": request.repository, "commit_sha": request.commit, "branch": request.branch}
    body: dict[str, object] = {
        "version": request.version,
        "files": [{"path": file.path, "content": file.content} for file in request.files],
        "source_info": source,
    }
    return body | ({"dependencies": list(request.dependencies)} if request.dependencies else {})


def read_version(target: Target, module: str, version: str) -> "Version":
    """A version with its files; NotFound says where to look for those that there are."""
    listing, modules = target.command(f"versions list {word(module)}"), target.command("modules list")
    with connect(target) as registry, hints(version_not_found=listing, module_not_found=modules):
        return registry.version(module, version)


def _info(version: "Version") -> VersionInfo:
    files = [FileSize(file.path, file.size_bytes) for file in version.files]
    return VersionInfo(
        module=version.module,
        version=version.version,
        created_at=version.created_at,
        deleted_at=version.deleted_at,
        dependencies=version.dependencies,
        source=version.source,
        files=files,
        bytes=sum(file.bytes for file in files),
    )


def check_version_name(version: str) -> None:
    """UsageError (`bad_name`) when no version can have this name."""
    if version.lower() == LATEST:
        raise UsageError("bad_name", "a version cannot be called latest: that stands for the highest one")
    if not VERSION_NAME.match(version):
        raise UsageError(
            "bad_name",
            f"{quoted(version)} cannot name a version: a letter or digit first, then at most 99 of A-Z a-z 0-9 . _ + -",
        )
