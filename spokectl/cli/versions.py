"""`versions`: immutable sets of files of a module."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from spokectl.cli import names
from spokectl.cli.command import Answer, Command, current_call, noun
from spokectl.cli.confirmation import confirm
from spokectl.cli.registry import TIMEOUT_S, Deleted, Permanent, Timeout, Url, Yes, target
from spokectl.cli.stdin import standard_input
from spokectl.errors import UsageError
from spokectl.operations import modules, proto_files, version_diff, versions
from spokectl.operations.registry import max_body_bytes, word
from spokectl.output.registry import print_diff, print_version, print_versions, progress
from spokectl.printable import shortened
from spokectl.units import human_bytes

app = noun("Versions: immutable sets of a module's .proto files.")

# From here on a bar is worth its place: an upload of this size, or this many files to write.
_BAR_FROM_BYTES = 256 * 1024
_BAR_FROM_FILES = 50

Module = Annotated[str, typer.Argument(metavar="MODULE", autocompletion=names.modules, show_default=False)]
NewVersion = Annotated[str, typer.Argument(metavar="VERSION", show_default=False)]
Version = Annotated[
    str, typer.Argument(metavar="VERSION", autocompletion=names.versions, show_default=False, help="A version, or latest.")
]


@app.command("push", cls=Command)
def push(
    module: Module,
    version: NewVersion,
    source: Annotated[
        str, typer.Argument(metavar="DIR", show_default=False, help="A folder, one file, or - for standard input.")
    ],
    path: Annotated[
        str | None, typer.Option(metavar="NAME", help="The path in the version, for one file or standard input.")
    ] = None,
    create: Annotated[
        bool, typer.Option("--create/--no-create", help="Create the module when it is missing; otherwise that is an error.")
    ] = False,
    dependency: Annotated[
        list[str] | None, typer.Option(metavar="MODULE@VERSION", help="A version that this one needs; repeat for more.")
    ] = None,
    repository: Annotated[str, typer.Option(metavar="URL", help="Where the files come from.")] = "",
    commit: Annotated[str, typer.Option(metavar="SHA", help="… the commit there.")] = "",
    branch: Annotated[str, typer.Option(metavar="NAME", help="… and the branch.")] = "",
    url: Url = None,
    timeout: Timeout = TIMEOUT_S,
) -> Answer:
    """Push every *.proto below DIR as a version. Again with the same content is no error; a version never changes.

    \b
    Examples:
      spokectl versions push payments v1.0.0 ./protos
      spokectl versions push payments v1.0.0 ./protos --create
      spokectl versions push orders v2.1.0 ./protos --dependency payments@v1.0.0
      spokectl versions push payments v1.0.1 - --path payments.proto < payments.proto

    Paths in the version are relative to DIR. A missing module is an error unless --create is given, so that a mistyped
    name makes no module.
    """
    call = current_call()
    registry = target(url, timeout)
    request = versions.Push(
        module=module,
        version=version,
        files=_files(source, path, max_body_bytes(registry)),
        create=create,
        dependencies=dependency or [],
        repository=repository,
        commit=commit,
        branch=branch,
    )
    with progress(f"{module}@{version}", "bytes", from_total=_BAR_FROM_BYTES, silent=call.json or call.quiet) as bar:
        result = versions.push(registry, request, bar)
    pushed = result.data
    notes = [f"Pushed {_files_text(pushed.files, pushed.bytes)} as {word(module)}@{word(version)}."]
    if pushed.module_created:
        notes.insert(0, f"Created the module {word(module)}.")
    notes.append(f"Next: {registry.command(f'versions pull {word(module)} {word(version)}')}")
    return Answer(result, text=lambda data: _print_line(f"{data.module}@{data.version}"), notes=notes)


@app.command("pull", cls=Command)
def pull(
    module: Module,
    version: Version,
    folder: Annotated[
        str | None, typer.Argument(metavar="[DIR]", show_default=False, help="Where to write; default: ./MODULE.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that have other content.")] = False,
    url: Url = None,
    timeout: Timeout = TIMEOUT_S,
) -> Answer:
    """Write the files of a version below DIR: all or none. A file that is there and differs is replaced only with --force.

    \b
    Examples:
      spokectl versions pull payments v1.0.0
      spokectl versions pull payments latest ./third_party/payments
    """
    if folder in {"-", ""}:
        raise UsageError(
            "bad_value", "DIR is a folder", actions=["spokectl versions file MODULE VERSION PATH prints a file"]
        )
    if folder is None:
        modules.check_module_name(module)
    call = current_call()
    place = Path(folder if folder is not None else module)
    with progress(f"{module}@{version}", "files", from_total=_BAR_FROM_FILES, silent=call.json or call.quiet) as bar:
        result = versions.pull(target(url, timeout), module, version, place, force=force, progress=bar)
    pulled = result.data
    same = len(pulled.files) - pulled.written
    there = f", {same} {'was' if same == 1 else 'were'} there already" if same else ""
    return Answer(
        result,
        text=lambda data: _print_line(shortened(str(data.folder), 4096)),
        notes=[f"Pulled {word(module)}@{word(pulled.version)}: {_files_text(len(pulled.files), pulled.bytes)}{there}."],
    )


@app.command("list", cls=Command)
def listed(module: Module, deleted: Deleted = False, url: Url = None, timeout: Timeout = TIMEOUT_S) -> Answer:
    """List the versions of a module, newest first.

    \b
    Examples:
      spokectl versions list payments
      spokectl versions list payments --json | jq -r '.data[].version'
    """
    registry = target(url, timeout)
    result = versions.listed(registry, module, deleted=deleted)
    empty = f"There are no versions. Push one: {registry.command(f'versions push {word(module)} v1.0.0 ./protos')}"
    return Answer(result, text=print_versions, notes=[] if result.data else [empty])


@app.command("get", cls=Command)
def get(module: Module, version: Version, url: Url = None, timeout: Timeout = TIMEOUT_S) -> Answer:
    """Show a version: where it came from, what it needs, and its files.

    \b
    Examples:
      spokectl versions get payments latest
    """
    return Answer(versions.get(target(url, timeout), module, version), text=print_version)


@app.command("file", cls=Command)
def file(
    module: Module,
    version: Version,
    path: Annotated[str, typer.Argument(metavar="PATH", show_default=False)],
    url: Url = None,
    timeout: Timeout = TIMEOUT_S,
) -> Answer:
    """Print one file of a version, byte for byte as it was pushed.

    \b
    Examples:
      spokectl versions file payments v1.0.0 payments/v1/payment.proto > payment.proto
    """
    return Answer(versions.file(target(url, timeout), module, version, path), text=_print_raw)


@app.command("diff", cls=Command)
def diff(
    module: Module,
    old: Annotated[
        str, typer.Argument(metavar="OLD", autocompletion=names.versions, show_default=False, help="A version, or latest.")
    ],
    new: Annotated[
        str, typer.Argument(metavar="[NEW]", autocompletion=names.versions, show_default=False, help="Default: latest.")
    ] = versions.LATEST,
    url: Url = None,
    timeout: Timeout = TIMEOUT_S,
) -> Answer:
    """Show what changed between two versions of a module, as a patch; nothing when they are the same.

    \b
    Examples:
      spokectl versions diff payments v1.0.0 v1.1.0
      spokectl versions diff payments v1.0.0 | git apply
    """
    result = version_diff.diff(target(url, timeout), module, old, new)
    return Answer(result, text=print_diff, notes=_changes(result.data))


@app.command("delete", cls=Command)
def delete(
    module: Module,
    version: NewVersion,
    permanent: Permanent = False,
    yes: Yes = False,
    url: Url = None,
    timeout: Timeout = TIMEOUT_S,
) -> Answer:
    """Hide a version; --permanent removes it for good, and its number is never used again. It asks first.

    \b
    Examples:
      spokectl versions delete payments v1.0.0
      spokectl versions delete payments v1.0.0 --permanent --yes
    """
    name = f"{word(module)}@{word(version)}"
    question = f"Remove {name} for good" if permanent else f"Delete {name}"
    confirm(question, f"{module}@{version}", type_name=permanent, yes=yes)
    result = versions.delete(target(url, timeout), module, version, permanent=permanent)
    back = "for good" if permanent else "(pushing the same files again brings it back)"
    return Answer(result, notes=[f"{name} is deleted {back}."])


def _files(source: str, path: str | None, limit_bytes: int) -> list[proto_files.ProtoFile]:
    """The files to push, within what one request can hold."""
    if source != "-":
        return proto_files.collect(Path(source), path=path, limit_bytes=limit_bytes)
    if path is None:
        raise UsageError("path_needed", "a file from standard input needs a path", actions=["add --path NAME.proto"])
    proto_files.check_pushed_path(path)
    raw = standard_input(limit_bytes)
    if len(raw) > limit_bytes:
        what = f"more than {human_bytes(limit_bytes)} on standard input"
        raise proto_files.too_large(what, limit_bytes, in_one_file=True)
    return [proto_files.ProtoFile(path, proto_files.text_of(raw, "standard input"))]


def _changes(found: version_diff.VersionDiff) -> list[str]:
    """What a patch does not say, for people: how much it is, and what else has changed."""
    module, old, new = word(found.module), word(found.old), word(found.new)
    if found.same:
        return [f"{module}: {old} and {new} are the same."]
    kinds = [each.change for each in found.files]
    counts = [f"{kinds.count(kind)} {kind}" for kind in ("changed", "added", "removed") if kind in kinds]
    changes = [f"files: {', '.join(counts)}"] if counts else []
    changes += [f"needs {word(each)} now" for each in found.dependencies_added]
    changes += [f"needs {word(each)} no more" for each in found.dependencies_removed]
    return [f"{module}: {old} -> {new}: {'; '.join(changes)}."]


def _files_text(count: int, size_bytes: int) -> str:
    return f"{count} {'file' if count == 1 else 'files'} ({human_bytes(size_bytes)})"


def _print_raw(data: versions.FileText) -> None:
    sys.stdout.buffer.write(data.content.encode())


def _print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
