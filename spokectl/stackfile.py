"""The stack file: an ordinary Compose file, read here and nowhere else, for both runtimes.

It is parsed once into a `Stack`: anchors and `<<` resolved, override files merged as Compose merges them, `${…}` replaced
(shell environment, then the stack's env file, then the default, which is Compose's precedence). What is wrong is said with
file, line and what was expected. What is not understood is a notice, never silence.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from spokectl.errors import UsageError
from spokectl.interpolation import InterpolationError, interpolate
from spokectl.model import HealthProbe, Kind, Mount, Port, Service, Setting, Stack
from spokectl.printable import is_utf8
from spokectl.settings import write_privately
from spokectl.units import bytes_of, seconds_of

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Keys that mean the same in both runtimes, or that only Docker needs (see the table in docs/stack-file.md).
_SERVICE_KEYS = frozenset(
    [
        *(
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
        ),
        *(
            "stop_grace_period",
            "stop_signal",
            "depends_on",
            "healthcheck",
            "deploy",
            "networks",
            "user",
            "logging",
            "mem_limit",
            "scale",
        ),
    ]
)
_TOP_KEYS = frozenset({"name", "services", "volumes", "networks", "version"})
_PORT = re.compile(r"(?:(?P<host>\[[^]]+\]|[^:]+):)?(?P<published>\d+):(?P<target>\d+)(?:/tcp)?\Z")
_PORT_SETTING = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*):?-(?P<default>\d+)\}:\d+(?:/tcp)?\Z")
_HEALTH = re.compile(r"(?P<protocol>[a-z0-9]+)(?::(?P<port>\d+)(?P<path>/\S*)?)?\Z")
_STOP_SIGNALS = ("TERM", "QUIT", "INT", "HUP", "USR1", "USR2")
HEALTH_PROTOCOLS = ("postgres", "redis", "sentinel", "s3", "http", "job")

Marks = dict[tuple[str, ...], tuple[Path, int]]


def default_stack_file(folder: Path | None = None) -> Path:
    """A checkout's own file when the working folder has one, else the one that travels with the package."""
    here = (folder or Path.cwd()) / "stack" / "ha-stack.yml"
    if here.is_file():
        return here
    package = Path(__file__).parent
    shipped = package / "_stack" / "ha-stack.yml"
    return shipped if shipped.is_file() else package.parent / "stack" / "ha-stack.yml"


def load_stack(name: str, files: Sequence[Path], *, shell: Mapping[str, str], env_file: Mapping[str, str]) -> Stack:
    """Reads and merges the files into the stack called `name`. UsageError (`bad_stack_file`) names file and line."""
    settings = _Settings({"SPOKE_STACK": name}, shell, env_file)
    content: dict[str, Any] = {}
    marks: Marks = {}
    port_settings: dict[str, int] = {}
    for path in files:
        parsed = _parse(path, settings, marks, port_settings)
        content = _merge(content, parsed)
    reader = _Reader(files[0], marks)
    services = reader.services(content)
    return Stack(
        name=name,
        files=tuple(files),
        services=services,
        volumes=tuple(content.get("volumes") or {}),
        settings=settings.seen,
        port_settings=port_settings,
        notices=tuple(reader.notices),
    )


def raw_services(path: Path) -> dict[str, dict[str, Any]]:
    """The services as they stand in a file that `load_stack` can read: anchors and `<<` resolved, `${…}` not replaced.

    For writing an override: `environment` and `labels` are mappings, `ports` a list, whatever form the file has them in.
    """
    services: dict[str, dict[str, Any]] = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)["services"]  # noqa: S506 - a safe loader
    return {name: raw | _in_one_form(raw) for name, raw in services.items()}


def _in_one_form(raw: dict[str, Any]) -> dict[str, Any]:
    pairs = {key: _pairs(raw.get(key) or {}) for key in ("environment", "labels")}
    return pairs | {"ports": raw.get("ports") or []}


def write_override(path: Path, services: Mapping[str, object]) -> None:
    """Writes a second Compose file that adds to or changes the services of the first."""
    header = "# Written by spokectl (up --spokes, scale); the stack file itself is never rewritten.\n"
    write_privately(path, header + yaml.safe_dump({"services": dict(services)}, sort_keys=False))


class _Settings:
    """Looks variables up and remembers every one that the file asks for, with its default and where the value came from."""

    def __init__(self, fixed: Mapping[str, str], shell: Mapping[str, str], env_file: Mapping[str, str]) -> None:
        self._layers = (("stack", fixed), ("shell", shell), ("file", env_file))
        self.seen: dict[str, Setting] = {}

    def lookup(self, name: str, default: str | None) -> str | None:
        for source, values in self._layers:
            if name in values:
                if not is_utf8(values[name]):
                    raise InterpolationError(f"the value of {name} ({source}) is not UTF-8")
                if default is None and name in self.seen:
                    default = self.seen[name].default
                self.seen[name] = Setting(name, values[name], default, source)
                return values[name]
        if default is not None or name not in self.seen:
            self.seen[name] = Setting(name, default or "", default, "default")
        return None


