"""How a person reads another number of Spokes: the plan, and what came of it."""

import sys

from spokectl.operations.scaling import ScaleData
from spokectl.output.streams import print_table
from spokectl.settings import command_line


def print_scale(data: ScaleData) -> None:
    """The plan of a dry run; after a change where the new Spokes answer."""
    if data.outcome == "planned":
        sys.stdout.write(f"scale: {len(data.before)} -> {len(data.after)} Spokes (nothing is changed by --dry-run)\n\n")
        for number, step in enumerate(data.plan or ["nothing: they run already"], 1):
            sys.stdout.write(f"{number}. {step}\n")
        sys.stdout.write(f"\n{_connections(data)}\n")
    elif data.endpoints:
        print_table(["SERVICE", "WHAT", "ADDRESS"], [[p.service, p.name, p.url] for p in data.endpoints])


def scaled_notes(data: ScaleData) -> list[str]:
    """What came of it, and what to type next."""
    count = len(data.after)
    if data.outcome == "planned":
        return ["", f"Do it: {command_line(data.stack, f'scale {count}')}"]
    kept = f"kept for this stack; the stack file has {data.scaled.in_file}" if data.scaled else "as the stack file has"
    if data.outcome == "unchanged":
        return [f"Spokes: {count}, as before ({kept})."]
    changes = [f"{verb}: {', '.join(names)}" for verb, names in (("new", data.added), ("gone", data.removed)) if names]
    said = "; ".join([*changes, kept])
    return [f"Spokes: {count} ({said}).", _connections(data), f"See: {command_line(data.stack, 'lb status')}"]


def _connections(data: ScaleData) -> str:
    found = data.connections
    limit = "" if found.allowed is None else f" of the {found.allowed} that PostgreSQL allows ({found.beside} are kept free)"
    return f"Their pools may open {found.wanted} connections{limit}."
