"""The JSON schema of every answer, made from the types of which the answers are made: `docs/json-schema.json`.

A key that is there is always there. Within one `schema_version` keys may be added, so a schema for clients allows more of
them; a strict one, for tests, does not.
"""

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Union

from spokectl.clients.redis_keys import KeyFacts
from spokectl.clients.registry_answers import Module, Source
from spokectl.drills import evidence
from spokectl.drills.evidence import Run, Trial, Verdict
from spokectl.drills.trend import Comparison, Listed
from spokectl.model import Inspection, LogLine, Setting
from spokectl.operations import rollout
from spokectl.operations.balancer import ConfigurationTest
from spokectl.operations.cache import CacheKeys, CacheStats, Flushed
from spokectl.operations.cache_bench import Bench
from spokectl.operations.doctor.examine import Examined
from spokectl.operations.endpoints import Endpoint
from spokectl.operations.event_lines import Event
from spokectl.operations.health import ServiceStatus
from spokectl.operations.lb import BalancerStatus, Reloaded
from spokectl.operations.lifecycle import DownData, UpData
from spokectl.operations.metrics import Metrics
from spokectl.operations.modules import Deletion, ModulePage
from spokectl.operations.moves import MoveData
from spokectl.operations.observe import StatusData
from spokectl.operations.postgres.adopt import AdoptData
from spokectl.operations.postgres.lag import Lag
from spokectl.operations.postgres.observe import Connections, PostgresStatus, SlotRow
from spokectl.operations.postgres.reinit import ReinitData
from spokectl.operations.redis.observe import RedisStatus
from spokectl.operations.report.archive import Report
from spokectl.operations.scaling import ScaleData
from spokectl.operations.version_diff import VersionDiff
from spokectl.operations.versions import FileText, Pulled, Pushed, VersionInfo
from spokectl.result import SCHEMA_VERSION


class Acted(TypedDict):
    service: str
    state: str
    detail: str


class Reset(TypedDict):
    service: str
    state: str


class SettingsChanged(TypedDict):
    set: list[str]
    unset: list[str]
    file: str


class Healed(TypedDict):
    fault: str
    services: list[str]


class RunShort(TypedDict):
    id: str
    runtime: str
    version: str
    words: list[str]
    began_s: float
    ended_s: float | None
    verdict: Verdict
    counts: str


class Runs(TypedDict):
    runs: list[RunShort]
    unreadable: dict[str, str]


class Extended(NamedTuple):
    """A dataclass as it is shown: with more keys, or others in place of its own."""

    name: str
    base: Any
    more: dict[str, Any]


class AnyOf(NamedTuple):
    """A union with what is no class."""

    members: tuple[Any, ...]


class ListOf(NamedTuple):
    item: Any


TRIAL = Extended("TrialShown", Trial, {"missed": list[str]})
RUN = Extended("RunShown", Run, {"verdict": Verdict, "said": str, "trials": ListOf(TRIAL), "files": dict[str, str | None]})


class Help(TypedDict):
    subject: str
    text: str


class Completion(TypedDict):
    shell: str
    script: str


DATA: dict[str, Any] = {
    "up": UpData,
    "down": DownData,
    "status": StatusData,
    "ps": list[Inspection],
    "endpoints": list[Endpoint] | dict[str, str],
    "doctor": Examined,
    "report": Report,
    "metrics": Metrics,
    "scale": ScaleData,
    "lb status": BalancerStatus,
    "lb test": ConfigurationTest,
    "lb reload": Reloaded,
    "cache stats": CacheStats,
    "cache keys": CacheKeys,
    "cache bench": Bench,
    "cache flush": Flushed,
    "config list": list[Setting],
    "config get": Setting,
    "config set": SettingsChanged,
    "config unset": SettingsChanged,
    **dict.fromkeys(("start", "stop", "restart", "kill", "pause", "unpause"), list[Acted]),
    "postgres status": PostgresStatus,
    "postgres lag": list[Lag],
    "postgres slots": list[SlotRow],
    "postgres connections": list[Connections],
    "postgres reinit": ReinitData,
    "postgres adopt": AdoptData,
    "redis status": RedisStatus,
    "redis info": list[ServiceStatus],
    "redis sentinels": list[ServiceStatus],
    "redis reset-sentinels": list[Reset],
    **dict.fromkeys(("switchover postgres", "switchover redis", "failover postgres", "failover redis"), MoveData),
    "drill run": RUN,
    "drill list": list[Listed],
    "drill show": AnyOf((RUN, Runs)),
    "drill compare": Comparison,
    "drill heal": list[Healed],
    "modules list": list[Module] | ModulePage,
    **dict.fromkeys(("modules create", "modules get", "modules update"), Module),
    "modules delete": Deletion,
    "versions push": Pushed,
    "versions pull": Pulled,
    "versions list": list[VersionInfo],
    "versions get": VersionInfo,
    "versions file": FileText,
    "versions diff": VersionDiff,
    "versions delete": Deletion,
    "help": Help,
    "completion": Completion,
}
"""What stands in `data` when the command did not fail, by its words."""