def _parse(path: Path, settings: _Settings, marks: Marks, port_settings: dict[str, int]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            "no_stack_file", f"there is no stack file {path}", actions=["name one with --file or SPOKECTL_FILE"]
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("bad_stack_file", f"{path} cannot be read: {error}") from error
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, MappingNode):
            raise _error(path, 1, "expected a mapping with the key `services`")
        _visit(node, path, (), settings, marks, port_settings, set())
        content: dict[str, Any] = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise _error(path, mark.line + 1 if mark else 1, f"not valid YAML: {problem}") from error
    except RecursionError as error:
        raise _error(path, 1, "nested too deeply") from error
    except ValueError as error:
        # YAML takes 2026-99-99 for a date.
        raise _error(path, 1, f"holds a value that is none: {error}") from error
    finally:
        loader.dispose()
    return {key: value for key, value in content.items() if not str(key).startswith("x-")}


def _visit(
    node: Node,
    path: Path,
    place: tuple[str, ...],
    settings: _Settings,
    marks: Marks,
    port_settings: dict[str, int],
    done: set[int],
) -> None:
    """Replaces variables in every scalar below `node`, in place, and notes where each thing stands."""
    marks.setdefault(place, (path, node.start_mark.line + 1))
    if id(node) in done:
        return
    done.add(id(node))
    if isinstance(node, ScalarNode):
        if "$" in node.value:
            _replace_scalar(node, path, place, settings, port_settings)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            _visit(item, path, (*place, str(index)), settings, marks, port_settings, done)
    elif isinstance(node, MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise _error(path, key.start_mark.line + 1, "a key must be a single value")
            if key.value in keys and key.value != "<<":
                raise _error(path, key.start_mark.line + 1, f"the key {key.value!r} stands twice")
            keys.add(str(key.value))
            _visit(value, path, (*place, str(key.value)), settings, marks, port_settings, done)


def _replace_scalar(
    node: ScalarNode, path: Path, place: tuple[str, ...], settings: _Settings, port_settings: dict[str, int]
) -> None:
    if place[-2:-1] == ("ports",) and (setting := _PORT_SETTING.search(node.value)):
        port_settings[setting["name"]] = int(setting["default"])
    try:
        node.value = interpolate(node.value, settings.lookup)
    except InterpolationError as error:
        raise _error(path, node.start_mark.line + 1, str(error)) from error


def _merge(base: Any, override: Any, place: tuple[str, ...] = ()) -> Any:
    """Compose's rule for several files: mappings merge, ports and volumes add up, everything else is replaced."""
    if isinstance(base, dict) and isinstance(override, dict):
        return base | {key: _merge(base.get(key), value, (*place, str(key))) for key, value in override.items()}
    if isinstance(base, list) and isinstance(override, list) and place[-1] in {"ports", "volumes"}:
        return base + [item for item in override if item not in base]
    if place and place[-1] in {"environment", "labels"} and base is not None and override is not None:
        return _pairs(base) | _pairs(override)
    return override


def _pairs(value: Any) -> dict[str, Any]:
    """An environment or labels, in either of the two forms that Compose knows."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {name: text if equals else None for name, equals, text in (item.partition("=") for item in value)}
    raise TypeError("a mapping, or a list of NAME=VALUE")


def _error(path: Path, line: int, message: str) -> UsageError:
    return UsageError("bad_stack_file", f"{path}, line {line}: {message}", details={"file": str(path), "line": line})


class _Reader:
    """Turns the merged mapping into services, naming file and line of whatever does not fit."""

    def __init__(self, path: Path, marks: Marks) -> None:
        self._path = path
        self._marks = marks
        self.notices: list[str] = []

    def fail(self, place: tuple[str, ...], message: str) -> UsageError:
        known = place
        while known and known not in self._marks:
            known = known[:-1]
        path, line = self._marks.get(known, (self._path, 1))
        return _error(path, line, message)

    def notice(self, place: tuple[str, ...], message: str) -> None:
        path, line = self._marks.get(place, (self._path, 1))
        self.notices.append(f"{path.name}, line {line}: {message}")

    def services(self, content: dict[str, Any]) -> dict[str, Service]:
        for key in content:
            if key not in _TOP_KEYS:
                self.notice((str(key),), f"{key!r} is not known here: no effect in the local runtime")
        services = content.get("services")
        if not isinstance(services, dict) or not services:
            raise self.fail(("services",), "expected a mapping `services` with at least one service")
        volumes = content.get("volumes")
        if volumes is not None and not isinstance(volumes, dict):
            raise self.fail(("volumes",), "expected a mapping of named volumes")
        read = {
            str(name): self._service(str(name), raw, volumes or {})
            for name, raw in services.items()
            if not (isinstance(raw, dict) and _scalar(raw.get("scale")) == "0")
        }
        self._check_ports(read)
        return read

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
            pairs = _pairs(raw.get(key) or {})
        except TypeError as error:
            raise self.fail((*place, key), f"{key}: expected {error}") from None
        for name, value in pairs.items():
            if isinstance(value, (dict, list)):
                raise self.fail((*place, key, name), f"{key}: {name} must be a single value")
        return {str(name): _scalar(value) for name, value in pairs.items()}

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
        return Mount(parts[0], parts[1], named, read_only=parts[2:] == ["ro"])

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
            return bytes_of(_scalar(value)) if value is not None else None
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


def _scalar(value: Any) -> str:
    """A YAML value as the environment sees it: true and 5 are the texts that stood in the file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
