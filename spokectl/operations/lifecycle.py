"""Bringing a stack up and taking it down."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

from spokectl.errors import NotFound, Refused, UsageError
from spokectl.journal import Journal
from spokectl.model import Stack
from spokectl.operations import last_known, rollout
from spokectl.operations.balancer import take_over_changes
from spokectl.operations.context import Context, driller, exclusive, open_context, open_stack, scaled, stack_file
from spokectl.operations.endpoints import Endpoint, endpoints
from spokectl.operations.health import ServiceStatus, judged, load_probes, probe
from spokectl.operations.readiness import last_look, wait_until_ready
from spokectl.operations.scale import Scaled
from spokectl.operations.scaling import keep, leaving, settle, undone_if_refused, without_ending
from spokectl.operations.secret_settings import chosen, require_no_database, require_own_secrets
from spokectl.operations.settings import require_shapes
from spokectl.result import Report, Result
from spokectl.runtime.base import BuildsImages, Notice, Runtime
from spokectl.runtime.select import runtime_for, select_runtime, what_docker_lacks
from spokectl.settings import StackRecord, StackState, read_env_file, write_env_file
from spokectl.wait import Deadline

_BUILD_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class UpRequest:
    name: str
    file: Path | None
    runtime: str | None = None
    port_offset: int | None = None
    spokes: int | None = None
    timeout_s: float = 120.0
    build: bool = False
    generate_secrets: bool = False


@dataclass(frozen=True)
class UpData:
    stack: str
    runtime: str
    services: list[ServiceStatus]
    endpoints: list[Endpoint]
    elapsed_s: float
    scaled: Scaled | None


@dataclass(frozen=True)
class DownData:
    """`exists`: the stack was brought up at some time. `was_running`: at least one service of it ran until now."""

    stack: str
    exists: bool
    was_running: bool
    volumes_deleted: bool
    images_deleted: list[str]


def up(request: UpRequest, report: Report) -> Result:
    """Brings the stack up, or repairs it, and returns when every server has answered by its own protocol.

    Healthy services are not touched. The result is degraded (10) when some service answers but is not well at the deadline.
    Refused before anything is changed when a port, a server, the disk or a setting is not right.
    """
    started = time.monotonic()
    deadline = Deadline(request.timeout_s)
    state = StackState(request.name)
    with exclusive(state, "up"), Journal(state.events_file).operation("up") as ending:
        with undone_if_refused(state):
            stack, runtime = _prepare(request, state, report)
            left_out = runtime.left_out()
            wanted = [name for name in stack.services if name not in left_out]
            for name in stack.services:
                report(name, "left-out" if name in left_out else "waiting")
            notices = [*runtime.without_effect(), *(f"{name} is left out: {reason}" for name, reason in left_out.items())]
            # While the runtime waits for its supervisor a core is idle: later none is.
            Thread(target=load_probes, daemon=True).start()
            _build(runtime, wanted, report, anew=request.build)
            changed = _one_by_one(runtime.changed(wanted, deadline), last_known.applied(state), stack, notices.append)
            unchanged = [name for name in wanted if name not in changed]
            gone = leaving(last_known.applied(state), stack)
            last_known.keep(state, replace(stack, services=stack.services | gone))
            context = Context(stack, state, without_ending(runtime, stack, state, gone))
            context.runtime.bring_up(unchanged, deadline, notices.append)
        ending.changes_begun()
        _end_broken_off_move(context, report)
        # What is not well yet may wait for a change, so all is waited for only after the changes.
        rollout.apply(context, changed, deadline, notices.append, report)
        wait_until_ready(context, wanted, deadline, report)
        take_over_changes(context, deadline, certain=bool(gone))
        if gone:
            context = Context(stack, state, runtime)
            runtime.bring_up([], deadline, notices.append)
            last_known.keep(state, stack)
        last_known.keep_applied(state, stack)
        statuses = last_look(context, wanted, deadline, report)
        unwell = [f"{each.service}: {each.reason or each.health}" for each in statuses if not each.ok]
        ending["message"] = f"not everything is well: {'; '.join(unwell)}" if unwell else ""
    roles = {status.service: status.role for status in statuses}
    data = UpData(
        stack.name,
        runtime.name,
        statuses,
        endpoints(stack, roles, left_out),
        elapsed_s=round(time.monotonic() - started, 2),
        scaled=scaled(stack),
    )
    return judged(stack.name, data, statuses, tuple(notices))


def _end_broken_off_move(context: Context, report: Report) -> None:
    if context.state.underway_file.exists():
        from spokectl.operations.moves import settle_unfinished

        settle_unfinished(context, report)


def down(name: str, file: Path | None, *, volumes: bool, timeout_s: float, report: Report, images: bool = False) -> Result:
    """Stops everything of the stack; with `volumes` its data is deleted too. Nothing to stop is success.

    A stack file that cannot be read is no obstacle, but a warning. Refused, before anything is stopped, while a drill is
    under way (`locked`), and when `images` are to go that the runtime does not have (`no_images`). OutcomeUnknown
    (`timeout`) names what still runs when `timeout_s` is over: it goes on ending, and the next `down` goes on from there.
    """
    deadline = Deadline(timeout_s)
    try:
        context, warnings = _context_to_end(name, file)
    except NotFound:
        return Result(DownData(name, exists=False, was_running=False, volumes_deleted=False, images_deleted=[]))
    if images and not isinstance(context.runtime, BuildsImages):
        raise _no_images(context.runtime, "remove", "--images")
    if pid := driller(context.state):
        raise Refused(
            "locked",
            f"nothing was stopped: a drill is under way on the stack {name}, process {pid}",
            retryable=True,
            actions=[f"end it, and have it heal: kill -INT {pid}", "then repeat the command"],
        )
    with exclusive(context.state, "down"), context.journal.operation("down", volumes=volumes) as ending:
        ran = context.runtime.tear_down(deadline, volumes=volumes, notice=lambda text: report("stack", "notice", text))
        ending.changes_begun()
        for file_ in (context.state.last_known_file, context.state.applied_file):
            file_.unlink(missing_ok=True)
        if volumes:
            # Without data nothing is settled any more: runtime and stack file are chosen anew. Settings stay.
            context.state.override_file.unlink(missing_ok=True)
            context.state.record_file.unlink(missing_ok=True)
            context.state.underway_file.unlink(missing_ok=True)
            context.state.faults_file.unlink(missing_ok=True)
        removed = _remove_images(context.runtime) if images else []
    data = DownData(name, exists=True, was_running=bool(ran), volumes_deleted=volumes, images_deleted=removed)
    return Result(data, warnings)


def _remove_images(runtime: Runtime) -> list[str]:
    return runtime.remove_images() if isinstance(runtime, BuildsImages) else []


def _build(runtime: Runtime, services: list[str], report: Report, *, anew: bool) -> None:
    """Builds the images that are not there, with `anew` all: that has a deadline of its own, and is shown as it goes."""
    if not isinstance(runtime, BuildsImages):
        if anew:
            raise _no_images(runtime, "build", "--build")
        return
    wanted = services if anew else runtime.unbuilt(services)
    if wanted:
        report("stack", "notice", "building images: some minutes the first time")
        runtime.build(wanted, Deadline(_BUILD_TIMEOUT_S), lambda text: report("stack", "notice", text))


def _no_images(runtime: Runtime, purpose: str, option: str) -> Refused:
    return Refused("no_images", f"the {runtime.name} runtime has no images to {purpose}", actions=[f"leave {option} out"])


def _context_to_end(name: str, file: Path | None) -> tuple[Context, tuple[str, ...]]:
    """The stack as its file describes it, else, with a warning, as it was last brought up."""
    try:
        return open_context(name, file), ()
    except UsageError as error:
        state = StackState(name)
        record = state.read_record()
        if record is None:
            raise
        stack = last_known.read(state)
        warning = f"{error.message}; what was last brought up is stopped all the same"
        return Context(stack, state, runtime_for(record.runtime, stack, state)), (warning,)


def _prepare(request: UpRequest, state: StackState, report: Report) -> tuple[Stack, Runtime]:
    """Settles file, settings, number of Spokes and runtime, and keeps them."""
    record = state.read_record()
    file = stack_file(request.file, record)
    stack = open_stack(request.name, file)
    runtime_name, reason = select_runtime(request.name, request.runtime, record, lambda: what_docker_lacks(stack))
    env = read_env_file(state.env_file)
    before = dict(env)
    if request.port_offset is not None:
        env |= _shifted_ports(stack.port_settings, request.port_offset)
        if record is not None and env != before:
            report("stack", "notice", "its ports move: every server that runs is restarted")
    if request.spokes is not None:
        settled = settle(request.name, file, env, request.spokes, stack.port_settings)
        keep(state, settled)
        env |= settled.settings
    made = _generated(stack, runtime_for(runtime_name, stack, state)) if request.generate_secrets else {}
    env |= made
    if env != before:
        write_env_file(state.env_file, env)
    if env != before or request.spokes is not None:
        stack = open_stack(request.name, file)
    if record is None or record.file != str(file):
        created = record.created_at if record else datetime.now(UTC).isoformat(timespec="seconds")
        state.write_record(StackRecord(runtime_name, str(file), created))
    if record is None:
        report("stack", "notice", f"the {runtime_name} runtime: {reason}")
    runtime = runtime_for(runtime_name, stack, state)
    require_shapes(stack)
    require_own_secrets(stack, stack.services, runtime.has_data)
    rollout.require_enough_connections(stack)
    if made:
        report("stack", "notice", f"{len(made)} secrets were made, and are kept in {state.env_file}")
    return stack, runtime


def _generated(stack: Stack, runtime: Runtime) -> dict[str, str]:
    """Random secrets for what nobody has set; Refused (`secrets_in_use`) where a database has the old ones."""
    made = chosen(stack)
    require_no_database(stack, made, runtime.has_data)
    return made


def _one_by_one(changed: list[str], before: Stack | None, after: Stack, notice: Notice) -> list[str]:
    """Those of the changed services that are restarted one after the other: the others are restarted at once.

    At once: all, when peers must agree on what has changed, or nobody knows what runs now; and what is not well anyway.
    """
    if not changed:
        return []
    reason = rollout.why_at_once(before, after) if before else "it is not known how the stack was brought up last"
    if reason:
        notice(f"{reason}: {', '.join(changed)} are restarted at once, and requests may fail meanwhile")
        return []
    return [name for name in changed if probe(after.services[name]).ok]


def _shifted_ports(ports: Mapping[str, int], offset: int) -> dict[str, str]:
    """Every published port of the file moved by `offset`, as settings; UsageError when one would leave 1 to 65535."""
    worst = max(ports.values(), default=0) + offset
    if offset < 0 or worst > 65535:
        raise UsageError(
            "bad_port_offset",
            f"the port offset {offset} would give the port {worst}: expected 0 to {65535 - max(ports.values(), default=0)}",
        )
    return {name: str(port + offset) for name, port in ports.items()}
