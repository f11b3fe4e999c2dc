"""How a person reads a move of a role: what was measured, what is done, how it ended."""

import sys
from collections.abc import Sequence

from spokectl.operations.moves import Check, MoveData
from spokectl.operations.steps import Taken
from spokectl.output.streams import print_table
from spokectl.printable import printable
from spokectl.settings import command_line

_DATA_LOSS = "data loss"  # the check of PostgreSQL's failover which `--allow-data-loss` overrules


def print_move(data: MoveData) -> None:
    if data.outcome == "planned":
        _print_plan(data)
    elif data.steps:
        print_steps(data.steps)


def print_steps(steps: Sequence[Taken]) -> None:
    print_table(["STEP", "SECONDS", "WHAT"], [[each.step, f"{each.seconds:.2f}", each.sentence] for each in steps])


def print_checks(checks: Sequence[Check]) -> None:
    rows = [["✓" if check.ok else "✗", check.name, check.found, "" if check.ok else check.remedy] for check in checks]
    print_table(["", "PRECONDITION", "FOUND", "REMEDY"], rows)


def _print_plan(data: MoveData) -> None:
    sys.stdout.write(f"{data.operation}: {data.old} -> {data.new} (nothing is changed by --dry-run)\n")
    sys.stdout.write(f"{data.because}\n\n" if data.because else "\n")
    print_checks(data.checks)
    for sign in data.signs_of_death:
        sys.stdout.write(f"sign of death: {printable(sign)}\n")
    sys.stdout.write("\n")
    for number, step in enumerate(data.plan, 1):
        sys.stdout.write(f"{number}. {step.sentence}\n")
        for command in step.commands:
            sys.stdout.write(f"     {printable(command)}\n")
        if step.undone:
            sys.stdout.write(f"     undone, if it or a later step fails: {data.old} takes writes again\n")
        if step.point_of_no_return:
            sys.stdout.write("   ── the point of no return: from here on it only goes forward ──\n")
    sys.stdout.flush()


def refusal(stack: str, data: MoveData, *, allow_data_loss: bool) -> str:
    """That what --dry-run has planned would be refused, and for which checks; empty when it would not."""
    bad = [check for check in data.checks if not check.ok and not (allow_data_loss and check.name == _DATA_LOSS)]
    if data.outcome != "planned" or not bad:
        return ""
    line = refused_for(bad)
    if _DATA_LOSS not in [check.name for check in bad]:
        return line
    without, accepting = (
        command_line(stack, words) for words in (f"start {data.old}", f"{data.operation} --allow-data-loss")
    )
    return f"{line} Nothing is lost where the old primary can be started (`{without}`); else `{accepting}` is needed."


def refused_for(bad: Sequence[Check]) -> str:
    """That a plan would be refused, and why: what was to hold, and how it was found."""
    found = "; ".join(f"{each.name} ({printable(each.found)})" for each in bad)
    return f"It would be refused, for this does not hold: {found}."


def loss_lines(data: MoveData) -> list[str]:
    """What a planned failover would lose; none when that is nothing."""
    found = [check for check in data.checks if check.name == _DATA_LOSS]
    if data.bytes_at_risk == 0 and all(check.ok for check in found):
        return []
    return [f"Would be lost: {printable(check.found)}." for check in found]


def move_notes(stack: str, data: MoveData) -> list[str]:
    """What to type next, after a plan that would not be refused; else how the move ended."""
    if data.outcome == "planned":
        words = data.operation + ("" if data.bytes_at_risk == 0 else " --allow-data-loss")
        return ["", f"Do it: {command_line(stack, words)}"]
    first, second = ("master", "replica") if data.operation.endswith("redis") else ("primary", "standby")
    if data.outcome == "finished":
        # Nothing was broken off where there are signs: the Sentinels had been faster.
        begun = "The failover that the Sentinels made" if data.signs_of_death else "The move that was broken off"
        return [f"{begun} is finished: {data.new} is {first}, {data.old} its {second}."]
    stood = "" if data.write_gap_s is None else f" {_since(data.operation)} {data.write_gap_s:.2f} s."
    kept = data.divergent
    lost = [f"Only {kept.node} had {kept.sentence}: kept on it, in {kept.kept_in}."] if kept else []
    return [f"{data.new} is {first}, {data.old} is its {second}.{stood}", *lost]


def _since(operation: str) -> str:
    # Before a failover they stood still already, who knows for how long.
    return "Writes went on after" if operation.startswith("failover") else "Writes stood still for at most"
