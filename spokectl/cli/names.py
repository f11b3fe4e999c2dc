"""What shell completion offers: the names that there are now.

Each function is Typer's `autocompletion`, of the shared options click's `shell_complete`. It may fail or hang:
`completion.complete` gives it a second and says nothing.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from spokectl.settings import stack_name, state_root

if TYPE_CHECKING:
    from spokectl.model import Stack

_ANSWER_WITHIN_S = 0.5
_ANSWER_BYTES = 8 << 20
Names = list[str]


def stacks(_: click.Context, __: click.Parameter, incomplete: str) -> Names:
    return _like(incomplete, sorted(each.name for each in state_root().iterdir() if each.is_dir()))


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def services(ctx: click.Context, incomplete: str) -> Names:
    """Those that do not stand on the line yet, where there may be several."""
    named = ctx.params.get("services") or ()
    return [each for each in _like(incomplete, _stack(ctx).services) if each not in named]


def postgres_nodes(ctx: click.Context, incomplete: str) -> Names:
    from spokectl.model import Kind

    return _like(incomplete, (each.name for each in _stack(ctx).of_kind(Kind.POSTGRES)))


def role_nodes(ctx: click.Context, incomplete: str) -> Names:
    """The nodes between which `switchover redis` or the like moves a role: the command's last word is their kind."""
    from spokectl.model import Kind

    return _like(incomplete, (each.name for each in _stack(ctx).of_kind(Kind(ctx.info_name or ""))))


def settings(ctx: click.Context, incomplete: str) -> Names:
    return _like(incomplete, sorted(_stack(ctx).settings))


def assignments(ctx: click.Context, incomplete: str) -> Names:
    return _like(incomplete, (f"{name}=" for name in sorted(_stack(ctx).settings)))


def drills(incomplete: str) -> Names:
    return _like(incomplete, drill_names())


def drill_names() -> Names:
    """Read in the catalog's text: importing it, with every client that drills use, would take longer than a person waits."""
    import re

    catalog = Path(__file__).parents[1] / "drills" / "catalog"
    texts = (each.read_text(encoding="utf-8") for each in sorted(catalog.glob("*.py")))
    return sorted(name for text in texts for name in re.findall(r'^@drill\(\s*"([^"]+)"', text, flags=re.MULTILINE))


def runs(ctx: click.Context, incomplete: str) -> Names:
    """Runs of drills, the last one first."""
    from spokectl.settings import StackState

    folder = StackState(stack_name(ctx.params.get("stack"))).drills
    return _like(incomplete, sorted((each.name for each in folder.iterdir() if each.is_dir()), reverse=True))


def modules(ctx: click.Context, incomplete: str) -> Names:
    return _like(incomplete, (each["name"] for each in _listed(ctx)))


def versions(ctx: click.Context, incomplete: str) -> Names:
    """Of the module that stands before, as the registry lists them."""
    of_module = (each["versions"] for each in _listed(ctx) if each["name"] == ctx.params["module"])
    return _like(incomplete, ["latest", *(version["version"] for found in of_module for version in found)])


def subjects(ctx: click.Context, incomplete: str) -> Names:
    """Topics and commands, for `help`; behind a noun its verbs."""
    from spokectl.cli.topics import TOPICS

    context = ctx.find_root()
    command: click.Command | None = context.command
    words = ctx.params.get("words") or ()
    for word in words:
        command = command.get_command(context, word) if isinstance(command, click.Group) else None
    known = command.list_commands(context) if isinstance(command, click.Group) else []
    return _like(incomplete, [*known, *(TOPICS if not words else ())])


def _like(incomplete: str, names: Iterable[str]) -> Names:
    return [each for each in names if each.startswith(incomplete)]


def _stack(ctx: click.Context) -> "Stack":
    from spokectl.operations.context import open_stack

    file = ctx.params.get("file") or os.environ.get("SPOKECTL_FILE")
    return open_stack(stack_name(ctx.params.get("stack")), Path(file).absolute() if file else None)


def _listed(ctx: click.Context) -> list[dict[str, Any]]:
    """The registry's modules, by the standard library: the commands' own client takes longer to import than to ask."""
    import json
    from urllib.parse import urlsplit

    from spokectl.clients.probe import get
    from spokectl.operations.registry import address_of

    url = ctx.params.get("url") or os.environ.get("SPOKECTL_URL")
    if ctx.params.get("stack") and not ctx.params.get("url"):
        url = None
    where = urlsplit(url or address_of(_stack(ctx)))
    path = f"{where.path.rstrip('/')}/modules"
    answer = get(where.hostname or "", where.port or 80, path, timeout_s=_ANSWER_WITHIN_S, limit_bytes=_ANSWER_BYTES)
    found: list[dict[str, Any]] = json.loads(answer.body)
    return found
