"""What an operator does with modules: named sets of files, in versions."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spokectl.errors import UsageError
from spokectl.operations.registry import Target, connect, every, hints, word
from spokectl.printable import quoted
from spokectl.result import Result

if TYPE_CHECKING:
    from spokectl.clients.registry_answers import Module

MODULE_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,254}\Z", re.ASCII)
_PAGE = 500
_SEE_MODULES = "modules list"


@dataclass(frozen=True)
class ModulePage:
    """Some modules by name; `next_cursor` asks for those after them."""

    modules: "list[Module]"
    next_cursor: str | None


@dataclass(frozen=True)
class Deletion:
    """What is deleted. Unless `permanent`, pushing or creating the same again brings it back."""

    module: str
    version: str | None
    permanent: bool
    deleted: bool = True


def listed(target: Target, *, deleted: bool) -> Result:
    """All modules by name."""
    with connect(target) as registry:
        pages = every(lambda cursor: registry.modules(deleted=deleted, limit=_PAGE, cursor=cursor))
        return Result(list(pages))


def page(target: Target, *, deleted: bool, limit: int, cursor: str | None) -> Result:
    """At most `limit` modules by name, after those of the page that gave the cursor."""
    if limit < 1:
        raise UsageError("bad_value", "--limit: a page has at least 1 module")
    with connect(target) as registry:
        found = registry.modules(deleted=deleted, limit=limit, cursor=cursor)
    return Result(ModulePage(found.items, found.next_cursor))


def create(target: Target, name: str, description: str) -> Result:
    """Makes a module. With the same description again it is no error; a deleted one comes back."""
    check_module_name(name)
    with connect(target) as registry, hints(module_exists=target.command(f"modules update {word(name)} -d TEXT")):
        return Result(registry.create_module(name, description))


def get(target: Target, name: str) -> Result:
    with connect(target) as registry, hints(module_not_found=target.command(_SEE_MODULES)):
        return Result(registry.module(name))


def update(target: Target, name: str, description: str) -> Result:
    """Changes the description of a module that exists."""
    with connect(target) as registry, hints(module_not_found=target.command(_SEE_MODULES)):
        return Result(registry.describe_module(name, description))


def delete(target: Target, name: str, *, permanent: bool) -> Result:
    """Hides a module with its versions, or removes it for good."""
    with connect(target) as registry, hints(module_not_found=target.command(_SEE_MODULES)):
        registry.delete_module(name, permanent=permanent)
    return Result(Deletion(name, None, permanent))


def check_module_name(name: str) -> None:
    """UsageError (`bad_name`) when no module can have this name: said before anything is read or sent."""
    if not MODULE_NAME.match(name):
        raise UsageError(
            "bad_name",
            f"{quoted(name)} cannot name a module: a lower-case letter first, then up to 254 of a-z 0-9 _ . -",
        )
