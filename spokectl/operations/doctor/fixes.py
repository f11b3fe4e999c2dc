"""What `doctor --fix` does: only what loses no data and stops nothing. Each sentence says what was done."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from spokectl.errors import Refused, SpokectlError
from spokectl.journal import Journal
from spokectl.operations.context import exclusive
from spokectl.operations.doctor.findings import Checked
from spokectl.operations.doctor.scene import Scene
from spokectl.operations.doctor.stack_facts import loose_or_foreign, stale_now

Heal = Callable[[Callable[[str], None]], object]
"""Heals what a drill has left broken, and tells what it does."""


@dataclass
class Mended:
    """`done` and `failed` are sentences; `refused`: another command works on the stack."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    refused: Refused | None = None


def mend(scene: Scene, checked: Sequence[Checked], heal: Heal) -> Mended:
    """Mends what the checks say can be mended. It never raises: what does not succeed is said."""
    mended = Mended()
    fixable = {each.check for each in checked if any(finding.fixable for finding in each.findings)}
    try:
        if fixable & _LOCKED_FIXES.keys():
            with exclusive(scene.state, "doctor"), Journal(scene.state.events_file).operation("doctor") as ending:
                for name in sorted(fixable & _LOCKED_FIXES.keys()):
                    _try(_LOCKED_FIXES[name], scene, mended)
                ending["mended"] = mended.done
        if "leftovers" in fixable:
            # The healing takes locks of its own.
            heal(mended.done.append)
    except Refused as error:
        if error.code == "locked":
            mended.refused = error
        else:
            mended.failed.append(error.message)
    except Exception as error:  # noqa: BLE001 - whatever it is, what was found is said
        mended.failed.append(_said(error))
    return mended


def _try(fix: Callable[[Scene], Iterator[str]], scene: Scene, mended: Mended) -> None:
    try:
        for done in fix(scene):
            mended.done.append(done)
    except Exception as error:  # noqa: BLE001 - the other fixes go on
        mended.failed.append(_said(error))


def _said(error: Exception) -> str:
    if isinstance(error, SpokectlError):
        return error.message
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return f"{type(error).__name__}: {error}"


def _remove_stale(scene: Scene) -> Iterator[str]:
    """Looked for anew: whoever held the lock until now may have made use of one."""
    for each in stale_now(scene):
        each.path.unlink(missing_ok=True)
        yield f"removed {each.path}: it {each.what}"


def _tighten(scene: Scene) -> Iterator[str]:
    """Takes rights away, and gives none."""
    for each in loose_or_foreign(scene.state):
        if each.is_loose and each.ours:
            mode = each.mode & each.wanted & 0o777
            os.chmod(each.path, mode)  # noqa: PTH101 - a path as it was said
            yield f"{each.path} has the mode {mode:04o} now"


_LOCKED_FIXES: dict[str, Callable[[Scene], Iterator[str]]] = {"state-folder": _tighten, "stale-files": _remove_stale}
