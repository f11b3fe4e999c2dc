"""A stack opened for work: its description, its state folder and its runtime."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from spokectl.compose import raw_services
from spokectl.errors import NotFound, OutcomeUnknown, Refused, UsageError
from spokectl.journal import Journal, Underway
from spokectl.model import Kind, Service, Stack
from spokectl.operations.scale import Scaled, spokes_of
from spokectl.runtime.base import Runtime
from spokectl.settings import DEFAULT_STACK, StackRecord, StackState, command_line, read_env_file
from spokectl.stackfile import default_stack_file, load_stack
from spokectl.wait import Deadline, wait_until

_BOOT_TIME_TOLERANCE_S = 5.0  # the kernel says in whole seconds when it was booted, and counts from there
_HOLDER_SAYS_WITHIN_S = 1.0


@dataclass(frozen=True)
class Context:
    """What an operation on a whole stack needs."""

    stack: Stack
    state: StackState
    runtime: Runtime

    @property
    def journal(self) -> Journal:
        return Journal(self.state.events_file)


def stack_file(chosen: Path | None, record: StackRecord | None) -> Path:
    """The file to read: the one asked for, else the one the stack was last brought up with, else the default.

    UsageError (`stack_file_gone`) when that was a file of the user's own and is not there any more: another one would
    silently undo what it said. The project's own file may have moved with its checkout.
    """
    if chosen is not None:
        return chosen
    if record is None:
        return default_stack_file()
    last = Path(record.file)
    if last.is_file():
        return last
    if last.parts[-2:] not in {("stack", "ha-stack.yml"), ("_stack", "ha-stack.yml")}:
        raise UsageError(
            "stack_file_gone",
            f"the stack file {last}, which this stack was brought up with, is not there any more",
            actions=["put it back, or name another one: --file PATH"],
        )
    return default_stack_file()


def open_stack(name: str, file: Path | None, *, shell: Mapping[str, str] = os.environ) -> Stack:
    """The stack as its file, its override and its settings describe it."""
    state = StackState(name)
    files = stack_files(state, stack_file(file, state.read_record()))
    return load_stack(name, files, shell=shell, env_file=read_env_file(state.env_file))


def stack_files(state: StackState, file: Path) -> list[Path]:
    """The stack file, and the stack's own override of it when there is one."""
    return [file, state.override_file] if state.override_file.exists() else [file]


def scaled(stack: Stack) -> Scaled | None:
    """How many Spokes are kept in place of what the stack file says; None where its own number holds."""
    if len(stack.files) == 1:
        return None
    in_file = len(spokes_of(raw_services(stack.files[0])))
    spokes = len(stack.of_kind(Kind.SPOKE))
    return Scaled(spokes, in_file) if spokes != in_file else None


def require_known(name: str) -> None:
    """NotFound (`no_stack`) for a name that was never brought up: its ports would be those of another stack.

    The default stack passes: plain Compose may have brought it up.
    """
    if name != DEFAULT_STACK and StackState(name).read_record() is None:
        raise _no_stack(name)


def _no_stack(name: str) -> NotFound:
    """Says of one that is no more that it was: the ledger of what was done to it stays."""
    said = Journal(StackState(name).events_file).read()
    deleted = any(each.get("operation") == "down" and each.get("volumes") for each in said)
    why = "is no more: `down --volumes` has deleted it" if deleted else "was never brought up"
    return NotFound("no_stack", f"the stack {name} {why}", actions=[command_line(name, "up")])


def open_context(name: str, file: Path | None) -> Context:
    """A stack that was brought up before, by this tool or by plain Compose. NotFound (`no_stack`) when it never was."""
    from spokectl.runtime.select import DOCKER, brought_up_by_compose, runtime_for

    state = StackState(name)
    record = state.read_record()
    runtime = record.runtime if record else DOCKER
    if record is None:
        composed = brought_up_by_compose(name)
        if composed is None:
            raise _no_stack(name)
        file = file or composed
    stack = open_stack(name, file)
    return Context(stack, state, runtime_for(runtime, stack, state))


def running_context(name: str, file: Path | None) -> Context:
    """A stack of which something runs. NotFound (`not_running`) when nothing does, `no_stack` when it never was."""
    context = open_context(name, file)
    if not any(seen.pid for seen in context.runtime.inspect().values()):
        raise NotFound("not_running", f"the stack {name} is not running", actions=[command_line(name, "up")])
    return context


