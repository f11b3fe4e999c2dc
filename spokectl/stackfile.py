"""The stack file: an ordinary Compose file, understood here and nowhere else, for both runtimes.

compose.py reads it; here it becomes a `Stack`. What is wrong is said with file, line and what was expected. What is not
understood is a notice, never silence.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spokectl.compose import Document, Variables, pairs, read
from spokectl.model import HealthProbe, Kind, Mount, Port, Service, Stack
from spokectl.settings import read_env_file
from spokectl.units import bytes_of, seconds_of

# Keys that mean the same in both runtimes, or that only Docker needs (see the table in docs/stack-file.md).
_SERVICE_KEYS = frozenset(
    [
        "image",
        "build",
        "container_name",
        "labels",
        "environment",
        "ports",
        "volumes",
        "command",
        "entrypoint",
        "restart",
        "stop_grace_period",
        "stop_signal",
        "depends_on",
        "init",
        "healthcheck",
        "deploy",
        "networks",
        "user",
        "logging",
        "mem_limit",
        "scale",
    ]
)
_LIMITS = frozenset({"deploy", "mem_limit"})
_TOP_KEYS = frozenset({"name", "services", "volumes", "networks", "version"})
_PORT = re.compile(r"(?:(?P<host>\[[^]]+\]|[^:]+):)?(?P<published>\d+):(?P<target>\d+)(?:/tcp)?\Z")
_HEALTH = re.compile(r"(?P<protocol>[a-z0-9]+)(?::(?P<port>\d+)(?P<path>/\S*)?)?\Z")
_NO_LIMIT = re.compile(r"0*(\.0+)?([kmgt]?i?b?)\Z", re.IGNORECASE)
_STOP_SIGNALS = ("TERM", "QUIT", "INT", "HUP", "USR1", "USR2")
HEALTH_PROTOCOLS = ("postgres", "redis", "sentinel", "s3", "http", "job")


def default_stack_file(folder: Path | None = None) -> Path:
    """A checkout's own file when the working folder has one, else the one that travels with the package."""
    here = (folder or Path.cwd()) / "stack" / "ha-stack.yml"
    if here.is_file():
        return here
    package = Path(__file__).parent
    shipped = package / "_stack" / "ha-stack.yml"
    return shipped if shipped.is_file() else package.parent / "stack" / "ha-stack.yml"


def load_stack(name: str, files: Sequence[Path], *, shell: Mapping[str, str], env_file: Mapping[str, str]) -> Stack:
    """Reads and merges the files into the stack called `name`. UsageError (`bad_stack_file`) names file and line.

    As Compose does, it reads the `.env` beside the first file too; `env_file` comes before that.
    """
    beside = read_env_file(files[0].parent / ".env")
    variables = Variables(stack={"SPOKE_STACK": name}, shell=shell, file=env_file, dotenv=beside)
    document = read(files, variables)
    reader = _Reader(document)
    services = reader.services()
    return Stack(
        name=name,
        files=tuple(files),
        services=services,
        volumes=tuple(document.content.get("volumes") or {}),
        settings=variables.seen,
        port_settings=document.port_settings,
        notices=tuple(reader.notices),
    )


