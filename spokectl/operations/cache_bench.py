"""How much faster a version is read from a cache than from PostgreSQL, measured through the load balancer."""

import secrets
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from spokectl.errors import Failed, Incomplete, Interrupted, NotFound, OutcomeUnknown, SpokectlError, UsageError
from spokectl.model import Kind
from spokectl.operations.cache import asked, master_of
from spokectl.operations.context import Context, running_context
from spokectl.operations.modules import check_module_name
from spokectl.operations.registry import Target, address_of, connect, word
from spokectl.operations.versions import check_version_name
from spokectl.result import Report, Result
from spokectl.settings import command_line
from spokectl.wait import Deadline

if TYPE_CHECKING:
    from spokectl.clients.visitor import Visit, Visitor

MISS = "miss"
SOURCES = (MISS, "redis", "memory")
"""What X-Spoke-Cache says: PostgreSQL had to be read, or a cache had the bytes; slowest first."""
MAX_READS = 500
_PREFIX = "spokectl-cache-bench-"
# The same in every version and every run: the object store has it once.
_PROTO = "".join(
    ['syntax = "proto3";\n', *(f"message Measured{number} {{\n  string name = 1;\n}}\n" for number in range(20))]
)


@dataclass(frozen=True)
class BenchRequest:
    """`module` and `version`: one that exists, else some are made and removed."""

    reads: int
    timeout_s: float
    module: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class Timing:
    """`times_faster`: the median of the cold reads over this one's; None without cold reads."""

    source: str
    reads: int
    median_ms: float
    worst_ms: float
    times_faster: float | None


@dataclass(frozen=True)
class Bench:
    """`cold`: reads that no cache answered, `warm`: all others; None where there were none. `sources`: by who had the bytes.

    `own`: the versions were made for this, and are removed.
    """

    module: str
    version: str | None
    own: bool
    cold: Timing | None
    warm: Timing | None
    sources: list[Timing]


def bench(name: str, file: Path | None, request: BenchRequest, target: Target, report: Report) -> Result:
    """Reads `reads` times cold, and twice as often at least warm."""
    _check(request)
    context = running_context(name, file)
    deadline = Deadline(request.timeout_s)
    if request.module is not None and request.version is not None:
        return _result(context, request.module, request.version, _existing(context, request, deadline, report))
    with _own_versions(context, target, request.reads, deadline, report) as (module, versions):
        visits = _all_reads(context, [(module, each) for each in versions], deadline, report)
    return _result(context, module, None, visits)


def read_until_in_memory(visitor: "Visitor", path: str, *, at_most: int) -> "list[Visit]":
    """Reads until the Spoke that answers has it in memory; each of them has, after it has read it once."""
    reads = [visitor.get(path)]
    while reads[-1].cache != "memory" and len(reads) < at_most:
        reads.append(visitor.get(path))
    return reads


def version_path(module: str, version: str) -> str:
    return f"/modules/{quote(module, safe='')}/versions/{quote(version, safe='')}"


def timings(visits: "Iterable[Visit]") -> list[Timing]:
    """One for each source that answered, slowest kind first. Pure."""
    took: dict[str, list[float]] = {}
    for each in visits:
        took.setdefault(each.cache or "unnamed", []).append(each.took_s)
    cold_s = statistics.median(took[MISS]) if MISS in took else None
    known = [each for each in SOURCES if each in took]
    return [_timing(source, took[source], cold_s) for source in [*known, *sorted(set(took) - set(SOURCES))]]


def cold_and_warm(visits: "Sequence[Visit]") -> tuple[Timing | None, Timing | None]:
    """Pure."""
    cold = [each.took_s for each in visits if each.cache == MISS]
    warm = [each.took_s for each in visits if each.cache in SOURCES and each.cache != MISS]
    cold_s = statistics.median(cold) if cold else None
    return _timing("cold", cold, cold_s) if cold else None, _timing("warm", warm, cold_s) if warm else None


def _timing(source: str, took_s: Sequence[float], cold_s: float | None) -> Timing:
    median_s = statistics.median(took_s)
    faster = round(cold_s / median_s, 2) if cold_s is not None and median_s > 0 else None
    return Timing(source, len(took_s), round(median_s * 1000, 3), round(max(took_s) * 1000, 3), faster)


def _check(request: BenchRequest) -> None:
    if not 1 <= request.reads <= MAX_READS:
        raise UsageError("bad_value", f"--reads: from 1 to {MAX_READS}")
    if (request.module is None) != (request.version is None):
        raise UsageError("bad_value", "--module and --version go together: they name one version")
    if request.module is not None and request.version is not None:
        check_module_name(request.module)
        check_version_name(request.version)


def _existing(context: Context, request: BenchRequest, deadline: Deadline, report: Report) -> "list[Visit]":
    """Each cold read comes after the version's key was dropped; a Spoke's own memory is not emptied by that."""
    from spokectl.clients.redis_keys import unlink

    module, version = str(request.module), str(request.version)
    master = master_of(context)
    path = version_path(module, version)
    visits = []
    with _visitor(context) as visitor:
        for number in range(request.reads):
            _within(deadline, report, "cold reads", number, request.reads)
            asked(
                context, master, lambda host, port, password: unlink(host, port, password, [f"version:{module}:{version}"])
            )
            visits.append(_found(visitor.get(path), module, version, context))
        for number in range(2 * request.reads):
            _within(deadline, report, "warm reads", number, 2 * request.reads)
            visits.append(_found(visitor.get(path), module, version, context))
    return visits


