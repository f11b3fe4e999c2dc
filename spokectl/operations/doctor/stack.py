"""What must hold of a stack's folder, file and settings, whether it runs or not: rules over facts. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spokectl.operations.doctor.findings import Finding, ok, problem, warning
from spokectl.operations.rollout import Connections

_FIX = "spokectl doctor --fix"


@dataclass(frozen=True)
class ModeFacts:
    """A file or folder of the stack's state. `wanted` is the loosest mode that it may have."""

    path: str
    mode: int
    wanted: int
    ours: bool = True
    holds_secrets: bool = False

    @property
    def is_loose(self) -> bool:
        return bool(self.mode & ~self.wanted & 0o777)


@dataclass(frozen=True)
class FolderFacts:
    """`fix`: the command for this stack that mends what is loose."""

    folder: str
    exists: bool
    modes: tuple[ModeFacts, ...] = ()
    fix: str = _FIX


def judge_folder(facts: FolderFacts) -> Sequence[Finding]:
    if not facts.exists:
        return [ok(f"{facts.folder} will be made by the first `up`")]
    found = [_mode(each, facts.fix) for each in facts.modes if each.is_loose or not each.ours]
    return found or [ok(f"{facts.folder} is closed to others")]


def _mode(each: ModeFacts, fix: str) -> Finding:
    if not each.ours:
        why = "spokectl cannot change what belongs to another user"
        return problem(f"{each.path} belongs to another user", why, f"sudo chown -R $(id -u) {each.path}")
    found = f"{each.path} has the mode {each.mode & 0o777:04o}, and at most {each.wanted:04o} is meant"
    if each.holds_secrets:
        return problem(found, "passwords stand in it, and others of this machine may read them", fix, fixable=True)
    return warning(found, "others of this machine may look into it", fix, fixable=True)


@dataclass(frozen=True)
class StaleFacts:
    """Paths, each with what it is."""

    files: Mapping[str, str]
    fix: str = _FIX


def judge_stale(facts: StaleFacts) -> Sequence[Finding]:
    why = "the number may be another process's one day, and the next start may wait for it"
    found = [warning(f"{path} {what}", why, facts.fix, fixable=True) for path, what in facts.files.items()]
    return found or [ok("no pid file, socket or half-written file without its process")]


@dataclass(frozen=True)
class LeftoverFacts:
    """What was broken off: faults of a drill that died, a move of a role, a deletion of volumes."""

    faults: tuple[str, ...] = ()
    drill_runs: bool = False
    moves: tuple[str, ...] = ()
    move_actions: tuple[str, ...] = ()
    doomed_volumes: str = ""
    fix: str = _FIX
    down: str = ""


def judge_leftovers(facts: LeftoverFacts) -> Sequence[Finding]:
    found = []
    if facts.drill_runs:
        found.append(ok("a drill is under way; it heals what it breaks"))
    elif facts.faults:
        why = "the stack is broken on purpose, and nobody is there to heal it"
        found += [problem(f"a drill has died and left: {fault}", why, facts.fix, fixable=True) for fault in facts.faults]
    why = "the nodes between which the role was moving may be half way in it"
    found += [problem(move, why, *facts.move_actions) for move in facts.moves]
    if facts.doomed_volumes:
        why = "its data is half deleted and can serve nobody; it takes room"
        found.append(warning(f"{facts.doomed_volumes} is left of `down --volumes`", why, facts.down))
    return found or [ok("nothing was broken off")]


@dataclass(frozen=True)
class StackFileFacts:
    files: tuple[str, ...]
    services: int
    notices: tuple[str, ...] = ()


def judge_stack_file(facts: StackFileFacts) -> Sequence[Finding]:
    read = ok(f"{' and '.join(facts.files)}: {facts.services} services")
    why = "in containers it holds, here it does not"
    return [read, *(warning(notice, why, "take it out, or: spokectl up --runtime docker") for notice in facts.notices)]


def judge_connections(facts: Connections) -> Sequence[Finding]:
    """One that does not fit has been refused by `require_enough_connections`."""
    allowed = "as many as PostgreSQL likes" if facts.allowed is None else str(facts.allowed)
    return [ok(f"the Spokes' pools take {facts.wanted}, {facts.beside} are needed beside them, and {allowed} are allowed")]
