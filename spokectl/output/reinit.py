"""How a person reads that a node's data is replaced: what is found, what would be lost, how it ended."""

import sys

from spokectl.operations.postgres.reinit import ReinitData
from spokectl.output.moves import print_checks, refused_for
from spokectl.output.streams import print_table
from spokectl.settings import command_line
from spokectl.units import human_bytes

_STEPS = (
    "its guard stops the server and saves WAL that only this node has, where it can be read (data.divergent-TIME)",
    "pg_basebackup copies the primary's data into a new directory (data.new)",
    "the new directory takes the place of the old one, which is deleted",
    "the server starts as a standby; commits wait for it again once it has everything",
)


def print_reinit(data: ReinitData) -> None:
    if data.outcome == "planned":
        sys.stdout.write(f"reinit {data.node} from {data.primary or 'nobody'} (nothing is changed by --dry-run)\n\n")
        print_checks(data.checks)
        for line in loss_lines(data):
            sys.stdout.write(f"\n{line}")
        sys.stdout.write("\n")
        for number, sentence in enumerate(_STEPS, 1):
            sys.stdout.write(f"{number}. {sentence}\n")
        return
    size = "" if data.copied_bytes is None else human_bytes(data.copied_bytes)
    print_table(["NODE", "FROM", "COPIED", "SECONDS", "MODE"], [[data.node, data.primary, size, data.seconds, data.mode]])


def loss_lines(data: ReinitData) -> list[str]:
    """What goes with the data of the node, before anybody agrees to it."""
    if not data.guard:
        return []
    lines = [f"The guard of {data.node} says: {data.guard}"]
    if data.divergent is not None:
        lines += [
            f"Only {data.node} has {data.divergent.sentence}.",
            "It is saved beside the data before that goes, but no server will have these writes any more.",
        ]
    return lines


def reinit_notes(stack: str, data: ReinitData) -> list[str]:
    if data.outcome == "planned":
        words = f"postgres reinit {data.node}" + (" --discard" if data.guard else "")
        bad = [check for check in data.checks if not check.ok]
        return [refused_for(bad)] if bad else [f"Do it: {command_line(stack, words)}"]
    notes = [f"{data.node} is a standby of {data.primary} with a fresh copy of its data."]
    if data.divergent is not None:
        notes.append(f"Only it had {data.divergent.sentence}: kept on it, in {data.divergent.kept_in}.")
    return notes
