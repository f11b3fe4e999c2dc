"""`modules`: named sets of Protobuf files in the registry."""

import sys
from typing import Annotated

import typer

from spokectl.cli import names
from spokectl.cli.command import Answer, Command, noun
from spokectl.cli.confirmation import confirm
from spokectl.cli.registry import TIMEOUT_S, Deleted, Permanent, Timeout, Url, Yes, target
from spokectl.cli.stdin import text_argument
from spokectl.operations import modules
from spokectl.operations.registry import word
from spokectl.output.registry import print_module, print_modules

app = noun("Modules: named sets of .proto files, in immutable versions.")

_PAGE = 100

Name = Annotated[str, typer.Argument(metavar="NAME", autocompletion=names.modules, show_default=False)]
NewName = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


@app.command("list", cls=Command)
def listed(
    deleted: Deleted = False,
    limit: Annotated[int | None, typer.Option(metavar="N", help="One page of N modules instead of all of them.")] = None,
    cursor: Annotated[str | None, typer.Option(metavar="C", help="The page after the one that gave this cursor.")] = None,
    url: Url = None,
    timeout: Timeout = TIMEOUT_S,
) -> Answer:
    """List all modules by name.

    \b
    Examples:
      spokectl modules list
      spokectl modules list --json | jq -r '.data[].name'
      spokectl modules list --limit 100

    With --limit or --cursor the data of --json is a page: {"modules": [...], "next_cursor": ...}.
    """
    registry = target(url, timeout)
    if limit is None and cursor is None:
        result = modules.listed(registry, deleted=deleted)
        create = registry.command("modules create NAME -d 'What it is for'")
        empty = f"There are no modules. Make one: {create}"
        return Answer(result, text=print_modules, notes=[] if result.data else [empty])
    limit = _PAGE if limit is None else limit
    result = modules.page(registry, deleted=deleted, limit=limit, cursor=cursor)
    following = result.data.next_cursor
    next_page = registry.command(f"modules list --limit {limit} --cursor {word(following or '')}")
    return Answer(
        result, text=lambda page: print_modules(page.modules), notes=[f"There are more: {next_page}"] if following else []
    )


@app.command("create", cls=Command)
def create(
    name: NewName,
    description: Annotated[
        str, typer.Option("--description", "-d", metavar="TEXT", help="What it is for; - reads standard input.")
    ] = "",
    url: Url = None,
    timeout: Timeout = TIMEOUT_S,
) -> Answer:
    """Create a module. Again with the same description is no error; a deleted module comes back.

    \b
    Examples:
      spokectl modules create payments -d 'Payment messages'
      spokectl modules create payments -d - < description.txt
    """
    registry = target(url, timeout)
    result = modules.create(registry, name, text_argument(description))
    push = registry.command(f"versions push {word(name)} v1.0.0 ./protos")
    return Answer(
        result,
        text=lambda module: _print_line(module.name),
        notes=[f"The module {word(name)} is there. Next: {push}"],
    )


@app.command("get", cls=Command)
def get(name: Name, url: Url = None, timeout: Timeout = TIMEOUT_S) -> Answer:
    """Show a module and the names of its versions.

    \b
    Examples:
      spokectl modules get payments
      spokectl modules get payments --json | jq -r .data.latest
    """
    return Answer(modules.get(target(url, timeout), name), text=print_module)


@app.command("update", cls=Command)
def update(
    name: Name,
    description: Annotated[
        str, typer.Option("--description", "-d", metavar="TEXT", help="The new description; - reads standard input.")
    ],
    url: Url = None,
    timeout: Timeout = TIMEOUT_S,
) -> Answer:
    """Change a module's description.

    \b
    Examples:
      spokectl modules update payments -d 'Payments and refunds'
    """
    result = modules.update(target(url, timeout), name, text_argument(description))
    return Answer(result, notes=[f"The module {word(name)} has its new description."])


@app.command("delete", cls=Command)
def delete(
    name: Name, permanent: Permanent = False, yes: Yes = False, url: Url = None, timeout: Timeout = TIMEOUT_S
) -> Answer:
    """Hide a module with its versions; --permanent removes them for good. It asks first.

    \b
    Examples:
      spokectl modules delete payments
      spokectl modules delete payments --permanent --yes
    """
    question = (
        f"Remove the module {word(name)} and all its versions for good" if permanent else f"Delete the module {word(name)}"
    )
    confirm(question, name, type_name=permanent, yes=yes)
    registry = target(url, timeout)
    result = modules.delete(registry, name, permanent=permanent)
    create = registry.command(f"modules create {word(name)}")
    back = "for good" if permanent else f"({create} with its description brings it back)"
    return Answer(result, notes=[f"The module {word(name)} is deleted {back}."])


def _print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
