"""Bringing a stack up and taking it down."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

from spokectl.errors import NotFound, Refused, UsageError
from spokectl.journal import Journal
from spokectl.model import Stack
from spokectl.operations.context import Context, exclusive, open_context, open_stack, stack_file, stack_files
from spokectl.operations.endpoints import Endpoint, endpoints
from spokectl.operations.health import ServiceStatus, judged, load_probes, observe
from spokectl.operations.readiness import wait_until_ready
from spokectl.operations.scale import override_for, port_settings_for
from spokectl.result import Report, Result
from spokectl.runtime.base import Runtime
from spokectl.runtime.select import runtime_for, select_runtime
from spokectl.settings import StackRecord, StackState, read_env_file, write_env_file, write_privately
from spokectl.stackfile import load_stack, raw_services, write_override
from spokectl.wait import Deadline


@dataclass(frozen=True)
class UpRequest:
    name: str
    file: Path | None
    runtime: str | None = None
    port_offset: int | None = None
    spokes: int | None = None
    timeout_s: float = 120.0


@dataclass(frozen=True)
class UpData:
    stack: str
    runtime: str
    services: list[ServiceStatus]
    endpoints: list[Endpoint]
    elapsed_s: float


def up(request: UpRequest, report: Report) -> Result:
    """Brings the stack up, or repairs it, and returns when every server has answered by its own protocol.

    Healthy services are not touched. The result is degraded (10) when some service answers but is not well at the deadline.
    Refused before anything is changed when a port, a server, the disk or a setting is not right.
    """
    started = time.monotonic()
    deadline = Deadline(request.timeout_s)
    state = StackState(request.name)
    with exclusive(state, "up"):
        with _undone_if_refused(state), Journal(state.events_file).operation("up"):
            stack, runtime = _prepare(request, state, report)
            left_out = runtime.left_out()
            wanted = [name for name in stack.services if name not in left_out]
            for name in stack.services.keys() & left_out:
                report(name, "left-out")
            notices = [*stack.notices, *(f"{name} is left out: {reason}" for name, reason in left_out.items())]
            # While the runtime waits for its supervisor a core is idle: later none is.
            Thread(target=load_probes, daemon=True).start()
            runtime.bring_up(wanted, notices.append)
        context = Context(stack, state, runtime)
        wait_until_ready(context, wanted, deadline, report)
        # Roles can change while others come up (a master is named, a standby connects): all are asked once more.
        statuses = observe(context, stack.services)
    roles = {status.service: status.role for status in statuses}
    data = UpData(
        stack.name, runtime.name, statuses, endpoints(stack, roles, left_out), round(time.monotonic() - started, 2)
    )
    return judged(stack.name, data, statuses, tuple(notices))


def down(name: str, file: Path | None, *, volumes: bool, report: Report) -> Result:
    """Stops everything of the stack; with `volumes` its data is deleted too. Nothing to stop is success."""
    try:
        context = open_context(name, file)
    except NotFound:
        return Result({"stack": name, "was_up": False, "volumes_deleted": False})
    with exclusive(context.state, "down"), context.journal.operation("down", volumes=volumes):
        context.runtime.tear_down(volumes=volumes, notice=lambda text: report("stack", "notice", text))
        if volumes:
            # Without data nothing is settled any more: runtime and stack file are chosen anew. Settings stay.
            context.state.override_file.unlink(missing_ok=True)
            context.state.record_file.unlink(missing_ok=True)
    return Result({"stack": name, "was_up": True, "volumes_deleted": volumes})


def _prepare(request: UpRequest, state: StackState, report: Report) -> tuple[Stack, Runtime]:
    """Settles file, settings, number of Spokes and runtime, and keeps them."""
    record = state.read_record()
    file = stack_file(request.file, record)
    runtime_name, reason = select_runtime(request.runtime, record)
    env = read_env_file(state.env_file)
    if request.port_offset is not None:
        plain = load_stack(request.name, stack_files(state, file), shell={}, env_file={})
        env |= _shifted_ports(plain.port_settings, request.port_offset)
    if request.spokes is not None:
        env |= _settle_spokes(request, state, file, env)
    if env != read_env_file(state.env_file):
        write_env_file(state.env_file, env)
    if record is None or record.file != str(file):
        created = record.created_at if record else datetime.now(UTC).isoformat(timespec="seconds")
        state.write_record(StackRecord(runtime_name, str(file), created))
    if record is None:
        report("stack", "notice", f"the {runtime_name} runtime: {reason}")
    stack = open_stack(request.name, file)
    return stack, runtime_for(runtime_name, stack, state)


def _settle_spokes(request: UpRequest, state: StackState, file: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Keeps the number of Spokes as an override of the stack file; gives the port settings of the new ones."""
    assert request.spokes is not None  # noqa: S101 - asked for by the only caller
    raw = raw_services(file)
    override = override_for(raw, request.spokes)
    base = load_stack(request.name, [file], shell=os.environ, env_file=env)
    values = {name: int(base.settings[name].value) for name in base.port_settings}
    if override:
        write_override(state.override_file, override)
    else:
        state.override_file.unlink(missing_ok=True)
    settings: dict[str, str] = {}
    for name in override:
        if name not in base.services:
            settings |= port_settings_for(raw, values, name)
    return settings


@contextmanager
def _undone_if_refused(state: StackState) -> Iterator[None]:
    """Puts settings, override and record back as they were when nothing was started after all."""
    files = (state.env_file, state.override_file, state.record_file)
    before = {path: path.read_text() if path.exists() else None for path in files}
    try:
        yield
    except (Refused, UsageError):
        for path, text in before.items():
            now = path.read_text() if path.exists() else None
            if text is None:
                path.unlink(missing_ok=True)
            elif now != text:
                write_privately(path, text)
        raise


def _shifted_ports(ports: Mapping[str, int], offset: int) -> dict[str, str]:
    """Every published port of the file moved by `offset`, as settings; UsageError when one would leave 1 to 65535."""
    worst = max(ports.values(), default=0) + offset
    if offset < 0 or worst > 65535:
        raise UsageError(
            "bad_port_offset",
            f"the port offset {offset} would give the port {worst}: expected 0 to {65535 - max(ports.values(), default=0)}",
        )
    return {name: str(port + offset) for name, port in ports.items()}
