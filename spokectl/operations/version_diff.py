"""What changed from one version of a module to another: its files line by line, and what it depends on."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

from spokectl.operations.registry import Target
from spokectl.operations.versions import read_version
from spokectl.printable import printable
from spokectl.result import Result

if TYPE_CHECKING:
    from spokectl.clients.registry_answers import Version

_NO_FILE = "/dev/null"


@dataclass(frozen=True)
class FileDiff:
    """A file that differs. `diff` is its part of a patch in git's form of the unified format; the numbers count lines."""

    path: str
    change: Literal["added", "removed", "changed"]
    lines_added: int
    lines_removed: int
    diff: str


@dataclass(frozen=True)
class VersionDiff:
    """`old` and `new` are the versions behind `latest`; `files` holds those that differ, by path."""

    module: str
    old: str
    new: str
    files: Sequence[FileDiff]
    dependencies_added: Sequence[str]
    dependencies_removed: Sequence[str]

    @property
    def same(self) -> bool:
        return not (self.files or self.dependencies_added or self.dependencies_removed)


def diff(target: Target, module: str, old: str, new: str) -> Result:
    """Compares two versions of a module; what they say of their source is no part of it."""
    return Result(compared(read_version(target, module, old), read_version(target, module, new)))


def compared(old: "Version", new: "Version") -> VersionDiff:
    before = {file.path: file.content for file in old.files}
    after = {file.path: file.content for file in new.files}
    paths = sorted(path for path in before | after if before.get(path) != after.get(path))
    needed, needs = set(old.dependencies), set(new.dependencies)
    return VersionDiff(
        module=new.module,
        old=old.version,
        new=new.version,
        files=[_file(path, before.get(path), after.get(path)) for path in paths],
        dependencies_added=sorted(needs - needed),
        dependencies_removed=sorted(needed - needs),
    )


def _file(path: str, before: str | None, after: str | None) -> FileDiff:
    changes = list(_hunks(before or "", after or ""))
    return FileDiff(
        path=path,
        change="added" if before is None else "removed" if after is None else "changed",
        lines_added=sum(line.startswith("+") for line in changes),
        lines_removed=sum(line.startswith("-") for line in changes),
        diff="".join([*_heads(printable(path), before, after), *changes]),
    )


def _heads(path: str, before: str | None, after: str | None) -> Iterator[str]:
    """git's lines first: without them a patch cannot say that a file without a line is there, or is gone."""
    yield f"diff --git a/{path} b/{path}\n"
    if before is None:
        yield "new file mode 100644\n"
    if after is None:
        yield "deleted file mode 100644\n"
    if before or after:
        yield f"--- {_NO_FILE if before is None else f'a/{path}'}\n"
        yield f"+++ {_NO_FILE if after is None else f'b/{path}'}\n"


def _hunks(before: str, after: str) -> Iterator[str]:
    """The changed places with three lines around each, without the two lines that name the file."""
    for line in islice(difflib.unified_diff(_lines(before), _lines(after)), 2, None):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    """Lines as a patch counts them: only a line feed ends one, whatever else Unicode takes for an end."""
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop().removesuffix("\n")
    return [*lines, last] if last else lines
