"""NGINX from the inside: it takes over a configuration without losing a request, tests one, and says what it has loaded.

A reload is over when every worker of the configuration before has ended: until then one of them may still answer the
requests that it had, also by instances that the new configuration does not know.
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from spokectl.errors import Failed, NotFound, OutcomeUnknown
from spokectl.model import TAKEN_OVER_BY_RELOAD, Kind, RunState, Stack
from spokectl.operations.context import Context
from spokectl.settings import command_line
from spokectl.wait import Deadline, wait_until

_SHORTEST_CALL_S = 5.0
_LOOK_AGAIN_S = 0.2
_RELOADED = ": reloaded: "  # what the entry script says when something had changed
_PARTS = "--- spokectl ---"
_LAST_LOG_LINES = 5000

# Workers are the master's children. Where there is no /proc, there is a ps.
_NAMES = """
run=${SPOKE_SERVICE_DIR:-/opt/spoke/services/load-balancer}/run
dir=${SPOKE_RUN_DIR:-/tmp/spoke}/nginx
workers() {
    master=$(cat "$dir/nginx.pid" 2>/dev/null) || return 0
    if [ -r /proc/self/stat ]; then
        sed -n "s/^\\([0-9]*\\) ([^)]*) [^Z] $master .*/\\1/p" /proc/[0-9]*/stat 2>/dev/null || :
    else
        ps -A -o pid=,ppid= | awk -v master="$master" '$2 == master { print $1 }'
    fi
}
"""
_WORKERS = _NAMES + "workers\n"
_TAKE_OVER = _NAMES + 'workers\nexec "$run" --reload\n'
_LOAD = _NAMES + 'workers\nexec "$run" --load\n'
# Rendered aside, so that a test changes nothing. After a failure stdout has the line that NGINX names.
_TEST = (
    _NAMES
    + """
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
(export SPOKE_RUN_DIR="$scratch"; exec "$run" --render) || exit 1
said=$(nginx -p "$scratch/nginx" -e stderr -c "$scratch/nginx/nginx.conf" -t 2>&1) && tested=0 || tested=1
printf '%s\\n' "$said" | sed "s|$scratch/nginx/||g" >&2
place=$(printf '%s\\n' "$said" | sed -n "s|.* in $scratch/nginx/\\([a-z.]*\\):\\([0-9]*\\)\\$|\\1 \\2|p" | head -n 1)
[ "$tested" -eq 0 ] || [ -z "$place" ] || sed -n "${place#* }p" "$scratch/nginx/${place% *}"
exit "$tested"
"""
)
_LOADED = (
    _NAMES
    + f"""
workers
echo '{_PARTS}'
cat "$dir/upstreams.conf" || exit 1
echo '{_PARTS}'
tail -n {_LAST_LOG_LINES} "${{SPOKE_LOG_DIR:-/var/log/nginx}}/error.log" | grep -F '[warn] instance ' || :
"""
)
_PLACE = re.compile(r"(?P<message>.*) in (?P<file>[a-z.]+):(?P<line>\d+)\Z")
_COMPLAINT = re.compile(r".*?\[(emerg|alert|crit|error)\] (\d+#\d+: )?(?P<text>.*)")
_ENTRY_SCRIPT = re.compile(r"\S+Z \S+: ")


@dataclass(frozen=True)
class ConfigurationTest:
    """What `nginx -t` says of the configuration that a reload would load. `file`, `line` and `text`: where it is wrong."""

    service: str
    ok: bool
    message: str
    file: str = ""
    line: int | None = None
    text: str = ""


@dataclass(frozen=True)
class Loaded:
    """What a running NGINX has: its workers, the addresses of the Spokes, the lines of its log about tries that failed."""

    workers: tuple[int, ...]
    addresses: tuple[str, ...]
    failed_tries: tuple[str, ...]


def take_over_changes(context: Context, deadline: Deadline, *, certain: bool = False) -> list[str]:
    """Has running servers take over those variables that need no restart; returns when it has happened, naming which did.

    `certain`: also where nothing has changed since the last time, so that afterwards no worker from before is left, of a
    reload that nobody has waited for either. Failed (`reload_failed`) with what they say; they go on as they were.
    """
    script = _LOAD if certain else _TAKE_OVER
    inspections = context.runtime.inspect()
    return [
        service.name
        for kind in TAKEN_OVER_BY_RELOAD
        for service in context.stack.of_kind(kind)
        if inspections[service.name].state is RunState.RUNNING and _taken_over(context, service.name, script, deadline)
    ]


def ask_to_reload(context: Context, name: str, deadline: Deadline, before: str = "") -> None:
    """Has one running server take over its variables, as far as asking it; `before` is what its shell does first."""
    _run(context, name, before + _TAKE_OVER, deadline)


def _taken_over(context: Context, name: str, script: str, deadline: Deadline) -> bool:
    done = _run(context, name, script, deadline)
    if done is None or _RELOADED not in done.stderr:
        return False
    wait_for_new_workers(context, name, _pids(done.stdout), deadline)
    return True


def load_anew(context: Context, name: str, deadline: Deadline) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Reloads it whether or not anything has changed, and gives its workers before and after: all of them are new."""
    done = _run(context, name, _LOAD, deadline)
    if done is None:
        raise NotFound("not_running", f"{name} has just ended", actions=[command_line(context.stack.name, f"start {name}")])
    before = _pids(done.stdout)
    return before, wait_for_new_workers(context, name, before, deadline)


