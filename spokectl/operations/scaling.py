"""More Spokes, or fewer, while the stack runs: what `scale` does, and what `up` shares with it.

New ones are ready before the load balancer learns of them. Those that leave are taken out of it first; its workers from
before end the requests that they have, and only then the Spokes are stopped. Nothing else of the stack is touched.
"""

import os
import tempfile
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spokectl.compose import raw_services, write_override
from spokectl.errors import Refused, UsageError
from spokectl.journal import Ending
from spokectl.model import Inspection, Kind, RunState, Service, Stack
from spokectl.operations import balancer, last_known, rollout
from spokectl.operations.context import Context, exclusive, open_stack, running_context
from spokectl.operations.endpoints import Endpoint, endpoints
from spokectl.operations.health import postgres_node, probe
from spokectl.operations.readiness import wait_until_ready
from spokectl.operations.scale import Scaled, override_for, port_settings_for, require_count, spokes_of
from spokectl.operations.settings import require_shapes
from spokectl.result import Report, Result
from spokectl.runtime.base import Notice, Runtime, unsaid
from spokectl.runtime.select import runtime_for
from spokectl.settings import StackState, command_line, read_env_file, write_env_file, write_privately
from spokectl.stackfile import load_stack
from spokectl.wait import Deadline


@dataclass(frozen=True)
class ScaleRequest:
    name: str
    file: Path | None
    spokes: int
    timeout_s: float = 120.0
    dry_run: bool = False


@dataclass(frozen=True)
class ScaleData:
    """`outcome` is planned, done or unchanged. `connections`: what the pools of all Spokes may open then."""

    stack: str
    runtime: str
    outcome: str
    before: list[str]
    after: list[str]
    added: list[str]
    removed: list[str]
    endpoints: list[Endpoint]
    connections: rollout.Connections
    plan: list[str]
    scaled: Scaled | None
    elapsed_s: float


@dataclass(frozen=True)
class Settled:
    """A number of Spokes as it is kept: an override of the stack file, and the new ones' ports as settings."""

    override: dict[str, Any]
    settings: dict[str, str]


@dataclass(frozen=True)
class _Plan:
    """`leaving` are the Spokes to stop; `others` is what the stack file has lost besides: that waits for an `up`."""

    settled: Settled
    stack: Stack
    before: list[str]
    new: list[str]
    leaving: dict[str, Service]
    others: dict[str, Service]
    balancers: list[str]
    warnings: list[str]


def settle(name: str, file: Path, env: Mapping[str, str], count: int, known: Container[str]) -> Settled:
    """What makes `count` Spokes of those that the stack file has. UsageError (`bad_count`, `cannot_scale`).

    `known` are the settings of ports that the stack has already: those stay as they are.
    """
    raw = raw_services(file)
    override = override_for(raw, count)
    base = load_stack(name, [file], shell=os.environ, env_file=env)
    values = {name: int(base.settings[name].value) for name in base.port_settings}
    settings: dict[str, str] = {}
    for service in override:
        if service not in base.services:
            settings |= port_settings_for(raw, values, service)
    return Settled(override, {name: value for name, value in settings.items() if name not in known})


def keep(state: StackState, settled: Settled) -> None:
    """From now on the stack has that number of Spokes; the settings are the caller's to keep."""
    if settled.override:
        write_override(state.override_file, settled.override)
    else:
        state.override_file.unlink(missing_ok=True)


@contextmanager
def undone_if_refused(state: StackState) -> Iterator[None]:
    """Puts settings, override and record back as they were when nothing was started after all."""
    files = (state.env_file, state.override_file, state.record_file, state.last_known_file)
    before = {path: _content(path) for path in files}
    try:
        yield
    except (Refused, UsageError):
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            elif _content(path) != content:
                write_privately(path, content)
        raise


def _content(path: Path) -> bytes | None:
    """What is in it, whatever it is: one that is damaged is for others to refuse."""
    return path.read_bytes() if path.exists() else None


def leaving(before: Stack | None, after: Stack) -> dict[str, Service]:
    """The Spokes that `after` no longer has. Pure.

    Without those whose ports it gives to others: they must make room, and cannot go in good order.
    """
    if before is None:
        return {}
    taken = {(port.host, port.published) for service in after.services.values() for port in service.ports}
    return {
        spoke.name: spoke
        for spoke in before.of_kind(Kind.SPOKE)
        if spoke.name not in after.services and not taken.intersection((port.host, port.published) for port in spoke.ports)
    }


def without_ending(runtime: Runtime, stack: Stack, state: StackState, going: Mapping[str, Service]) -> Runtime:
    """The runtime as it is while those that are `going` still run: to it they belong to the stack."""
    return runtime_for(runtime.name, replace(stack, services=stack.services | dict(going)), state) if going else runtime


