"""/modules and /modules/{name}."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from spoke_server import body, registry
from spoke_server.errors import module_not_found
from spoke_server.registry import check_module_name
from spoke_server.routes import answers, requests
from spoke_server.routes.services import services


async def list_modules(request: Request) -> ASGIApp:
    """All modules by name, each with its versions but without files."""
    limit, cursor = requests.page(request.query_params)
    deleted = requests.flag(request.query_params, "deleted")
    return answers.from_page(request, await services(request).catalog.modules(limit, cursor, deleted=deleted))


async def create_module(request: Request) -> ASGIApp:
    """Makes a module."""
    server = services(request)
    deadline = requests.deadline(request, server.settings)
    new = body.parse_module(await requests.read_body(request, server.settings))
    module = await requests.carry_out(request, server.publisher.create_module(new, deadline))
    return Response(module, 201, media_type=answers.JSON)


async def get_module(request: Request) -> ASGIApp:
    """A module with its versions and their files."""
    name, server = request.path_params["module"], services(request)
    _refuse_unknown_name(name)
    if requests.flag(request.query_params, "deleted"):
        return answers.from_module(request, await server.catalog.deleted_module(name))
    return answers.from_module(request, await server.catalog.module(name))


async def put_module(request: Request) -> ASGIApp:
    """Makes a module or changes its description."""
    server = services(request)
    deadline = requests.deadline(request, server.settings)
    name = check_module_name(request.path_params["module"])
    description = body.parse_description(await requests.read_body(request, server.settings))
    write = server.publisher.put_module(name, description or "", deadline)
    module, created = await requests.carry_out(request, write)
    return Response(module, 201 if created else 200, media_type=answers.JSON)


async def patch_module(request: Request) -> ASGIApp:
    """Changes the description of a module that is there."""
    name, server = request.path_params["module"], services(request)
    deadline = requests.deadline(request, server.settings)
    _refuse_unknown_name(name)
    description = body.parse_description(await requests.read_body(request, server.settings))
    module = await requests.carry_out(request, server.publisher.patch_module(name, description, deadline))
    return Response(module, media_type=answers.JSON)


async def delete_module(request: Request) -> ASGIApp:
    """Hides a module, or removes it for good."""
    name, server = request.path_params["module"], services(request)
    deadline = requests.deadline(request, server.settings)
    _refuse_unknown_name(name)
    permanent = requests.flag(request.query_params, "permanent")
    await requests.carry_out(request, server.publisher.delete_module(name, deadline, permanent=permanent))
    return Response(status_code=204)


def _refuse_unknown_name(name: str) -> None:
    """A name that no module can have is simply not found, without asking."""
    if not registry.is_module_name(name):
        raise module_not_found(name)