def wait_for_new_workers(context: Context, name: str, before: tuple[int, ...], deadline: Deadline) -> tuple[int, ...]:
    """Returns the workers once there are some and none of those `before` is left, so that none holds a request of theirs."""
    now: tuple[int, ...] = ()

    def blocker() -> str | None:
        nonlocal now
        done = _run(context, name, _WORKERS, deadline)
        if done is None:
            return None  # it has ended, and with it all workers
        now = _pids(done.stdout)
        old = [str(pid) for pid in now if pid in before]
        if old:
            return f"its workers {', '.join(old)} still have the configuration from before, and requests under way"
        return None if now else "it has no workers"

    actions = [command_line(context.stack.name, words) for words in ("lb status", f"logs {name} --tail 20")]
    wait_until(blocker, deadline, what=f"the reload of {name}", actions=actions, interval_s=_LOOK_AGAIN_S)
    return now


def tested(context: Context, name: str, deadline: Deadline) -> ConfigurationTest:
    """Renders the configuration as a reload would, aside, and has `nginx -t` read it. Nothing is changed."""
    done = _call(context, name, _TEST, deadline)
    return read_test(name, done.returncode == 0, done.stderr, done.stdout)


def read_test(name: str, ok: bool, said: str, line: str) -> ConfigurationTest:
    """What a test said, as its parts: `said` is stderr, `line` the line that it names. Pure."""
    lines = [each.strip() for each in said.splitlines() if each.strip()]
    complaints = [found["text"] for each in lines if (found := _COMPLAINT.match(each))]
    if ok:
        return ConfigurationTest(name, ok=True, message="the configuration is good")
    first = complaints[0] if complaints else _ENTRY_SCRIPT.sub("", lines[-1]) if lines else "it says nothing"
    place = _PLACE.match(first)
    if place is None:
        return ConfigurationTest(name, ok=False, message=first)
    return ConfigurationTest(name, False, place["message"], place["file"], int(place["line"]), line.strip())


def loaded(context: Context, name: str, deadline: Deadline) -> Loaded:
    """Asks a running one. NotFound (`not_running`) when it has ended, Failed (`not_told`) when it cannot be found out."""
    done = _call(context, name, _LOADED, deadline)
    if done.returncode != 0:
        raise Failed("not_told", f"{name} has no configuration to show: {' '.join(done.stderr.split())}")
    workers, _, rest = done.stdout.partition(_PARTS)
    upstreams, _, log = rest.partition(_PARTS)
    return Loaded(_pids(workers), addresses_in(upstreams), tuple(log.strip().splitlines()))


def addresses_in(upstreams: str) -> tuple[str, ...]:
    """The addresses of the group that serves the API, in their order, each once. Pure."""
    group = re.search(r"^upstream spoke \{(?P<body>.*?)^\}", upstreams, re.MULTILINE | re.DOTALL)
    servers = re.findall(r"^\s*server (\S+)", group["body"], re.MULTILINE) if group else []
    return tuple(dict.fromkeys(address.rstrip(";") for address in servers))


def names_of(stack: Stack) -> Mapping[str, str]:
    """The Spoke at each address, as containers and as native processes write it. Pure."""
    names: dict[str, str] = {}
    for service in stack.of_kind(Kind.SPOKE):
        for port in service.ports:
            host = "127.0.0.1" if port.host in {"", "0.0.0.0", "::"} else port.host  # noqa: S104 - where it is reached
            names |= {f"{service.name}:{port.target}": service.name, f"{host}:{port.published}": service.name}
    return names


def _run(context: Context, name: str, script: str, deadline: Deadline) -> "subprocess.CompletedProcess[str] | None":
    """None when the service has just ended: its next start renders what the stack file says. Failed when it refuses."""
    try:
        done = _call(context, name, script, deadline)
    except NotFound:
        return None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        again = command_line(context.stack.name, f"restart {name}")
        raise Failed("reload_failed", f"{name} cannot take over its new settings: {said}", actions=[again])
    return done


def _call(context: Context, name: str, script: str, deadline: Deadline) -> "subprocess.CompletedProcess[str]":
    try:
        invocation = context.runtime.invocation(name, ["sh", "-c", script])
        return invocation.run(max(deadline.remaining_s, _SHORTEST_CALL_S))
    except subprocess.TimeoutExpired:
        actions = [command_line(context.stack.name, "up")]
        raise OutcomeUnknown("timeout", f"{name} has not done in time what it was asked to", actions=actions) from None


def _pids(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(word) for word in text.split() if word.isdecimal()))
