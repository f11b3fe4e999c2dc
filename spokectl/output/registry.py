"""How a person reads modules and versions: short tables, and a bar while many files go."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spokectl.printable import printable, shortened
from spokectl.units import human_bytes

if TYPE_CHECKING:
    from spokectl.clients.registry_answers import Module
    from spokectl.operations.version_diff import VersionDiff
    from spokectl.operations.versions import VersionInfo

_DESCRIPTION_CHARACTERS = 60
_SECONDS = len("2026-11-23T05:41:04")

Progress = Callable[[int, int], None]


def print_modules(modules: "Sequence[Module]") -> None:
    if not modules:
        return
    headers = ["NAME", "VERSIONS", "LATEST", "UPDATED", "DESCRIPTION"]
    with_deleted = any(module.deleted_at for module in modules)
    rows = []
    for module in modules:
        row = [printable(module.name), len(module.versions), _text(module.latest), _moment(module.updated_at)]
        row += [_moment(module.deleted_at)] if with_deleted else []
        rows.append([*row, shortened(_first_line(module.description), _DESCRIPTION_CHARACTERS)])
    _table([*headers[:4], *(["DELETED"] if with_deleted else []), headers[4]], rows)


def print_module(module: "Module") -> None:
    _facts(
        [
            ("name", module.name),
            ("description", module.description),
            ("created", _moment(module.created_at)),
            ("updated", _moment(module.updated_at)),
            ("latest", module.latest or ""),
            ("versions", ", ".join(module.versions)),
        ]
    )


def print_versions(versions: "Sequence[VersionInfo]") -> None:
    if not versions:
        return
    with_deleted = any(version.deleted_at for version in versions)
    rows = []
    for version in versions:
        row: list[object] = [printable(version.version), len(version.files), human_bytes(version.bytes)]
        row += [_moment(version.created_at)]
        row += [_moment(version.deleted_at)] if with_deleted else []
        rows.append([*row, printable(", ".join(version.dependencies))])
    _table(["VERSION", "FILES", "SIZE", "PUSHED", *(["DELETED"] if with_deleted else []), "DEPENDS ON"], rows)


def print_version(version: "VersionInfo") -> None:
    _facts(
        [
            ("version", f"{version.module}@{version.version}"),
            ("pushed", _moment(version.created_at)),
            ("repository", version.source.repository),
            ("commit", version.source.commit_sha),
            ("branch", version.source.branch),
            ("depends on", ", ".join(version.dependencies)),
            ("size", human_bytes(version.bytes)),
        ]
    )
    sys.stdout.write("\n")
    _table(["FILE", "SIZE"], [[printable(file.path), human_bytes(file.bytes)] for file in version.files])


def print_diff(found: "VersionDiff") -> None:
    """A patch. On a terminal coloured and with nothing that could steer it; elsewhere byte for byte, to be applied."""
    if not sys.stdout.isatty():
        sys.stdout.buffer.write("".join(each.diff for each in found.files).encode())
        return
    from rich.text import Text

    from spokectl.output.streams import stdout

    styles = {"dif": "bold", "new": "bold", "del": "bold", "---": "bold", "+++": "bold", "@@ ": "cyan"}
    for each in found.files:
        for line in each.diff.removesuffix("\n").split("\n"):
            style = styles.get(line[:3]) or {"+": "green", "-": "red"}.get(line[:1], "")
            shown = "\t".join(printable(part) for part in line.split("\t"))
            stdout().print(Text(shown, style), soft_wrap=True)


@contextmanager
def progress(label: str, unit: str, *, from_total: int, silent: bool) -> Iterator[Progress]:
    """A bar on a terminal's stderr when `from_total` or more is to be done; it is gone at the end. Elsewhere nothing."""
    if silent or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield _say_nothing
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    from spokectl.output.streams import stderr

    count = DownloadColumn(binary_units=True) if unit == "bytes" else MofNCompleteColumn()
    bars = Bars(TextColumn(printable(label)), BarColumn(), count, console=stderr(), transient=True)
    task = bars.add_task("", total=None)

    def report(done: int, total: int) -> None:
        if total < from_total:
            return
        bars.start()
        bars.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        bars.stop()


def _say_nothing(done: int, total: int) -> None:
    """Takes the report and keeps it to itself."""


def _table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from spokectl.output.streams import print_table

    print_table(headers, rows)


def _facts(facts: Sequence[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        sys.stdout.write(f"{name:<{width}}  {_text(value)}\n")


def _text(value: str | None) -> str:
    return printable(value) if value else "-"


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return "" if not lines else lines[0] + (" …" if len(lines) > 1 else "")


def _moment(time: str | None) -> str:
    """A time to the second, for people: `2026-11-23 05:41:04`, in UTC as the registry has it."""
    return printable(time[:_SECONDS].replace("T", " ")) if time else "-"