def scale(request: ScaleRequest, report: Report) -> Result:
    """Makes it `spokes` Spokes, and keeps that number; a repetition finishes what was broken off.

    Refused before anything is changed when PostgreSQL has not enough connections for their pools, a port is taken, none of
    the Spokes that would stay answers, or other changes wait for an `up`. NotFound when the stack is not running.
    OutcomeUnknown (`timeout`) when it is not so within `timeout_s`.
    """
    started = time.monotonic()
    require_count(request.spokes)
    deadline = Deadline(request.timeout_s)
    context = running_context(request.name, request.file)
    if request.dry_run:
        plan = _planned(context, request.spokes, deadline)
        runtime_for(context.runtime.name, plan.stack, context.state).require_free_ports(plan.new)
        return Result(_data(context, plan, "planned", started), tuple(plan.warnings))
    with exclusive(context.state, "scale"), context.journal.operation("scale", spokes=request.spokes) as ending:
        context = running_context(request.name, request.file)
        plan = _planned(context, request.spokes, deadline)
        notices = list(plan.warnings)
        changes = _apply(context, plan, deadline, notices.append, report, ending)
        data = _data(context, plan, "done" if changes else "unchanged", started)
        ending["message"] = f"{len(data.before)} -> {len(data.after)}"
    return Result(data, tuple(notices))


def _apply(context: Context, plan: _Plan, deadline: Deadline, notice: Notice, report: Report, ending: Ending) -> bool:
    """Whether anything had to be changed."""
    state, name = context.state, context.runtime.name
    applied = last_known.applied(state)
    for each in (*plan.new, *plan.leaving):
        report(each, "waiting")
    with undone_if_refused(state):
        keep(state, plan.settled)
        if plan.settled.settings:
            write_env_file(state.env_file, read_env_file(state.env_file) | plan.settled.settings)
        stack = open_stack(context.stack.name, context.stack.files[0])
        with_others = replace(stack, services=stack.services | plan.others)
        runtime = runtime_for(name, with_others, state)
        going = Context(stack, state, without_ending(runtime, with_others, state, plan.leaving))
        last_known.keep(state, replace(stack, services=with_others.services | plan.leaving))
        # The balancer too: natively its next start, by itself, shall know them.
        going.runtime.bring_up([*plan.new, *plan.balancers], deadline, notice)
    ending.changes_begun()
    wait_until_ready(going, plan.new, deadline, report)
    for each in plan.balancers if plan.new or plan.leaving else ():
        report(each, "changing", "takes over the new list")
    reloaded = balancer.take_over_changes(going, deadline, certain=bool(plan.leaving))
    for each in plan.leaving:
        report(each, "changing", "out of the load balancer; is being stopped")
    if plan.leaving:
        runtime.bring_up([], deadline, unsaid)
    last_known.keep(state, with_others)
    if applied is not None:
        last_known.keep_applied(state, _as_applied(applied, stack, plan))
    return bool(plan.new or plan.leaving or reloaded)


def _as_applied(applied: Stack, stack: Stack, plan: _Plan) -> Stack:
    """What all services run as now: of the others' changes nothing was applied."""
    kept = {name: service for name, service in applied.services.items() if name not in plan.leaving}
    scaled_ = {each.name: each for kind in (Kind.SPOKE, Kind.LOAD_BALANCER) for each in stack.of_kind(kind)}
    return replace(applied, files=stack.files, services=kept | scaled_)


def _planned(context: Context, count: int, deadline: Deadline) -> _Plan:
    """What there is to do; refused where it cannot be done. Nothing is changed."""
    state, name = context.state, context.stack.name
    if state.read_record() is None:
        raise Refused(
            "not_adopted",
            f"the stack {name} was brought up by plain Compose, which would not know of another number",
            actions=[command_line(name, f"up --spokes {count}")],
        )
    file, env = context.stack.files[0], read_env_file(state.env_file)
    settled = settle(name, file, env, count, context.stack.port_settings)
    with _described(name, file, env, settled) as after:
        return _planned_for(context, after, settled, count, deadline)


def _planned_for(context: Context, after: Stack, settled: Settled, count: int, deadline: Deadline) -> _Plan:
    state, name = context.state, context.stack.name
    require_shapes(after)
    rollout.require_enough_connections(after)
    # Where the supervisor is gone, nothing can be started.
    context.runtime.start([], deadline)
    runtime = runtime_for(context.runtime.name, after, state)
    seen = runtime.inspect()
    spokes = [spoke.name for spoke in after.of_kind(Kind.SPOKE)]
    applied = last_known.applied(state)
    new = to_wait_for(spokes, seen, applied)
    gone = leaving(applied, after) | leaving(context.stack, after)
    others = {each.name: each for each in applied.services.values()} if applied else {}
    others = {each: service for each, service in others.items() if each not in after.services and each not in gone}
    balancers = [each.name for each in after.of_kind(Kind.LOAD_BALANCER)]
    running = [each for each in balancers if seen[each].state is RunState.RUNNING]
    existing = [each for each in [*spokes, *running] if each not in new]
    _require_nothing_pending(name, runtime.changed(existing, deadline), count)
    if new:
        require_room_now(after, count)
    if gone:
        require_somebody_left(after, spokes, seen)
    waiting = [f"{each} is {seen[each].state}: it learns of the new number when it runs again" for each in balancers]
    warnings = [text for each, text in zip(balancers, waiting, strict=True) if each not in running]
    before = [spoke.name for spoke in (applied or context.stack).of_kind(Kind.SPOKE)]
    return _Plan(settled, replace(after, files=context.stack.files[:1]), before, new, gone, others, running, warnings)