STREAMS: dict[str, Any] = {"logs": LogLine, "events": Event}
"""Commands that give one such object a line in place of the envelope."""

WITHOUT_JSON = frozenset({"exec", "shell postgres", "shell redis", "shell s3"})
_FOR_TYPE_CHECKERS = {"KeyFacts": KeyFacts, "Module": Module, "Source": Source}
"""What modules of the answers import only for their annotations."""
_OTHER_NAMES: dict[Any, str] = {evidence.Check: "DrillCheck", rollout.Connections: "ConnectionsWanted"}
_BARE: dict[object, dict[str, Any]] = {
    Any: {},
    object: {},
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
}


def schema(*, strict: bool = False) -> dict[str, Any]:
    """The schema that every envelope fulfils; `$defs` has those of the streams' lines, too. `strict`: no other keys."""
    types_of = _Types(strict=strict)
    data = {command: {"anyOf": [types_of.of(each), {"type": "null"}]} for command, each in DATA.items()}
    lines = {f"{command} line": types_of.of(each) for command, each in STREAMS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The answer of any command of spokectl with --json",
        **_envelope(strict=strict),
        "allOf": [
            {
                "if": {"properties": {"command": {"const": command}}},
                "then": {"properties": {"data": {"$ref": _ref(command)}}},
            }
            for command in DATA
        ],
        "$defs": {**data, **lines, **dict(sorted(types_of.defined.items()))},
    }


def _ref(name: str) -> str:
    return "#/$defs/" + name.replace(" ", "%20")


def _envelope(*, strict: bool) -> dict[str, Any]:
    texts = {"type": "array", "items": {"type": "string"}}
    error = {
        "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
        "message": {"type": "string"},
        "retryable": {"type": "boolean"},
        "details": {"type": "object"},
        "actions": texts,
    }
    return _object(
        {
            "schema_version": {"const": SCHEMA_VERSION},
            "command": {"type": "string"},
            "status": {"enum": ["ok", "partial", "error"]},
            "data": {},
            "warnings": texts,
            "error": {"anyOf": [_object(error, strict=strict), {"type": "null"}]},
        },
        strict=strict,
    )


def _object(properties: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    closed = {"additionalProperties": False} if strict else {}
    return {"type": "object", "required": list(properties), "properties": properties, **closed}


class _Types:
    """Schemas of Python types; classes get a definition of their own, once."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self.defined: dict[str, Any] = {}
        self._named: dict[str, Any] = {}

    def of(self, hint: Any) -> dict[str, Any]:
        if isinstance(hint, AnyOf):
            return {"anyOf": [self.of(each) for each in hint.members]}
        if isinstance(hint, ListOf):
            return self._array((hint.item,))
        if isinstance(hint, Extended):
            return self._defined(hint.name, hint.base, hint.more)
        if hint in _BARE:
            return _BARE[hint]
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin is typing.Literal:
            return {"enum": list(arguments)}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if origin is not None:
            return self._array(arguments)
        if issubclass(hint, Enum):
            return {"enum": [each.value for each in hint]}
        return self._defined(_OTHER_NAMES.get(hint, hint.__name__), hint, {})

    def _array(self, arguments: tuple[Any, ...]) -> dict[str, Any]:
        if len(arguments) > 1 and arguments[1] is not Ellipsis:
            each = [self.of(argument) for argument in arguments]
            return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
        return {"type": "array", "items": self.of(arguments[0])}

    def _defined(self, name: str, hint: Any, more: dict[str, Any]) -> dict[str, Any]:
        if self._named.setdefault(name, hint) is not hint:
            raise TypeError(f"{hint} and {self._named[name]} have one name: give one of them another in _OTHER_NAMES")
        if name not in self.defined:
            self.defined[name] = {}  # it may hold itself
            keys = {**_hints(hint), **more}
            self.defined[name] = _object({key: self.of(each) for key, each in keys.items()}, strict=self._strict)
        return {"$ref": _ref(name)}


def _hints(hint: Any) -> dict[str, Any]:
    """The keys of a dataclass or TypedDict in their order, with their types. Some are known to type checkers only."""
    if not is_dataclass(hint) and not typing.is_typeddict(hint):
        raise TypeError(f"{hint} has no JSON form")
    names = [each.name for each in fields(hint)] if is_dataclass(hint) else list(hint.__annotations__)
    found = typing.get_type_hints(hint, localns=_FOR_TYPE_CHECKERS)
    return {each: found[each] for each in names}
