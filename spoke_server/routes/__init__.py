"""The API's addresses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeAlias

from starlette.requests import Request
from starlette.types import ASGIApp

from spoke_server.routes import modules, versions

Handler: TypeAlias = Callable[[Request], Awaitable[ASGIApp]]


class Route(NamedTuple):
    """An address with its parameters, and what each method does there."""

    template: str
    handlers: Mapping[str, Handler]

    @property
    def allow(self) -> str:
        """The methods, for the header Allow."""
        return ", ".join(sorted({*self.handlers, *(["HEAD"] if "GET" in self.handlers else [])}))


_MODULES = Route("/modules", {"GET": modules.list_modules, "POST": modules.create_module})
_MODULE = Route(
    "/modules/{module}",
    {
        "GET": modules.get_module,
        "PUT": modules.put_module,
        "PATCH": modules.patch_module,
        "DELETE": modules.delete_module,
    },
)
_VERSIONS = Route("/modules/{module}/versions", {"GET": versions.list_versions, "POST": versions.push_version})
_VERSION = Route("/modules/{module}/versions/{version}", {"GET": versions.get_version, "DELETE": versions.delete_version})
_FILE = Route("/modules/{module}/versions/{version}/files/{path}", {"GET": versions.get_file})

ROUTES = (_MODULES, _MODULE, _VERSIONS, _VERSION, _FILE)


def resolve(path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a path and its parameters; a file's path may span segments. Costs less than matching patterns."""
    match path.split("/", 6):
        case ["", "modules"]:
            return _MODULES, {}
        case ["", "modules", module] if module:
            return _MODULE, {"module": module}
        case ["", "modules", module, "versions"]:
            return _VERSIONS, {"module": module}
        case ["", "modules", module, "versions", version] if version:
            return _VERSION, {"module": module, "version": version}
        case ["", "modules", module, "versions", version, "files", file] if file:
            return _FILE, {"module": module, "version": version, "path": file}
    return None
