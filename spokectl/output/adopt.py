"""How a person reads which node has what, for a choice between them, and how an adoption ended."""

import sys

from spokectl.operations.postgres.adopt import AdoptData
from spokectl.output.moves import print_steps
from spokectl.output.streams import columns_of, table
from spokectl.printable import printable


def choice_lines(data: AdoptData) -> list[str]:
    """What each node has, and what speaks against the chosen one."""
    rows = [
        [
            node.name,
            node.service,
            node.role or node.state,
            node.system_identifier,
            node.timeline,
            node.lsn,
            node.time.replace("T", " ").partition(".")[0],
        ]
        for node in data.nodes
    ]
    lines = table(
        ["NODE", "SERVICE", "GUARD SAYS", "SYSTEM IDENTIFIER", "TIMELINE", "WAL ENDS AT", "AS OF (UTC)"],
        rows,
        columns_of(sys.stderr),
    )
    return [*lines, *(printable(f"warning: {doubt}") for doubt in data.doubts)]


def print_adopt(data: AdoptData) -> None:
    print_steps(data.steps)


def adopt_notes(data: AdoptData) -> list[str]:
    notes = [f"The cluster record names {data.node}: it is primary, {data.other} is its standby."]
    if data.divergent is not None:
        notes.append(f"Only {data.other} had {data.divergent.sentence}: kept on it, in {data.divergent.kept_in}.")
    return notes
