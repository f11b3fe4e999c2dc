"""Runs as scripts and CI take them: as JSON, and as files that were asked for by name."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spokectl.drills.evidence import Run
from spokectl.drills.junit import junit as junit_of
from spokectl.drills.page import page
from spokectl.drills.store import JUNIT_FILE, PAGE_FILE, RUN_FILE, Store
from spokectl.drills.summary import headline, verdict_counts
from spokectl.errors import Refused, UsageError
from spokectl.result import plain


def shown(run: Run, store: Store) -> dict[str, Any]:
    """The run as JSON values, with its verdict, what each trial missed, and where its files are (None: it has none)."""
    folder = store.folder_of(run.id)
    paths = {name: folder / file for name, file in (("run", RUN_FILE), ("junit", JUNIT_FILE), ("html", PAGE_FILE))}
    trials = [{**plain(each), "missed": each.missed} for each in run.trials]
    return {
        **plain(run),
        "verdict": run.verdict,
        "said": headline(run),
        "trials": trials,
        "files": {name: str(path) if path.is_file() else None for name, path in paths.items()},
    }


def runs_listed(runs: Sequence[Run], unreadable: Mapping[str, str]) -> dict[str, Any]:
    """All runs in short; `unreadable`: those that cannot be shown, with the reason."""
    short = [
        {
            "id": each.id,
            "runtime": each.runtime,
            "version": each.version,
            "words": each.words,
            "began_s": each.began_s,
            "ended_s": each.ended_s,
            "verdict": each.verdict,
            "counts": verdict_counts(each.trials),
        }
        for each in runs
    ]
    return {"runs": short, "unreadable": dict(unreadable)}


def require_writable(*paths: Path | None) -> None:
    """UsageError (`cannot_write`) for a file that could not be written in the end: before anything is broken."""
    for path in paths:
        if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
            why = "it is a folder" if path.is_dir() else "its folder is not there, or may not be written to"
            raise UsageError("cannot_write", f"{path} cannot be written: {why}")


def write_files(run: Run, *, junit: Path | None, html: Path | None) -> list[Path]:
    """Writes what was asked for, and names it. Each file is there whole or not at all. Refused (`cannot_write`)."""
    written = []
    for path, draw in ((junit, junit_of), (html, page)):
        if path is not None:
            _replace(path, draw(run))
            written.append(path)
    return written


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise Refused("cannot_write", f"{path} cannot be written: {error.strerror}") from error
