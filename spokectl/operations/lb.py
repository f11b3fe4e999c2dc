"""The load balancer as an operator asks about it: what it does and whom it uses, a test of its configuration, a reload."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spokectl.errors import Degraded, ExitCode, Failed, NotFound, OutcomeUnknown, Refused
from spokectl.model import Health, Kind, RunState, Service, Stack
from spokectl.operations import balancer
from spokectl.operations.balancer import ConfigurationTest, Loaded
from spokectl.operations.context import Context, broken_off, exclusive, load_balancer, running_context
from spokectl.operations.health import probe
from spokectl.operations.registry import url_at
from spokectl.result import Result
from spokectl.settings import command_line
from spokectl.wait import Deadline, wait_until

_STATUS_TIMEOUT_S = 3.0
_LOOK_TIMEOUT_S = 15.0
RECENT_MINUTES = 5
_STATUS_PAGE = "/nginx_status"
_UPSTREAM_LINE = re.compile(r"upstream (?P<name>\S+) requests (?P<requests>\d+) failed (?P<failed>\d+)")
_FAILED_TRY = re.compile(r'(?P<time>\S+) \[warn\] instance "(?P<names>[^"]*)" answered "(?P<statuses>[^"]*)"')
_BAD_ANSWERS = frozenset({"502", "503", "504"})


@dataclass(frozen=True)
class StatusPage:
    """What `/nginx_status` counts since NGINX was started. `upstreams`: requests and failed ones by instance."""

    version: str
    active: int
    connections: int
    requests: int
    upstreams: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Upstream:
    """One instance. `in_use`: the running NGINX has its address; None where that could not be asked.

    `ready`: it answers its own health check now, with `reason` why not. `requests` and `failed` are NGINX's counts of tries
    since its start, `failed_lately` those of the last minutes.
    """

    service: str
    address: str
    in_use: bool | None
    ready: bool
    reason: str
    requests: int
    failed: int
    failed_lately: int


@dataclass(frozen=True)
class BalancerStatus:
    """`connections` and `requests` count from NGINX's start; `active` are the requests under way."""

    service: str
    state: str
    reason: str
    url: str
    version: str
    started_at: datetime | None
    workers: list[int]
    active: int | None
    connections: int | None
    requests: int | None
    lately_minutes: int
    upstreams: list[Upstream] = field(default_factory=list)


@dataclass(frozen=True)
class Reloaded:
    """`workers_before` have all ended, `workers` have taken their place, and one of them has answered."""

    service: str
    workers_before: list[int]
    workers: list[int]
    version: str
    elapsed_s: float


def status(name: str, file: Path | None) -> Result:
    """NGINX, and every instance from its side and from the instance's own. Degraded (10) when one of them is not well."""
    context = running_context(name, file)
    service = load_balancer(context.stack)
    seen = context.runtime.inspect()[service.name]
    # A command in a frozen service would wait with it.
    runs = seen.state is RunState.RUNNING
    spokes = context.stack.of_kind(Kind.SPOKE)
    with ThreadPoolExecutor(max_workers=len(spokes) + 1) as pool:
        asked, page_asked = pool.map(probe, spokes), pool.submit(_page, service)
        inside, silence = _loaded(context, service) if runs else (None, "")
        healths = {health.service: health for health in asked}
        page, why = page_asked.result()
    data = BalancerStatus(
        service.name,
        str(seen.state),
        why if runs else seen.detail or str(seen.state),
        url_at(service.address(service.health.port)),
        page.version if page else "",
        seen.started_at,
        list(inside.workers) if inside else [],
        page.active if page else None,
        page.connections if page else None,
        page.requests if page else None,
        RECENT_MINUTES,
        upstreams_of(context.stack, healths, page, inside, datetime.now(UTC)),
    )
    warnings = broken_off(context).warnings
    return judged_balancer(name, data, (*warnings, silence) if silence else warnings)


def test(name: str, file: Path | None, timeout_s: float) -> Result:
    """What `nginx -t` says of the configuration that a reload, or a restart, would load: Failed when it is bad."""
    context = running_context(name, file)
    service = _running_balancer(context)
    found = balancer.tested(context, service.name, Deadline(timeout_s))
    if found.ok:
        return Result(found)
    error = Failed("bad_configuration", complaint(found), details=_place(found))
    return Result(found, exit_code=ExitCode.FAILED, error=error)


def reload(name: str, file: Path | None, timeout_s: float) -> Result:
    """Loads the configuration anew; no request fails. Returns when only new workers are left, and one of them answers.

    Refused (`bad_configuration`) when `nginx -t` does not take it: NGINX goes on as it was.
    """
    started = time.monotonic()
    deadline = Deadline(timeout_s)
    context = running_context(name, file)
    with exclusive(context.state, "lb reload"), context.journal.operation("lb reload"):
        service = _running_balancer(context)
        found = balancer.tested(context, service.name, deadline)
        if not found.ok:
            raise Refused(
                "bad_configuration",
                f"{service.name} was not reloaded and goes on as it was: {complaint(found)}",
                actions=[command_line(name, "lb test")],
                details=_place(found),
            )
        before, after = balancer.load_anew(context, service.name, deadline)
        page = _wait_for_page(context, service, deadline)
    elapsed_s = round(time.monotonic() - started, 2)
    return Result(Reloaded(service.name, list(before), list(after), page.version, elapsed_s))


def complaint(found: ConfigurationTest) -> str:
    """What is wrong and where, in one line; pure."""
    if found.line is None:
        return found.message
    return f"{found.message} ({found.file}, line {found.line}: {found.text})"


def _place(found: ConfigurationTest) -> dict[str, object]:
    return {"file": found.file, "line": found.line, "text": found.text}