class _Reader:
    """Turns the merged mapping into services, naming file and line of whatever does not fit."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.fail = document.fail
        self.notices: list[str] = []

    def notice(self, place: tuple[str, ...], message: str) -> None:
        path, line = self._document.place(place)
        self.notices.append(f"{path.name}, line {line}: {message}")

    def services(self) -> dict[str, Service]:
        content = self._document.content
        for key in content:
            if key not in _TOP_KEYS:
                self.notice((str(key),), f"{key!r} is not known here: no effect in the local runtime")
        services = content.get("services")
        if not isinstance(services, dict) or not services:
            raise self.fail(("services",), "expected a mapping `services` with at least one service")
        volumes = content.get("volumes")
        if volumes is not None and not isinstance(volumes, dict):
            raise self.fail(("volumes",), "expected a mapping of named volumes")
        found = {
            str(name): self._service(str(name), raw, volumes or {})
            for name, raw in services.items()
            if not (isinstance(raw, dict) and _scalar(raw.get("scale")) == "0")
        }
        self._check_ports(found)
        self._notice_limits(services)
        self._notice_read_only(found)
        return found

    def _notice_limits(self, services: dict[str, Any]) -> None:
        limited = {
            name: key for name, raw in services.items() for key in raw if key in _LIMITS and not _is_no_limit(raw[key])
        }
        if limited:
            place = ("services", *next(iter(limited.items())))
            self.notice(place, f"limits and `deploy` have no effect in the local runtime: {', '.join(limited)}")

    def _notice_read_only(self, services: dict[str, Service]) -> None:
        names = [name for name, service in services.items() if any(mount.read_only for mount in service.mounts)]
        if names:
            place = ("services", names[0], "volumes")
            self.notice(place, f"read-only volumes can be written to in the local runtime: {', '.join(names)}")

    def _service(self, name: str, raw: Any, volumes: dict[str, Any]) -> Service:
        place = ("services", name)
        if not isinstance(raw, dict):
            raise self.fail(place, f"expected a mapping for the service {name}")
        for key in raw:
            if key not in _SERVICE_KEYS and not str(key).startswith("x-"):
                self.notice((*place, str(key)), f"{name}: {key!r} is not known here: no effect in the local runtime")
        labels = self._mapping(place, raw, "labels")
        ports = tuple(self._port(place, index, text) for index, text in enumerate(self._list(place, raw, "ports")))
        return Service(
            name=name,
            kind=self._kind(place, labels),
            first_role=labels.get("spokectl.role", ""),
            health=self._health(place, labels, ports),
            environment=self._mapping(place, raw, "environment"),
            container_name=self._text(place, raw, "container_name") or name,
            image=self._text(place, raw, "image") or "",
            ports=ports,
            mounts=tuple(self._mount(place, item, volumes) for item in self._list(place, raw, "volumes")),
            command=self._words(place, raw),
            restart=self._text(place, raw, "restart") or "no",
            stop_grace_s=self._seconds(place, raw, "stop_grace_period", 10.0),
            stop_signal=self._signal(place, raw),
            memory_limit_bytes=self._memory(place, raw),
        )

    def _mapping(self, place: tuple[str, ...], raw: dict[str, Any], key: str) -> dict[str, str]:
        try:
            found = pairs(raw.get(key) or {})
        except TypeError as error:
            raise self.fail((*place, key), f"{key}: expected {error}") from None
        for name, value in found.items():
            if isinstance(value, (dict, list)):
                raise self.fail((*place, key, name), f"{key}: {name} must be a single value")
        return {str(name): _scalar(value) for name, value in found.items()}

    def _text(self, place: tuple[str, ...], raw: dict[str, Any], key: str) -> str:
        value = raw.get(key)
        if isinstance(value, (dict, list)):
            raise self.fail((*place, key), f"{key}: expected a single value")
        return _scalar(value)

    def _list(self, place: tuple[str, ...], raw: dict[str, Any], key: str) -> list[Any]:
        value = raw.get(key) or []
        if not isinstance(value, list):
            raise self.fail((*place, key), f"{key}: expected a list")
        return value

    def _words(self, place: tuple[str, ...], raw: dict[str, Any]) -> tuple[str, ...]:
        command = raw.get("command")
        try:
            words = shlex.split(command) if isinstance(command, str) else command or []
        except ValueError as error:
            raise self.fail((*place, "command"), f"command: {error}") from None
        if not isinstance(words, list) or any(isinstance(word, (dict, list)) for word in words):
            raise self.fail((*place, "command"), "command: expected words, as a text or a list")
        return tuple(_scalar(word) for word in words)

    def _kind(self, place: tuple[str, ...], labels: dict[str, str]) -> Kind:
        try:
            return Kind(labels.get("spokectl.kind", ""))
        except ValueError:
            expected = ", ".join(Kind)
            found = labels.get("spokectl.kind")
            problem = f"the label spokectl.kind is {found!r}" if found else "the label spokectl.kind is missing"
            raise self.fail((*place, "labels"), f"{place[-1]}: {problem}: expected one of {expected}") from None

    def _health(self, place: tuple[str, ...], labels: dict[str, str], ports: Sequence[Port]) -> HealthProbe:
        text = labels.get("spokectl.health", "")
        match = _HEALTH.match(text)
        if match is None or match["protocol"] not in HEALTH_PROTOCOLS or (match["protocol"] != "job" and not match["port"]):
            raise self.fail(
                (*place, "labels"),
                f"{place[-1]}: the label spokectl.health is {text!r}: expected PROTOCOL:PORT[/PATH], "
                f"PROTOCOL one of {', '.join(HEALTH_PROTOCOLS)}",
            )
        probe = HealthProbe(match["protocol"], int(match["port"] or 0), match["path"] or "")
        if probe.port and probe.port not in {port.target for port in ports}:
            problem = f"the label spokectl.health names the port {probe.port}, which is not published"
            raise self.fail((*place, "labels"), f"{place[-1]}: {problem}: list it under `ports`")
        return probe

    def _port(self, place: tuple[str, ...], index: int, text: Any) -> Port:
        here = (*place, "ports", str(index))
        match = _PORT.match(str(text))
        if match is None:
            raise self.fail(here, f"{place[-1]}: the port {text!r}: expected ADDRESS:PORT:CONTAINER-PORT")
        published, target = int(match["published"]), int(match["target"])
        if not (0 < published < 65536 and 0 < target < 65536):
            raise self.fail(here, f"{place[-1]}: the port {text!r}: a port is a number from 1 to 65535")
        return Port((match["host"] or "0.0.0.0").strip("[]"), published, target)  # noqa: S104 - Compose's own default

    def _mount(self, place: tuple[str, ...], item: Any, volumes: dict[str, Any]) -> Mount:
        here = (*place, "volumes")
        parts = item.split(":") if isinstance(item, str) else []
        if len(parts) not in {2, 3} or not all(parts[:2]):
            raise self.fail(here, f"{place[-1]}: the volume {item!r}: expected SOURCE:PATH")
        named = not parts[0].startswith((".", "/", "~"))
        if named and parts[0] not in volumes:
            raise self.fail(here, f"{place[-1]}: the volume {parts[0]!r} is not listed under `volumes`")
        return Mount(parts[0], parts[1], named, read_only="ro" in ",".join(parts[2:]).split(","))

    def _seconds(self, place: tuple[str, ...], raw: dict[str, Any], key: str, default: float) -> float:
        text = self._text(place, raw, key)
        try:
            return seconds_of(text) if text else default
        except ValueError as error:
            raise self.fail((*place, key), f"{key}: {error}") from None

    def _signal(self, place: tuple[str, ...], raw: dict[str, Any]) -> str:
        name = (self._text(place, raw, "stop_signal") or "SIGTERM").upper().removeprefix("SIG")
        if name not in _STOP_SIGNALS:
            expected = ", ".join(f"SIG{signal}" for signal in _STOP_SIGNALS)
            raise self.fail((*place, "stop_signal"), f"stop_signal: {name!r}: expected one of {expected}")
        return name

    def _memory(self, place: tuple[str, ...], raw: dict[str, Any]) -> int | None:
        value = raw.get("mem_limit")
        deploy = raw.get("deploy")
        if isinstance(deploy, dict):
            limits = ((deploy.get("resources") or {}).get("limits")) or {}
            value = limits.get("memory", value) if isinstance(limits, dict) else value
        try:
            return bytes_of(_scalar(value)) or None if value is not None else None
        except ValueError as error:
            raise self.fail((*place, "deploy"), f"memory: {error}") from None

    def _check_ports(self, services: dict[str, Service]) -> None:
        taken: dict[tuple[str, int], str] = {}
        for service in services.values():
            for index, port in enumerate(service.ports):
                other = taken.setdefault((port.host, port.published), service.name)
                if other != service.name or [p.published for p in service.ports].count(port.published) > 1:
                    raise self.fail(
                        ("services", service.name, "ports", str(index)),
                        f"{service.name}: port {port.published} is published by {other} already",
                    )


def _is_no_limit(value: Any) -> bool:
    """Whether each number in `deploy` or `mem_limit` is zero, as where a limit is a setting that nobody has set."""
    if isinstance(value, dict):
        return all(key != "replicas" and _is_no_limit(each) for key, each in value.items())
    return _NO_LIMIT.match(_scalar(value)) is not None


def _scalar(value: Any) -> str:
    """A YAML value as the environment sees it: true and 5 are the texts that stood in the file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