def _all_reads(context: Context, versions: Sequence[tuple[str, str]], deadline: Deadline, report: Report) -> "list[Visit]":
    """Each version for the first time, again, and until a Spoke answers from its memory."""
    spokes = len(context.stack.of_kind(Kind.SPOKE))
    visits: list[Visit] = []
    with _visitor(context) as visitor:
        once: Callable[[str], list[Visit]] = lambda path: [visitor.get(path)]  # noqa: E731
        in_memory = partial(read_until_in_memory, visitor, at_most=spokes + 1)
        for what, read in (("cold reads", once), ("reads again", once), ("reads from memory", in_memory)):
            for number, (module, version) in enumerate(versions):
                _within(deadline, report, what, number, len(versions))
                visits += [_found(each, module, version, context) for each in read(version_path(module, version))]
    return visits


def _visitor(context: Context) -> "Visitor":
    from spokectl.clients.visitor import Visitor

    visitor = Visitor(address_of(context.stack))
    visitor.get("/modules?limit=1")  # who opens the connection is not measured
    return visitor


def _found(visit: "Visit", module: str, version: str, context: Context) -> "Visit":
    if visit.status == 200:
        return visit
    what = f"{word(module)} {word(version)}"
    if visit.status == 404:
        raise NotFound(
            "not_found",
            f"there is no version {what}",
            actions=[command_line(context.stack.name, f"versions list {word(module)}")],
        )
    raise Failed(
        "registry_failed",
        f"reading {what} was answered by {visit.status}",
        details={"status": visit.status},
        actions=[command_line(context.stack.name, "status")],
    )


def _within(deadline: Deadline, report: Report, what: str, done: int, of: int) -> None:
    if deadline.passed:
        raise OutcomeUnknown("timeout", f"not through after {deadline.timeout_s:g} s: {done} of {of} {what}", retryable=True)
    if done == 0:
        report(what, "running", f"{of}")


@contextmanager
def _own_versions(
    context: Context, target: Target, count: int, deadline: Deadline, report: Report
) -> Iterator[tuple[str, list[str]]]:
    """A module of a name that nobody else has, with as many versions; gone at the end, whatever ends it.

    Where it cannot be removed, Incomplete, or what has ended it, names it.
    """
    from spokectl.clients.registry import encoded

    module = _PREFIX + secrets.token_hex(4)
    versions = [f"v0.0.{number + 1}" for number in range(count)]
    files = [{"path": "measured.proto", "content": _PROTO}]
    try:
        with connect(target) as registry:
            registry.create_module(module, "made by `spokectl cache bench`, which removes it")
            for number, version in enumerate(versions):
                _within(deadline, report, "versions made", number, count)
                registry.push_version(module, encoded({"version": version, "files": files}))
        yield module, versions
    except (SpokectlError, KeyboardInterrupt) as error:
        left = _removed(context, target, module, versions)
        if isinstance(error, SpokectlError):
            error.actions = (*(left.actions if left else ()), *error.actions)
            raise
        state = left.message if left else "what was made for it is removed"
        raise Interrupted(f"interrupted; {state}", left.actions if left else ()) from None
    if left := _removed(context, target, module, versions):
        raise left


def _removed(context: Context, target: Target, module: str, versions: Sequence[str]) -> Incomplete | None:
    """Removes all that was made; an error that names it where that cannot be. What Redis keeps goes by itself in an hour."""
    from spokectl.clients.redis_keys import unlink

    try:
        with connect(target) as registry, suppress(NotFound):
            registry.delete_module(module, permanent=True)
    except SpokectlError as error:
        return Incomplete(
            "left_behind",
            f"the module {module}, made for this, is left: {error.message}",
            actions=[target.command(f"modules delete {module} --permanent --yes")],
        )
    with suppress(Failed):
        keys = [f"version:{module}:{each}" for each in versions]
        asked(context, master_of(context), lambda host, port, password: unlink(host, port, password, keys))
    return None


def _result(context: Context, module: str, version: str | None, visits: "list[Visit]") -> Result:
    cold, warm = cold_and_warm(visits)
    warnings = []
    if cold is None:
        [*_, spoke] = context.stack.of_kind(Kind.SPOKE)
        warnings.append(
            "no read was cold: the Spokes that answered have this version in their own memory, which a dropped key does not "
            f"empty; leave out --module, or empty one first: {command_line(context.stack.name, f'restart {spoke.name}')}"
        )
    if version is None and not any(each.cache == "redis" for each in visits):
        warnings.append("no read was answered by Redis: see " + command_line(context.stack.name, "cache stats"))
    return Result(Bench(module, version, version is None, cold, warm, timings(visits)), tuple(warnings))