def read_page(body: str, server: str) -> StatusPage:
    """The page as numbers. ValueError when it is another page. Pure."""
    active = re.search(r"^Active connections: (\d+)", body, re.MULTILINE)
    totals = re.search(r"^ (\d+) \d+ (\d+)", body, re.MULTILINE)
    if active is None or totals is None:
        raise ValueError("it is no status page of NGINX")
    found = {line["name"]: (int(line["requests"]), int(line["failed"])) for line in _UPSTREAM_LINE.finditer(body)}
    # The request for this page is one of those that it counts.
    return StatusPage(server.partition("/")[2], int(active[1]) - 1, int(totals[1]), int(totals[2]), found)


def failed_lately(lines: Iterable[str], since: datetime) -> Counter[str]:
    """How many tries of each instance have failed since then, by the lines that NGINX's error log has of them. Pure."""
    counts: Counter[str] = Counter()
    for line in lines:
        found = _FAILED_TRY.match(line)
        if found is None or _time(found["time"]) < since:
            continue
        names = [each.strip() for each in found["names"].split(",")]
        statuses = [each for each in re.split(r"\s*[,:]\s+", found["statuses"]) if each]
        for number, name in enumerate(names):
            answered = statuses[number] if number < len(statuses) else ""
            if number < len(names) - 1 or answered in _BAD_ANSWERS:
                counts[name] += 1
    return counts


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def upstreams_of(
    stack: Stack, healths: Mapping[str, Health], page: StatusPage | None, inside: Loaded | None, now: datetime
) -> list[Upstream]:
    """A row for each Spoke of the stack, and for each address that NGINX uses besides. Pure."""
    names = balancer.names_of(stack)
    lately = failed_lately(inside.failed_tries if inside else (), now - timedelta(minutes=RECENT_MINUTES))
    in_use = {names.get(address, address): address for address in (inside.addresses if inside else ())}
    rows = []
    for name in dict.fromkeys([*(spoke.name for spoke in stack.of_kind(Kind.SPOKE)), *in_use]):
        health = healths.get(name, Health(name, ok=False, reason="it is none of the stack's Spokes"))
        requests, failed = page.upstreams.get(name, (0, 0)) if page else (0, 0)
        rows.append(
            Upstream(
                name,
                in_use.get(name) or _api_address(stack.services[name]),
                (name in in_use) if inside else None,
                health.ok,
                health.reason,
                requests,
                failed,
                lately[name],
            )
        )
    return rows


def _api_address(spoke: Service) -> str:
    port = next((port for port in spoke.ports if port.target != spoke.health.port), None)
    return f"{port.host}:{port.published}" if port else ""


def judged_balancer(name: str, data: BalancerStatus, warnings: tuple[str, ...]) -> Result:
    """Degraded where NGINX or a Spoke is not well, or one that is well is not in use, with what to type. Pure."""
    unwell, actions = [], []
    if data.reason:
        unwell.append(f"{data.service}: {data.reason}")
        verb = {RunState.PAUSED: "unpause", RunState.STOPPED: "start"}.get(RunState(data.state))
        actions.append(command_line(name, f"{verb} {data.service}" if verb else f"logs {data.service}"))
    unwell += [f"{each.service}: {each.reason or 'not ready'}" for each in data.upstreams if not each.ready]
    unused = [each.service for each in data.upstreams if each.ready and each.in_use is False]
    unwell += [f"{each}: {data.service} does not use it" for each in unused]
    if not unwell:
        return Result(data, warnings)
    actions += [command_line(name, "up" if unused else "status")]
    error = Degraded("degraded", f"not everything is well: {'; '.join(unwell)}", actions=actions)
    return Result(data, warnings, ExitCode.DEGRADED, error)


def _running_balancer(context: Context) -> Service:
    """NotFound (`not_running`), or Refused (`paused`): nothing can be run in a service that stands still."""
    service, name = load_balancer(context.stack), context.stack.name
    state = context.runtime.inspect()[service.name].state
    if state is RunState.PAUSED:
        action = command_line(name, f"unpause {service.name}")
        raise Refused("paused", f"{service.name} is paused: nothing can be asked of it", actions=[action])
    if state is not RunState.RUNNING:
        action = command_line(name, f"start {service.name}")
        raise NotFound("not_running", f"{service.name} is {state}", actions=[action])
    return service


def _page(service: Service) -> tuple[StatusPage | None, str]:
    """The status page, or why there is none."""
    from spokectl.clients.probe import NoAnswer, get

    try:
        answer = get(*service.address(service.health.port), _STATUS_PAGE, timeout_s=_STATUS_TIMEOUT_S)
        return read_page(answer.body.decode("utf-8", "replace"), answer.server), ""
    except (NoAnswer, ValueError) as error:
        return None, f"{_STATUS_PAGE}: {error}"


def _wait_for_page(context: Context, service: Service, deadline: Deadline) -> StatusPage:
    found: StatusPage | None = None

    def blocker() -> str | None:
        nonlocal found
        found, why = _page(service)
        return why or None

    actions = [command_line(context.stack.name, f"logs {service.name} --tail 20")]
    wait_until(blocker, deadline, what=f"an answer of {service.name}'s new workers", actions=actions)
    if found is None:
        raise AssertionError("a wait that ends well has found the page")
    return found


def _loaded(context: Context, service: Service) -> tuple[Loaded | None, str]:
    """What it has loaded, or why it could not be asked: the rest can be told all the same."""
    try:
        return balancer.loaded(context, service.name, Deadline(_LOOK_TIMEOUT_S)), ""
    except (NotFound, OutcomeUnknown, Failed) as error:
        return None, f"what {service.name} has loaded could not be asked: {error.message}"
