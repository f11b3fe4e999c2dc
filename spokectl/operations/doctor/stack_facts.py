"""Looks at a stack's folder, file and settings. It changes nothing."""

import os
import stat
from collections.abc import Iterator

from spokectl.errors import Refused, SpokectlError
from spokectl.journal import Underway, read_lines
from spokectl.model import RunState
from spokectl.operations import rollout
from spokectl.operations.context import is_drilled, is_locked, open_stack, what_ends
from spokectl.operations.doctor.findings import NotChecked
from spokectl.operations.doctor.scene import Scene
from spokectl.operations.doctor.stack import (
    FolderFacts,
    LeftoverFacts,
    ModeFacts,
    StackFileFacts,
    StaleFacts,
)
from spokectl.operations.rollout import Connections, require_enough_connections
from spokectl.operations.secret_settings import require_own_secrets
from spokectl.operations.settings import require_shapes
from spokectl.runtime.local.leftovers import Stale, stale_files
from spokectl.runtime.select import DOCKER
from spokectl.settings import StackState, read_env_file

# Their pid files are in use, or will be again without anybody's help.
_LOOKED_AFTER = frozenset({RunState.RUNNING, RunState.RESTARTING, RunState.PAUSED, RunState.DONE})


def folder(scene: Scene) -> FolderFacts:
    """Refused or a usage error where the folder cannot be used at all."""
    state = StackState(scene.name)
    state.read_record()
    read_env_file(state.env_file)
    modes = tuple(loose_or_foreign(state))
    return FolderFacts(str(state.folder), state.folder.is_dir(), modes, scene.command("doctor --fix"))


def loose_or_foreign(state: StackState) -> Iterator[ModeFacts]:
    """The folder and what lies in it, with what each may be at most. Data directories are the servers' own affair."""
    folder, as_root = state.folder, os.geteuid() == 0
    passable = 0o711 if as_root else 0o700
    secrets = {state.env_file, state.last_known_file, state.applied_file}
    paths = [folder, *sorted(folder.iterdir()), *sorted((folder / "launchers").glob("*"))] if folder.is_dir() else []
    for path in paths:
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(found.st_mode) or path.suffix == ".holder":
            continue  # who holds a lock is for everybody to read, and soon gone
        is_launcher = path.parent.name == "launchers"
        if stat.S_ISDIR(found.st_mode):
            wanted = passable if path == folder or path.name in {"logs", "run", "volumes", "volumes.deleted"} else 0o700
        else:
            wanted = 0o700 if is_launcher or path.suffix == ".conf" else 0o600
        ours = as_root or found.st_uid == os.getuid()
        yield ModeFacts(str(path), found.st_mode, wanted, ours, is_launcher or path in secrets)


def stale(scene: Scene) -> StaleFacts:
    if is_busy(scene.state):
        raise NotChecked("another operation is under way, and its files come and go")
    return StaleFacts({str(each.path): each.what for each in stale_now(scene)}, scene.command("doctor --fix"))


def stale_now(scene: Scene) -> list[Stale]:
    running = [each.service for each in scene.statuses if each.state in _LOOKED_AFTER] if scene.runs else []
    return stale_files(scene.state, running)


def is_busy(state: StackState) -> bool:
    return state.lock_file.exists() and is_locked(state)


def leftovers(scene: Scene) -> LeftoverFacts:
    state = scene.state
    moves, actions = _broken_off(scene)
    lines = read_lines(state.faults_file)
    healed = {line.get("number") for line in lines if line.get("healed")}
    return LeftoverFacts(
        faults=tuple(str(line["sentence"]) for line in lines if "sentence" in line and line.get("number") not in healed),
        drill_runs=is_drilled(state),
        moves=moves,
        move_actions=actions,
        doomed_volumes=str(state.doomed_volumes) if state.doomed_volumes.exists() else "",
        fix=scene.command("doctor --fix"),
        down=scene.command("down --volumes"),
    )


def _broken_off(scene: Scene) -> tuple[tuple[str, ...], tuple[str, ...]]:
    state = scene.state
    if not state.underway_file.exists() or is_busy(state):
        return (), ()
    try:
        found = Underway(state.underway_file).unfinished()
    except Refused as damaged:
        return (damaged.message,), damaged.actions
    if found is None:
        return (), ()
    return (f"{found.operation} was broken off",), what_ends(scene.name, found.operation)


def stack_file(scene: Scene) -> StackFileFacts:
    stack = open_stack(scene.name, scene.file)
    notices = () if scene.runtime_name == DOCKER else tuple(scene.context_for_up.runtime.without_effect())
    return StackFileFacts(tuple(map(str, stack.files)), len(stack.services), notices)


def settings(scene: Scene) -> int:
    """How many there are; a usage error for the first one that has a value which it cannot take."""
    require_shapes(scene.stack)
    return len(scene.stack.settings)


def connections(scene: Scene) -> Connections:
    """Refused (`too_many_connections`) where they do not fit."""
    require_enough_connections(scene.stack)
    return rollout.connections(scene.stack)


def passwords(scene: Scene) -> str:
    """Refused (`well_known_passwords`) where `up` would be, with the same ways out of it."""
    stack = scene.stack
    require_own_secrets(stack, stack.services, lambda: _has_data(scene))
    return "no server that others reach has a password that everybody knows"


def _has_data(scene: Scene) -> bool:
    """False where nobody can tell: then no deletion is advised, and `up` refuses what data forbids."""
    try:
        return scene.context_for_up.runtime.has_data()
    except (SpokectlError, NotChecked):
        return False
