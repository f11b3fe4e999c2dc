"""Files on this machine: what is pushed is collected here, what was pulled is written here.

Paths of a version are relative, with `/`, and can never leave the folder they belong to, in either direction and
whoever sent them.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from spokectl.errors import Failed, Refused, UsageError
from spokectl.printable import quoted, shortened
from spokectl.units import human_bytes

SUFFIX = ".proto"
MAX_PATH_CHARACTERS = 512
_MAX_FOLDERS = 100_000
_SHOWN_PATHS = 5

Report = Callable[[int], None]
"""Takes how many files have been dealt with."""


@dataclass(frozen=True)
class ProtoFile:
    """One file of a version: its path in the version, and its text exactly as it is on disk."""

    path: str
    content: str

    @property
    def size_bytes(self) -> int:
        return len(self.content.encode())


# What is pushed


def collect(source: Path, *, path: str | None, limit_bytes: int) -> list[ProtoFile]:
    """The files at `source`, sorted by path: a folder's every `*.proto`, or one file, which `path` may rename.

    UsageError names the file that is not UTF-8, is no file, is not called `*.proto`, lies outside the folder behind a
    link, or has a path that no version can hold; and a folder without any, or with more than `limit_bytes` in them.
    """
    if source.is_dir():
        if path is not None:
            raise UsageError("bad_value", "--path names a single file, not a folder")
        found = sorted(_walk(source))
        if not found:
            raise UsageError("no_files", f"there is no {SUFFIX} file in {_shown(source)}")
    elif source.exists():
        found = [(path if path is not None else source.name, source)]
    else:
        raise UsageError("no_such_file", f"there is no file or folder {_shown(source)}")
    files = []
    size_bytes = 0
    for name, place in found:
        check_pushed_path(name)
        file_bytes = place.stat().st_size
        if file_bytes > limit_bytes:
            raise too_large(f"{_shown(place)} alone has {human_bytes(file_bytes)}", limit_bytes, in_one_file=True)
        size_bytes += file_bytes
        if size_bytes > limit_bytes:
            raise too_large(f"more than {human_bytes(limit_bytes)} of files in {_shown(source)}", limit_bytes)
        files.append(ProtoFile(name, text_of(_regular_bytes(place), str(place))))
    return files


def text_of(raw: bytes, name: str) -> str:
    """The bytes as text. UsageError says where `name` stops being UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(
            "not_utf8",
            f"{shortened(name, 200)} is not UTF-8: {error.reason} at byte {error.start}, line {line}",
            details={"path": shortened(name, 200), "byte": error.start, "line": line},
            actions=["write it again as UTF-8"],
        ) from None


def too_large(what: str, limit_bytes: int, *, in_one_file: bool = False) -> UsageError:
    modules = "several modules that depend on each other (--dependency MODULE@VERSION)"
    return UsageError(
        "too_large",
        f"{what}: the registry takes {human_bytes(limit_bytes)} in one version",
        details={"limit_bytes": limit_bytes},
        actions=[
            f"split the file, and push the parts as {modules}" if in_one_file else f"push it as {modules}",
            "or have the registry take more: its setting SPOKE_MAX_BODY_MIB, `spokectl config set` for a stack's own",
        ],
    )


def check_path(path: str) -> None:
    """UsageError (`bad_path`) when no file of a version can have this path."""
    if (defect := path_defect(path)) is not None:
        raise UsageError("bad_path", f"{quoted(path, 200)} cannot be the path of a file in a version: {defect}")


def check_pushed_path(path: str) -> None:
    """UsageError when no pushed file can have this path: as `check_path`, and (`not_proto`) when it is no .proto file's."""
    check_path(path)
    if not path.endswith(SUFFIX):
        raise UsageError(
            "not_proto",
            f"{quoted(path, 200)} is not the name of a {SUFFIX} file, and a version holds no others",
            actions=[f"give it one: --path NAME{SUFFIX}"],
        )


