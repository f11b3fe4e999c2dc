"""Writes a report: gathers its parts, takes the secrets out, and says what is in it."""

import io
import json
import os
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spokectl.errors import Failed, Refused, SpokectlError
from spokectl.operations.doctor.findings import NotChecked
from spokectl.operations.doctor.scene import Scene
from spokectl.operations.report.gather import known_secrets, sources
from spokectl.operations.report.redaction import Redaction
from spokectl.result import Result, plain
from spokectl.settings import command_line


@dataclass(frozen=True)
class Part:
    """A file in the archive; `size_bytes` as it is when unpacked."""

    name: str
    size_bytes: int
    secrets_replaced: int


@dataclass(frozen=True)
class Report:
    """`missing`: what could not be gathered, a line each, as in the archive's errors.txt."""

    file: str
    size_bytes: int
    secrets_replaced: int
    parts: list[Part]
    missing: list[str]


def write_report(name: str, file: Path | None, output: Path | None, now: datetime | None = None) -> Result:
    """Writes the archive, private, where nothing is yet. Refused (`file_exists`) where something is.

    What cannot be gathered is a line in its errors.txt, and no failure.
    """
    moment = now or datetime.now(UTC)
    title = f"spokectl-report-{name}-{moment:%Y%m%d-%H%M%S}"
    path = (output or Path(f"{title}.tar.gz")).absolute()
    descriptor = _created(name, path)
    try:
        with os.fdopen(descriptor, "wb") as target:
            parts, missing = _write(target, title, Scene(name, file), moment)
    except BaseException as error:
        # Half an archive would look like a whole one.
        with suppress(OSError):
            path.unlink()
        if isinstance(error, OSError):
            raise Failed("cannot_write", f"{path} cannot be written: {error.strerror or error}") from error
        raise
    replaced = sum(part.secrets_replaced for part in parts)
    warnings = (f"{len(missing)} parts could not be gathered: see errors.txt in it",) if missing else ()
    return Result(Report(str(path), path.stat().st_size, replaced, parts, missing), warnings)


def _created(name: str, path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Refused(
            "file_exists",
            f"{path} is there already, and stays as it is",
            actions=["name another one: " + command_line(name, "report -o FILE")],
        ) from None
    except OSError as error:
        raise Refused(
            "cannot_write",
            f"{path} cannot be written: {error.strerror}",
            actions=["name another one: " + command_line(name, "report -o FILE")],
        ) from error


def _write(target: Any, title: str, scene: Scene, moment: datetime) -> tuple[list[Part], list[str]]:
    redaction = Redaction(known_secrets(scene))
    parts: list[Part] = []
    missing: list[str] = []
    with tarfile.open(fileobj=target, mode="w:gz") as archive:

        def add(name: str, value: Any) -> None:
            text, replaced = _rendered(value, redaction)
            content = text.encode(errors="backslashreplace")
            entry = tarfile.TarInfo(f"{title}/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(moment.timestamp())
            archive.addfile(entry, io.BytesIO(content))
            parts.append(Part(name, len(content), replaced))

        for source in _named(scene, missing):
            try:
                value = source.read()
            except (SpokectlError, NotChecked) as error:
                missing.append(f"{source.name}: {getattr(error, 'message', error)}")
            except Exception as error:  # noqa: BLE001 - the other parts are gathered all the same
                missing.append(f"{source.name}: {type(error).__name__}: {error}")
            else:
                add(source.name, value)
        missing[:] = [redaction.text(line)[0] for line in missing]
        add("errors.txt", "".join(f"{' '.join(line.split())}\n" for line in missing))
    return parts, missing


def _named(scene: Scene, missing: list[str]) -> Any:
    """The sources one by one; where even their list cannot be made, what there is of it."""
    try:
        yield from sources(scene)
    except (SpokectlError, NotChecked, OSError) as error:
        missing.append(f"what there is to gather: {getattr(error, 'message', error)}")


def _rendered(value: Any, redaction: Redaction) -> tuple[str, int]:
    if isinstance(value, str):
        return redaction.text(value)
    document, replaced = redaction.document(plain(value))
    return json.dumps(document, indent=1) + "\n", replaced
