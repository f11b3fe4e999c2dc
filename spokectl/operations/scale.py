"""How many Spokes a stack has, as an override of its file: pure rules, no I/O."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spokectl.errors import UsageError

MAX_SPOKES = 16
_NAME = re.compile(r"(?P<stem>.*?)(?P<number>\d+)\Z")
_PORT_VARIABLE = re.compile(r"\$\{(?P<stem>\w*?_)(?P<number>\d+)(?P<tail>_\w*PORT):-(?P<default>\d+)\}")


@dataclass(frozen=True)
class Scaled:
    """A number of Spokes that `scale` and `up --spokes` keep, and the number that the stack file has."""

    spokes: int
    in_file: int


def spokes_of(services: Mapping[str, dict[str, Any]]) -> list[str]:
    """The names of the Spokes among the services as they stand in a file."""
    return [name for name, raw in services.items() if _label(raw, "spokectl.kind") == "spoke"]


def require_count(count: int) -> None:
    """UsageError (`bad_count`) for a number of Spokes that no stack can have."""
    if not 1 <= count <= MAX_SPOKES:
        raise UsageError("bad_count", f"{count} Spokes: expected a number from 1 to {MAX_SPOKES}")


def override_for(services: Mapping[str, dict[str, Any]], count: int) -> dict[str, Any]:
    """The services of an override file that makes `count` Spokes of the ones in the stack file; empty when nothing changes.

    More are made like the first one, with the next numbers and ports; fewer are taken from the end. The load balancer's
    `SPOKE_BACKENDS` follows. UsageError when `count` is out of bounds or the first Spoke's name has no number.
    """
    require_count(count)
    spokes = spokes_of(services)
    balancers = [name for name, raw in services.items() if _label(raw, "spokectl.kind") == "load-balancer"]
    if count == len(spokes):
        return {}
    override: dict[str, Any] = {name: {"scale": 0} for name in spokes[count:]}
    kept = spokes[:count]
    for name in _new_names(spokes, count):
        override[name] = _like(services[spokes[0]], spokes[0], name)
        kept.append(name)
    for balancer in balancers:
        port = _first_backend_port(services[balancer])
        override[balancer] = {"environment": {"SPOKE_BACKENDS": " ".join(f"{name}:{port}" for name in kept)}}
    return override


def port_settings_for(services: Mapping[str, dict[str, Any]], values: Mapping[str, int], new: str) -> dict[str, str]:
    """The published ports of a new Spoke: those of the first one, moved by the distance of their numbers."""
    first = spokes_of(services)[0]
    distance = _number(new) - _number(first)
    settings = {}
    for text in services[first]["ports"]:
        match = _PORT_VARIABLE.search(str(text))
        if match is not None and match[0][2:].split(":")[0] in values:
            name = match[0][2:].split(":")[0]
            settings[f"{match['stem']}{_number(new)}{match['tail']}"] = str(values[name] + distance)
    return settings


def _new_names(spokes: list[str], count: int) -> list[str]:
    if count <= len(spokes):
        return []
    match = _NAME.match(spokes[0]) if spokes else None
    if match is None:
        raise UsageError("cannot_scale", "the stack file has no Spoke whose name ends in a number to make more like it")
    highest = max(_number(name) for name in spokes)
    return [f"{match['stem']}{highest + step}" for step in range(1, count - len(spokes) + 1)]


def _like(raw: dict[str, Any], first: str, name: str) -> dict[str, Any]:
    """The first Spoke's definition under another name: container, node name and published ports follow."""
    made = dict(raw)
    distance = _number(name) - _number(first)
    if "container_name" in made:
        made["container_name"] = re.sub(r"\d+\Z", str(_number(name)), str(made["container_name"]))
    made["environment"] = made["environment"] | {"SPOKE_NODE": name}
    made["ports"] = [_PORT_VARIABLE.sub(lambda match: _moved(match, name, distance), str(p)) for p in made["ports"]]
    return made


def _moved(match: re.Match[str], name: str, distance: int) -> str:
    return f"${{{match['stem']}{_number(name)}{match['tail']}:-{int(match['default']) + distance}}}"


def _number(name: str) -> int:
    match = _NAME.match(name)
    return int(match["number"]) if match else 0


def _first_backend_port(balancer: dict[str, Any]) -> str:
    backends = str(balancer["environment"].get("SPOKE_BACKENDS", "")).split()
    return backends[0].rpartition(":")[2] if backends else "8080"


def _label(raw: dict[str, Any], name: str) -> str:
    return str(raw["labels"].get(name, ""))
