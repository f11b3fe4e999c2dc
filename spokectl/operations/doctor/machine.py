"""What must hold of the machine, whatever runs on it: rules over facts. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from spokectl.operations.doctor.findings import Finding, NotChecked, ok, problem, warning
from spokectl.runtime.select import DOCKER, LOCAL
from spokectl.units import human_bytes

# Two fresh data directories and their WAL.
NEEDED_DISK_BYTES = 256 << 20
# PostgreSQL's default limit for what it keeps for a standby that is away.
COMFORTABLE_DISK_BYTES = 2 << 30
_FEW_INODES = 10_000
NEEDED_MEMORY_BYTES = 512 << 20
_LITTLE_MEMORY_BYTES = 128 << 20
# supervisord asks for as many and ends without them; NGINX wants two for each of its 1024 connections.
_NEEDED_FILES, _COMFORTABLE_FILES = 1024, 2048
_CLOCK_TOLERANCE_S = 5.0
_LAST_YEAR = 2100


@dataclass(frozen=True)
class EngineFacts:
    """`refused`: why no engine can be used, and what mends that. `runtime` is empty where none has been chosen yet."""

    runtime: str
    version: str = ""
    refused: str = ""
    actions: tuple[str, ...] = ()
    missing_images: tuple[str, ...] = ()


def judge_engine(facts: EngineFacts) -> Sequence[Finding]:
    if facts.refused and facts.runtime == DOCKER:
        return [
            problem(
                facts.refused, "the stack lives in containers, and without an engine nobody can reach them", *facts.actions
            )
        ]
    if facts.refused:
        return [ok(f"not needed by native processes: {facts.refused}")]
    if facts.runtime == DOCKER and facts.missing_images:
        missing = ", ".join(facts.missing_images)
        why = "`up` builds them first, which takes minutes and needs the images that they are made from"
        return [warning(f"Docker {facts.version}; it has no image {missing}", why, "spokectl up --build")]
    return [ok(f"Docker {facts.version} answers")]


@dataclass(frozen=True)
class ProgramFacts:
    """`found`: what there is, with versions; `missing`: what is not, in words."""

    runtime: str
    found: tuple[str, ...] = ()
    missing: str = ""
    actions: tuple[str, ...] = ()


def judge_compose(facts: ProgramFacts) -> Sequence[Finding]:
    return _judge_programs(facts, needed_by=DOCKER, without="containers are started by it")


def judge_binaries(facts: ProgramFacts) -> Sequence[Finding]:
    return _judge_programs(facts, needed_by=LOCAL, without="native processes cannot be started without them")


def _judge_programs(facts: ProgramFacts, *, needed_by: str, without: str) -> Sequence[Finding]:
    if facts.missing and facts.runtime == needed_by:
        return [problem(facts.missing, without, *facts.actions)]
    if facts.missing and facts.runtime:
        return [ok(f"not needed by the {facts.runtime} runtime: {facts.missing}")]
    if facts.missing:
        why = f"the {needed_by} runtime needs it; no runtime has been chosen yet"
        return [warning(facts.missing, why, *facts.actions)] if needed_by == LOCAL else [ok(f"not there: {facts.missing}")]
    used = facts.runtime in {"", needed_by}
    return [ok(("" if used else f"not used by the {facts.runtime} runtime: ") + ", ".join(facts.found))]


@dataclass(frozen=True)
class HeldPort:
    port: int
    service: str
    holder: str


@dataclass(frozen=True)
class PortFacts:
    """`held`: those that somebody else has. `refused`: why they cannot be opened at all."""

    count: int
    held: tuple[HeldPort, ...] = ()
    refused: str = ""
    actions: tuple[str, ...] = ()


def judge_ports(facts: PortFacts) -> Sequence[Finding]:
    why = "the service cannot listen there, and `up` is refused before it changes anything"
    if facts.refused:
        return [problem(facts.refused, why, *facts.actions)]
    if not facts.held:
        return [ok(f"{facts.count} ports are free or the stack's own")]
    return [
        problem(f"{each.port} ({each.service}) is held by {each.holder}", why, "end that, if it is yours", *facts.actions)
        for each in facts.held
    ]


@dataclass(frozen=True)
class DiskFacts:
    """The file system that `path` lies on; a None is not known."""

    path: str
    free_bytes: int
    total_bytes: int
    free_inodes: int | None = None
    read_only: bool = False


def judge_disk(disks: Sequence[DiskFacts]) -> Sequence[Finding]:
    return [_disk(each) for each in disks]


def _disk(disk: DiskFacts) -> Finding:
    found = f"{disk.path}: {human_bytes(disk.free_bytes)} of {human_bytes(disk.total_bytes)} free"
    look = f"find what fills it: du -xh {disk.path} | sort -h | tail"
    if disk.read_only:
        return problem(f"{disk.path} lies on a file system that is mounted read-only", "nothing can be written", look)
    if disk.free_bytes < NEEDED_DISK_BYTES:
        return problem(
            found, f"servers need {human_bytes(NEEDED_DISK_BYTES)} to start with; a full disk ends PostgreSQL", look
        )
    if disk.free_inodes is not None and disk.free_inodes < _FEW_INODES:
        return problem(
            f"{disk.path}: {disk.free_inodes} more files fit", "a disk without inodes is full whatever is free", look
        )
    if disk.free_bytes < COMFORTABLE_DISK_BYTES:
        kept = human_bytes(COMFORTABLE_DISK_BYTES)
        return warning(found, f"PostgreSQL may keep {kept} of WAL for a standby that is away", look)
    return ok(found)


@dataclass(frozen=True)
class MemoryFacts:
    """`available_bytes`: within the machine's memory and this process's control group, whichever is less."""

    available_bytes: int
    total_bytes: int
    stack_runs: bool


def judge_memory(facts: MemoryFacts) -> Sequence[Finding]:
    found = f"{human_bytes(facts.available_bytes)} of {human_bytes(facts.total_bytes)} available"
    look = "see what takes it: ps -eo rss,args --sort -rss | head"
    if facts.available_bytes < _LITTLE_MEMORY_BYTES:
        return [problem(found, "the kernel is about to end processes, and a server may be the largest", look)]
    if not facts.stack_runs and facts.available_bytes < NEEDED_MEMORY_BYTES:
        return [warning(found, f"the whole stack takes about {human_bytes(NEEDED_MEMORY_BYTES)}", look)]
    return [ok(found)]


@dataclass(frozen=True)
class FileLimitFacts:
    """RLIMIT_NOFILE of this process; None is no limit."""

    soft: int | None
    hard: int | None


def judge_file_limits(facts: FileLimitFacts) -> Sequence[Finding]:
    soft, hard = ("unlimited" if each is None else str(each) for each in (facts.soft, facts.hard))
    found = f"open files: {soft}, at most {hard}"
    raise_it = f"ulimit -n {_COMFORTABLE_FILES}"
    if facts.hard is not None and facts.hard < _NEEDED_FILES:
        why = f"the local runtime's supervisor needs {_NEEDED_FILES} and does not start with less"
        return [problem(found, why, f"raise the limit as root (/etc/security/limits.conf: nofile {_COMFORTABLE_FILES})")]
    if facts.hard is not None and facts.hard < _COMFORTABLE_FILES:
        return [warning(found, "NGINX holds two for each of its 1024 connections", f"as root: {raise_it}")]
    return [ok(found)]


@dataclass(frozen=True)
class ClockFacts:
    """`newest`: the latest moment that something on this machine is known to have happened, and what that was."""

    now: datetime
    newest: datetime
    what: str


def judge_clock(facts: ClockFacts) -> Sequence[Finding]:
    set_it = "set it: sudo timedatectl set-ntp true"
    found = f"it is {facts.now:%Y-%m-%d %H:%M:%S} UTC"
    if (facts.newest - facts.now).total_seconds() > _CLOCK_TOLERANCE_S:
        why = f"{facts.what} is of {facts.newest:%Y-%m-%d %H:%M:%S}: leases, logs and events come out of order"
        return [problem(f"{found}, which is past already", why, set_it)]
    if facts.now.year >= _LAST_YEAR:
        return [problem(found, "that is not likely; certificates and cached entries have expired by it", set_it)]
    return [ok(found)]


def judge_clock_difference(seconds: Sequence[tuple[str, float]]) -> Sequence[Finding]:
    """`seconds` by which each database's clock is ahead of ours, at least."""
    if not seconds:
        raise NotChecked("no database says what time it is")
    return [
        warning(
            f"the clock of {node} is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine's",
            "lag in seconds, `events` and `logs --since` mean different times on either side",
            "restart the engine's virtual machine, or set the clock: sudo timedatectl set-ntp true",
        )
        if abs(ahead) > _CLOCK_TOLERANCE_S
        else ok(f"{node} agrees with this machine to {abs(ahead):.1f} s")
        for node, ahead in seconds
    ]