def path_defect(path: str) -> str | None:
    """Why the path could leave its folder or mean another place elsewhere; None when it is a good one."""
    if len(path) > MAX_PATH_CHARACTERS:
        return f"it is longer than {MAX_PATH_CHARACTERS} characters"
    if "\\" in path:
        return "a backslash separates folders on some systems"
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "it holds a control character"
    if any(0xD800 <= ord(character) <= 0xDFFF for character in path):
        return "it is not UTF-8"
    if path.startswith("/"):
        return "it is not relative"
    if any(segment in {"", ".", ".."} for segment in path.split("/")):
        return "empty segments, . and .. are not allowed"
    return None


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Every `*.proto` below the folder with its path in it. Links are followed inside the folder, each loop once."""
    inside = root.resolve()
    visited = 0
    # A folder, its path in the version, and the real folders that lead to it: one of them again would be a loop.
    waiting: list[tuple[Path, str, frozenset[Path]]] = [(root, "", frozenset({inside}))]
    while waiting:
        folder, prefix, chain = waiting.pop()
        visited += 1
        if visited > _MAX_FOLDERS:
            raise UsageError("too_many_folders", f"there are more than {_MAX_FOLDERS} folders in {_shown(root)}")
        with os.scandir(folder) as entries:
            for entry in entries:
                place, name = folder / entry.name, prefix + entry.name
                if _is_folder(entry):
                    real = _real_inside(place, inside) if entry.is_symlink() else place.resolve()
                    if real not in chain:
                        waiting.append((place, name + "/", chain | {real}))
                elif name.endswith(SUFFIX):
                    if entry.is_symlink():
                        _real_inside(place, inside)
                    yield name, place


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _real_inside(link: Path, inside: Path) -> Path:
    try:
        real = link.resolve(strict=True)
    except (OSError, RuntimeError):
        raise UsageError("bad_link", f"{_shown(link)} is a link that leads nowhere") from None
    if not real.is_relative_to(inside):
        raise UsageError(
            "link_leaves_folder",
            f"{_shown(link)} is a link out of the folder that is pushed, to {_shown(real)}",
            actions=["put the file itself into the folder"],
        )
    return real


def _regular_bytes(place: Path) -> bytes:
    """The file's bytes. A pipe or a device would be waited for, or never end."""
    if not stat.S_ISREG(place.stat().st_mode):
        raise UsageError("not_a_file", f"{_shown(place)} is not a regular file", actions=["give - to read standard input"])
    return place.read_bytes()


# What was pulled


def write(files: Sequence[ProtoFile], folder: Path, *, force: bool, report: Report) -> int:
    """Writes the files below `folder` and gives how many were not there already, whole and equal.

    All of them are written beside their place first and moved there only then, so a full disk or an interruption leaves no
    half of a file, and a new folder appears whole or not at all. Refused, before anything is written, when a different file
    is in the way (`files_differ`, unless `force`), or something that is no file or leads out of the folder (`in_the_way`).
    """
    _check_sent_paths([file.path for file in files])
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise Refused("in_the_way", f"{_shown(folder)} is not a folder")
    needed = [file for file in files if not _is_there(file, folder)]
    if not force:
        _refuse_to_replace([file.path for file in needed if os.path.lexists(folder / file.path)], folder)
    workplace = Path(tempfile.mkdtemp(prefix=".spokectl-", dir=_nearest_folder(folder)))
    try:
        staged = workplace / "files"
        staged.mkdir()
        for count, file in enumerate(needed, 1):
            _write_new(staged / file.path, file.content)
            report(count)
        _move(staged, folder, [file.path for file in needed])
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return len(needed)


def _check_sent_paths(paths: Sequence[str]) -> None:
    """A registry sends no such paths; whatever does is not to be trusted with this machine's files."""
    known = set(paths)
    for path in paths:
        defect = path_defect(path)
        if defect is None and any(str(parent) in known for parent in PurePosixPath(path).parents):
            defect = "one of its folders is a file of the same version"
        if defect is not None:
            raise Failed(
                "unsafe_path",
                f"the registry sent a file with the path {quoted(path, 200)}: {defect}; nothing was written",
                details={"path": shortened(path, 200)},
            )
    if len(known) != len(paths):
        raise Failed("unsafe_path", "the registry sent two files with the same path; nothing was written")


def _is_there(file: ProtoFile, folder: Path) -> bool:
    """Whether the file is in its place already, whole and equal."""
    place = folder / file.path
    inside = folder.resolve()
    for parent in [folder / above for above in PurePosixPath(file.path).parents if above.name]:
        if parent.is_symlink() and not parent.resolve().is_relative_to(inside):
            raise Refused("in_the_way", f"{_shown(parent)} is a link out of the folder; nothing was written")
        if os.path.lexists(parent) and not parent.is_dir():
            raise Refused("in_the_way", f"{_shown(parent)} is not a folder; nothing was written")
    if place.is_symlink() or not place.exists():
        return False
    if not place.is_file():
        raise Refused("in_the_way", f"{_shown(place)} is not a file; nothing was written")
    return place.read_bytes() == file.content.encode()


def _refuse_to_replace(paths: Sequence[str], folder: Path) -> None:
    if not paths:
        return
    names = ", ".join(shortened(path, 100) for path in paths[:_SHOWN_PATHS])
    more = f" and {len(paths) - _SHOWN_PATHS} more" if len(paths) > _SHOWN_PATHS else ""
    raise Refused(
        "files_differ",
        f"{_shown(folder)} holds other content for {names}{more}; nothing was written",
        details={"paths": [shortened(path, 200) for path in paths]},
        actions=["pull into another folder, or replace them with --force"],
    )


def _nearest_folder(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists: on the file system where the files will be."""
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())


def _write_new(place: Path, content: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with place.open("xb") as file:
            file.write(content.encode())
    except FileExistsError:
        raise Failed(
            "unsafe_path",
            f"two paths of the version are the same file on this file system: {_shown(place)}; nothing was written",
        ) from None


def _move(staged: Path, folder: Path, paths: Sequence[str]) -> None:
    if not folder.exists():
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        staged.rename(folder)
        return
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (staged / path).replace(folder / path)


def _shown(path: Path) -> str:
    return shortened(str(path), 300)
