"""A Compose file as it stands: YAML with the line of everything in it, `${…}` replaced, override files merged.

What the keys mean is stackfile.py's affair. Here belong anchors and `<<`, keys that stand twice, where a variable's value
comes from (Compose's precedence: shell environment, the stack's env file, `.env` beside the stack file, the default), and
Compose's rule for several files.
"""

import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from spokectl.errors import UsageError, why_unreadable
from spokectl.interpolation import InterpolationError, interpolate
from spokectl.model import Setting
from spokectl.printable import is_utf8
from spokectl.settings import write_privately

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PORT_SETTING = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*):?-(?P<default>\d+)\}:\d+(?:/tcp)?\Z")

Place = tuple[str, ...]
"""The keys that lead to something in a file, as ("services", "nginx", "ports", "0")."""


@dataclass
class Document:
    """The merged content of a stack's files, and where each thing in it stands."""

    files: Sequence[Path]
    content: dict[str, Any] = field(default_factory=dict)
    marks: dict[Place, tuple[Path, int]] = field(default_factory=dict)
    port_settings: dict[str, int] = field(default_factory=dict)
    """Variables that are published ports, with their defaults."""

    def place(self, place: Place) -> tuple[Path, int]:
        """File and line of the place, or of the nearest thing around it that stands in a file."""
        while place and place not in self.marks:
            place = place[:-1]
        return self.marks.get(place, (self.files[0], 1))

    def fail(self, place: Place, message: str) -> UsageError:
        """The error (`bad_stack_file`) for what stands there."""
        path, line = self.place(place)
        return _error(path, line, message)


def read(files: Sequence[Path], variables: "Variables") -> Document:
    """Reads and merges the files. UsageError (`bad_stack_file`, `no_stack_file`) names file and line."""
    document = Document(files)
    for path in files:
        document.content = _merge(document.content, _FileReader(path, document, variables).read())
    return document


class Variables:
    """Looks variables up and remembers every one that the file asks for, with its default and where the value came from."""

    def __init__(self, **layers: Mapping[str, str]) -> None:
        """`layers` are values by the name of their source, the first one that has a variable wins."""
        self._layers = layers
        self.seen: dict[str, Setting] = {}

    def lookup(self, name: str, default: str | None) -> str | None:
        for source, values in self._layers.items():
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


class _FileReader:
    """Reads one file into the document's marks and port settings."""

    def __init__(self, path: Path, document: Document, variables: Variables) -> None:
        self._path = path
        self._document = document
        self._variables = variables
        self._visited: set[int] = set()

    def read(self) -> dict[str, Any]:
        """The file's content, without what is only there to be referred to (`x-…`)."""
        loader = _Loader(self._text())
        try:
            node = loader.get_single_node()
            if not isinstance(node, MappingNode):
                raise _error(self._path, 1, "expected a mapping with the key `services`")
            self._visit(node, ())
            content: dict[str, Any] = loader.construct_document(node)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            problem = getattr(error, "problem", None) or str(error)
            raise _error(self._path, mark.line + 1 if mark else 1, f"not valid YAML: {problem}") from error
        except RecursionError as error:
            raise _error(self._path, 1, "nested too deeply") from error
        except ValueError as error:
            # YAML takes 2026-99-99 for a date.
            raise _error(self._path, 1, f"holds a value that is none: {error}") from error
        finally:
            loader.dispose()
        return {key: value for key, value in content.items() if not str(key).startswith("x-")}

    def _text(self) -> str:
        try:
            if not stat.S_ISREG(self._path.stat().st_mode):
                # A pipe would be waited for, perhaps for ever, and could be read once only.
                raise UsageError("bad_stack_file", f"{self._path} cannot be read: it is not a regular file")
            return self._path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise UsageError(
                "no_stack_file",
                f"there is no stack file {self._path}",
                actions=["name one with --file or SPOKECTL_FILE"],
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError("bad_stack_file", f"{self._path} cannot be read: {why_unreadable(error)}") from error

    def _visit(self, node: Node, place: Place) -> None:
        """Replaces variables in every scalar below `node`, in place, and notes where each thing stands."""
        self._document.marks.setdefault(place, (self._path, node.start_mark.line + 1))
        if id(node) in self._visited:
            return
        self._visited.add(id(node))
        if isinstance(node, ScalarNode):
            if "$" in node.value:
                self._replace_variables(node, place)
        elif isinstance(node, SequenceNode):
            for index, item in enumerate(node.value):
                self._visit(item, (*place, str(index)))
        elif isinstance(node, MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if not isinstance(key, ScalarNode):
                    raise _error(self._path, key.start_mark.line + 1, "a key must be a single value")
                if key.value in keys and key.value != "<<":
                    raise _error(self._path, key.start_mark.line + 1, f"the key {key.value!r} stands twice")
                keys.add(str(key.value))
                self._visit(value, (*place, str(key.value)))

    def _replace_variables(self, node: ScalarNode, place: Place) -> None:
        if place[-2:-1] == ("ports",) and (setting := _PORT_SETTING.search(node.value)):
            self._document.port_settings[setting["name"]] = int(setting["default"])
        try:
            node.value = interpolate(node.value, self._variables.lookup)
        except InterpolationError as error:
            raise _error(self._path, node.start_mark.line + 1, str(error)) from error


def _merge(base: Any, override: Any, place: Place = ()) -> Any:
    """Compose's rule for several files: mappings merge, ports and volumes add up, everything else is replaced."""
    if isinstance(base, dict) and isinstance(override, dict):
        return base | {key: _merge(base.get(key), value, (*place, str(key))) for key, value in override.items()}
    if isinstance(base, list) and isinstance(override, list) and place[-1] in {"ports", "volumes"}:
        return base + [item for item in override if item not in base]
    if place and place[-1] in {"environment", "labels"} and base is not None and override is not None:
        return pairs(base) | pairs(override)
    return override


def pairs(value: Any) -> dict[str, Any]:
    """An environment or labels, in either of the two forms that Compose knows."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {name: text if equals else None for name, equals, text in (item.partition("=") for item in value)}
    raise TypeError("a mapping, or a list of NAME=VALUE")


def raw_services(path: Path) -> dict[str, dict[str, Any]]:
    """The services as they stand in a file that `load_stack` can read: anchors and `<<` resolved, `${…}` not replaced.

    For writing an override: `environment` and `labels` are mappings, `ports` a list, whatever form the file has them in.
    """
    services: dict[str, dict[str, Any]] = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)["services"]  # noqa: S506 - a safe loader
    return {name: raw | _in_one_form(raw) for name, raw in services.items()}


def _in_one_form(raw: dict[str, Any]) -> dict[str, Any]:
    in_pairs = {key: pairs(raw.get(key) or {}) for key in ("environment", "labels")}
    return in_pairs | {"ports": raw.get("ports") or []}


def write_override(path: Path, services: Mapping[str, object]) -> None:
    """Writes a second Compose file that adds to or changes the services of the first."""
    header = "# Written by spokectl (up --spokes, scale); the stack file itself is never rewritten.\n"
    write_privately(path, header + yaml.safe_dump({"services": dict(services)}, sort_keys=False))


def _error(path: Path, line: int, message: str) -> UsageError:
    return UsageError("bad_stack_file", f"{path}, line {line}: {message}", details={"file": str(path), "line": line})
