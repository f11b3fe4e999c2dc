"""Healing what a drill has left broken: whoever comes next does it, unless the drill is still under way."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

# Registers the ways to undo.
from spokectl.drills import breaks, postgres_breaks, ways  # noqa: F401
from spokectl.drills.faults import FaultJournal, Left, heal_one
from spokectl.errors import Incomplete, NotFound, Refused, SpokectlError
from spokectl.operations.context import Context, is_drilled, running_context
from spokectl.result import Result
from spokectl.settings import StackState, command_line


@contextmanager
def drill_lock(state: StackState) -> Iterator[None]:
    """One drill at a time on a stack; what it runs takes the stack's own lock. Refused (`locked`) says by whom."""
    from filelock import FileLock, Timeout

    state.ensure()
    lock = FileLock(state.drill_lock_file, timeout=0, mode=0o600)
    holder = state.drill_lock_file.with_suffix(".holder")
    try:
        lock.acquire()
    except Timeout:
        said = holder.read_text() if holder.exists() else "somebody who has just begun"
        raise Refused(
            "locked",
            f"a drill is under way on the stack {state.name}: {said}",
            retryable=True,
            actions=["wait for it to end, then repeat the command"],
        ) from None
    try:
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        with suppress(OSError):  # on a full disk too, what is broken must be healed
            holder.write_text(f"process {os.getpid()}, since {since}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def heal_all(context: Context, told: Callable[[str], None], *, beyond: int = 0) -> list[Left]:
    """Undoes everything that a drill has left broken, the last fault first, and names it. `beyond`: only later faults.

    One that cannot be healed keeps none of the others from it. Incomplete (`not_healed`) names those that stay; they are
    still in the journal.
    """
    journal = FaultJournal(context.state.faults_file)
    healed, failed = [], []
    for left in journal.left():
        if left.number <= beyond:
            continue
        try:
            told(f"healing: {left.sentence}")
            heal_one(context, journal, left)
            healed.append(left)
        except SpokectlError as error:
            failed.append(f"{left.sentence}: {error.message}")
        except Exception as error:  # noqa: BLE001 - an undo of its own, or of another version, keeps no other from it
            failed.append(f"{left.sentence}: {type(error).__name__}: {error}")
    if failed:
        forget = f"where it has been mended by hand: rm {context.state.faults_file}"
        raise Incomplete(
            "not_healed",
            f"not everything that a drill has broken could be healed: {'; '.join(failed)}",
            actions=[*(command_line(context.stack.name, words) for words in ("drill heal", "status")), forget],
        )
    return healed


def heal_first(name: str, file: Path | None, told: Callable[[str], None]) -> None:
    """Heals before another command begins, where a drill has died. What cannot be healed is told, and stops nobody.

    Where nothing runs there is nothing to heal yet: `up` comes first.
    """
    if is_drilled(StackState(name)):
        return
    try:
        heal_left_behind(name, file, told)
    except NotFound:
        return
    except SpokectlError as error:
        told(error.message)


def heal_left_behind(name: str, file: Path | None, told: Callable[[str], None]) -> Result:
    """Heals what a drill that has died left broken on the stack, and names it; nothing where none has.

    Refused (`locked`) while the drill is alive: it heals itself. Incomplete (`not_healed`) as `heal_all`.
    """
    context = running_context(name, file)
    with drill_lock(context.state):
        healed = heal_all(context, told)
        if healed:
            with context.journal.operation("drill heal") as ending:
                ending["message"] = "; ".join(left.sentence for left in healed)
    return Result([{"fault": left.sentence, "services": list(left.undo.services)} for left in healed])