def to_wait_for(spokes: Sequence[str], seen: Mapping[str, Inspection], applied: Stack | None) -> list[str]:
    """Those that are not there, and those that a `scale` which was broken off has made: nobody has waited for them. Pure."""
    return [
        each
        for each in spokes
        if seen[each].state is RunState.ABSENT or (applied is not None and each not in applied.services)
    ]


@contextmanager
def _described(name: str, file: Path, env: Mapping[str, str], settled: Settled) -> Iterator[Stack]:
    """The stack as it would be, before anything is kept: its files are there for as long, since Compose reads them too."""
    with tempfile.TemporaryDirectory(prefix="spokectl-scale-") as folder:
        override = Path(folder) / "override.yml"
        write_override(override, settled.override)
        files = [file, override] if settled.override else [file]
        yield load_stack(name, files, shell=os.environ, env_file={**env, **settled.settings})


def _require_nothing_pending(name: str, changed: Sequence[str], count: int) -> None:
    if changed:
        raise Refused(
            "changes_pending",
            f"changes of the stack file or of settings wait for an `up`, which also scales: {', '.join(changed)}",
            actions=[command_line(name, f"up --spokes {count}")],
            details={"services": list(changed)},
        )


def require_room_now(after: Stack, count: int) -> None:
    """Refused (`too_many_connections`) where the servers as they run allow fewer than the settings will, after an `up`."""
    nodes = [node for service in after.of_kind(Kind.POSTGRES) if (node := postgres_node(service)) is not None]
    wanted = rollout.connections(after)
    limit = min((node.max_connections for node in nodes), default=None)
    if not replace(wanted, allowed=limit).fit:
        raise Refused(
            "too_many_connections",
            f"{count} Spokes may open {wanted.wanted} connections and {wanted.beside} are needed beside them, but as it "
            f"runs PostgreSQL allows {limit}; `up` brings SPOKE_POSTGRES_MAX_CONNECTIONS={wanted.allowed} into effect",
            actions=[command_line(after.name, f"up --spokes {count}")],
            details={"wanted": wanted.wanted, "beside": wanted.beside, "allowed": limit},
        )


def require_somebody_left(after: Stack, spokes: Sequence[str], seen: Mapping[str, Inspection]) -> None:
    reasons = {}
    for each in spokes:
        if seen[each].state is not RunState.RUNNING:
            reasons[each] = str(seen[each].state)
            continue
        health = probe(after.services[each])
        if health.ok:
            return
        reasons[each] = health.reason or "not ready"
    said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise Refused(
        "nobody_left",
        f"nothing was changed: none of the Spokes that would stay answers ({said})",
        actions=[command_line(after.name, f"start {' '.join(reasons)}"), command_line(after.name, "status")],
        details={"services": reasons},
    )


def _data(context: Context, plan: _Plan, outcome: str, started: float) -> ScaleData:
    spokes = [each.name for each in plan.stack.of_kind(Kind.SPOKE)]
    added = replace(plan.stack, services={name: plan.stack.services[name] for name in plan.new})
    in_file = len(spokes_of(raw_services(plan.stack.files[0])))
    return ScaleData(
        plan.stack.name,
        context.runtime.name,
        outcome,
        plan.before,
        spokes,
        plan.new,
        list(plan.leaving),
        endpoints(added, {}, {}),
        rollout.connections(plan.stack),
        _steps(plan),
        Scaled(len(spokes), in_file) if len(spokes) != in_file else None,
        round(time.monotonic() - started, 2),
    )


def _steps(plan: _Plan) -> list[str]:
    """Sentences for the operator, in the order of what is done. Pure."""
    steps = []
    total = len(plan.stack.of_kind(Kind.SPOKE))
    if plan.new:
        steps.append(f"start {', '.join(plan.new)}, and wait until each is ready")
    if plan.new or plan.leaving:
        steps += [
            f"{each} takes over {total} Spoke{'s' if total > 1 else ''} by a reload; workers from before end what they have"
            for each in plan.balancers
        ]
    for name, service in plan.leaving.items():
        steps.append(f"stop {name}: it ends its requests, for {service.stop_grace_s:g} s at most")
    return steps
