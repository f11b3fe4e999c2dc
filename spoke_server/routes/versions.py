"""/modules/{name}/versions and what is below."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from spoke_server import body, registry
from spoke_server.errors import module_not_found, version_not_found
from spoke_server.registry import LATEST
from spoke_server.routes import answers, requests
from spoke_server.routes.services import services
from spoke_server.storage.reads import VersionName


async def list_versions(request: Request) -> ASGIApp:
    """A module's versions with their files, newest first."""
    name = _module(request)
    limit, cursor = requests.page(request.query_params)
    deleted = requests.flag(request.query_params, "deleted")
    return answers.from_page(request, await services(request).catalog.versions(name, limit, cursor, deleted=deleted))


async def push_version(request: Request) -> ASGIApp:
    """Adds a version."""
    server = services(request)
    deadline = requests.deadline(request, server.settings)
    name = _module(request)
    new = body.parse_version(name, await requests.read_body(request, server.settings))
    stored = await requests.carry_out(request, server.publisher.push(new, deadline))
    return Response(stored.body, 201, {"etag": f'"{stored.digest}"'}, answers.JSON)


async def get_version(request: Request) -> ASGIApp:
    """A version with its files; `latest` is the highest one."""
    name, server = _version(request, allow_latest=True), services(request)
    if request.scope["query_string"] and requests.flag(request.query_params, "deleted"):
        deleted = await server.catalog.deleted_version(name)
        headers = {"cache-control": "no-cache", "x-spoke-cache": "miss"}
        return Response(deleted, headers=headers, media_type=answers.JSON)
    if name.version == LATEST:
        return answers.from_version(request, await server.catalog.latest(name.module), immutable=False)
    return answers.from_version(request, await server.catalog.version(name))


async def delete_version(request: Request) -> ASGIApp:
    """Hides a version, or removes it for good."""
    server = services(request)
    deadline = requests.deadline(request, server.settings)
    name = _version(request, allow_latest=False)
    permanent = requests.flag(request.query_params, "permanent")
    await requests.carry_out(request, server.publisher.delete_version(name, deadline, permanent=permanent))
    return Response(status_code=204)


async def get_file(request: Request) -> ASGIApp:
    """One file of a version."""
    name = _version(request, allow_latest=True)
    found = await services(request).catalog.file(name, request.path_params["path"])
    return answers.from_version(request, found, immutable=name.version != LATEST)


def _module(request: Request) -> str:
    name: str = request.path_params["module"]
    if not registry.is_module_name(name):
        raise module_not_found(name)
    return name


def _version(request: Request, *, allow_latest: bool) -> VersionName:
    """The version that the address names; a name that no version can have is simply not found."""
    module, version = request.path_params["module"], request.path_params["version"]
    known = registry.is_version_name(version) or (allow_latest and version == LATEST)
    if not known or not registry.is_module_name(module):
        raise version_not_found(module, version)
    return VersionName(module, version)
