"""What a service of the stack file sees when it runs natively. Pure: a stack and places in, values out.

Containers have names, ports and paths of their own; natively there is one address, one set of ports and one file system:

- an address `service:port` becomes the published address,
- a variable named `…_PORT` that holds one of the service's own container ports becomes the published port,
- the value `0.0.0.0` becomes the address that the service's ports are published on,
- a path at or below a volume's mount point becomes the native folder or file.
"""

import re
from collections.abc import Callable, Collection
from pathlib import Path

from spokectl.model import Kind, Mount, Service, Stack

_ADDRESS = re.compile(r"(?<![\w.:-])(?P<service>[A-Za-z0-9][\w.-]*):(?P<port>\d{1,5})(?![\w.])")
# A password may look like anything, also like an address.
_VERBATIM = re.compile(r"(_PASSWORD|_SECRET_KEY|_ACCESS_KEY)\Z")
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where others reach a server that listens everywhere


class Translator:
    """Translates the services of one stack. `volume_folder` says where a named volume lies."""

    def __init__(self, stack: Stack, volume_folder: Callable[[str], Path], left_out: Collection[str] = ()) -> None:
        self._stack = stack
        self._volume_folder = volume_folder
        self._left_out = left_out
        self._published = {
            (service.name, port.target): _address(port.host, port.published)
            for service in stack.services.values()
            for port in service.ports
        }

    def environment(self, service: Service) -> dict[str, str]:
        """The service's environment with native values, and SPOKE_ADDRESSES beside it."""
        values = {name: self._value(service, name, value) for name, value in service.environment.items()}
        if self._traces_to_nobody(service):
            values["SPOKE_OTEL_ENABLED"] = "false"
        values["SPOKE_ADDRESSES"] = self.addresses()
        return values

    def command(self, service: Service) -> list[str]:
        """The service's extra arguments, addresses and paths made native."""
        return [self._text(service, word) for word in service.command]

    def addresses(self) -> str:
        """`name:port=127.0.0.1:published` of every published port, so that a script can find names and sibling ports."""
        return " ".join(f"{name}:{target}={address}" for (name, target), address in self._published.items())

    def folder(self, mount: Mount) -> Path:
        """Where a mount's source lies natively."""
        if mount.named:
            return self._volume_folder(mount.source)
        return (self._stack.folder / Path(mount.source).expanduser()).absolute()

    def path(self, service: Service, path: str) -> Path:
        """The native place of a path inside the service's container; a path outside its volumes stays what it is."""
        return Path(self._path(service, path))

    def _value(self, service: Service, name: str, value: str) -> str:
        if _VERBATIM.search(name):
            return value
        if name.endswith("_PORT") and value.isdecimal():
            return next((str(port.published) for port in service.ports if port.target == int(value)), value)
        if value in _EVERYWHERE:
            return bind_address(service)
        return self._text(service, value)

    def _text(self, service: Service, text: str) -> str:
        if text.startswith("/"):
            return self._path(service, text)
        return _ADDRESS.sub(self._published_address, text)

    def _published_address(self, match: re.Match[str]) -> str:
        return self._published.get((match["service"], int(match["port"])), match[0])

    def _path(self, service: Service, path: str) -> str:
        for mount in sorted(service.mounts, key=lambda mount: len(mount.target), reverse=True):
            target = mount.target.rstrip("/")
            if path.rstrip("/") == target or path.startswith(target + "/"):
                return str(self.folder(mount)) + path.rstrip("/")[len(target) :]
        return path

    def _traces_to_nobody(self, service: Service) -> bool:
        """Whether the service would send its telemetry to a collector that does not run here."""
        endpoint = service.environment.get("SPOKE_OTEL_ENDPOINT", "")
        return "SPOKE_OTEL_ENABLED" in service.environment and any(
            match["service"] in self._left_out for match in _ADDRESS.finditer(endpoint)
        )


def bind_address(service: Service) -> str:
    """The address a service's processes listen on: the one its first port is published on."""
    return service.ports[0].host if service.ports else "127.0.0.1"


def _address(host: str, port: int) -> str:
    host = _EVERYWHERE.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def runs_unprivileged(service: Service) -> bool:
    """Whether part of the service gives up root's rights, so that its folders must let another user pass."""
    return service.kind in {Kind.POSTGRES, Kind.LOAD_BALANCER}