def services_of(stack: Stack, names: list[str]) -> list[str]:
    """The named services, or all when none is named; NotFound (`unknown_service`) with the nearest name."""
    for name in names:
        if name not in stack.services:
            raise NotFound(
                "unknown_service",
                f"there is no service {name!r} in the stack{_nearest(name, stack.services)}",
                details={"services": list(stack.services)},
                actions=[command_line(stack.name, "ps")],
            )
    return list(dict.fromkeys(names)) or list(stack.services)


def require_node(stack: Stack, kind: Kind, name: str) -> None:
    """NotFound (`unknown_node`) with the nearest name, when the stack has no node of the kind with this name."""
    nodes = [service.name for service in stack.of_kind(kind)]
    if name not in nodes:
        raise NotFound(
            "unknown_node",
            f"there is no {kind} node {name!r} in the stack{_nearest(name, nodes)}",
            details={"nodes": nodes},
            actions=[command_line(stack.name, f"{kind} status")],
        )


def _nearest(name: str, names: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(names), n=1)
    return f": did you mean {near[0]}?" if near else ""


def load_balancer(stack: Stack) -> Service:
    """The service every client goes through. Refused (`no_load_balancer`) when the stack file has none."""
    found = stack.of_kind(Kind.LOAD_BALANCER)
    if not found:
        raise Refused("no_load_balancer", "the stack file has no service of the kind load-balancer")
    return found[0]


def _named_by(holder: Path) -> str:
    """Who says in the file that the lock is theirs; who has just taken it has not written it yet."""
    said = ""

    def blocker() -> str | None:
        nonlocal said
        with suppress(OSError):
            said = holder.read_text().strip()
        return None if said else "nobody says so yet"

    with suppress(OutcomeUnknown):
        wait_until(blocker, Deadline(_HOLDER_SAYS_WITHIN_S), what="the holder of the lock")
    return said or "a spokectl process that has just begun, or just ended"


def is_locked(state: StackState) -> bool:
    """Whether an operation is under way on the stack at this moment."""
    from filelock import FileLock, Timeout

    lock = FileLock(state.lock_file, timeout=0, mode=0o600)
    try:
        with lock:
            return False
    except Timeout:
        return True


def is_drilled(state: StackState) -> bool:
    """Whether a drill runs on the stack. It reads who holds the lock, and takes none: no look refuses a drill."""
    return driller(state) is not None


def driller(state: StackState) -> int | None:
    """The process of the drill that runs on the stack; see `is_drilled`."""
    import psutil

    holder = state.drill_lock_file.with_suffix(".holder")
    try:
        said, since_s = re.match(r"process (\d{1,9}),", holder.read_text(errors="replace")), holder.stat().st_mtime
        if said is None:
            return None
        process = psutil.Process(int(said[1]))
        # Of a drill that was killed the file stays, and its number may be another process's by now.
        lives = process.status() != psutil.STATUS_ZOMBIE and process.create_time() < since_s + _BOOT_TIME_TOLERANCE_S
        return process.pid if lives else None
    except (OSError, psutil.Error):
        return None


@contextmanager
def exclusive(state: StackState, operation: str) -> Iterator[None]:
    """One operation at a time on a stack. Refused (`locked`) names who holds the lock and since when."""
    from filelock import FileLock, Timeout

    state.ensure()
    lock = FileLock(state.lock_file, timeout=0, mode=0o600)
    holder = state.folder / "lock.holder"
    try:
        lock.acquire()
    except Timeout:
        raise Refused(
            "locked",
            f"another operation is under way on the stack {state.name}: {_named_by(holder)}",
            retryable=True,
            actions=["wait for it to end, then repeat the command"],
        ) from None
    try:
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        with suppress(OSError):  # on a full disk too, `down` must go on
            holder.write_text(f"{operation}, process {os.getpid()}, since {since}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


class BrokenOff(NamedTuple):
    """A move of a role that was broken off and that nobody ends: what to warn of, and the commands that end it."""

    warnings: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()


def broken_off(context: Context) -> BrokenOff:
    """Empty where nothing was broken off; without `ends` where it cannot be read what was."""
    if not context.state.underway_file.exists() or is_locked(context.state):
        return BrokenOff()
    try:
        found = Underway(context.state.underway_file).unfinished()
    except Refused as damaged:
        return BrokenOff((damaged.message,))
    if found is None:
        return BrokenOff()
    ends = what_ends(context.stack.name, found.operation)
    return BrokenOff((f"{found.operation} was broken off: {' or '.join(f'`{each}`' for each in ends)} ends it",), ends)


def what_ends(stack: str, operation: str) -> tuple[str, ...]:
    """The commands that end an operation which was broken off: the same once more, but for an adoption, and `up`."""
    again = [operation] if operation.startswith(("switchover ", "failover ")) else []
    return tuple(command_line(stack, words) for words in (*again, "up"))
