"""How a person reads what the doctor found, and what is in a report."""

import sys
from typing import TYPE_CHECKING

from spokectl.operations.doctor.examine import Examined
from spokectl.operations.doctor.findings import Checked, Finding, Verdict
from spokectl.output.streams import bold, columns_of, lone_row, print_table
from spokectl.printable import printable
from spokectl.units import human_bytes

if TYPE_CHECKING:
    from spokectl.operations.report import Report

_SYMBOLS = {Verdict.OK: "✓", Verdict.NOT_CHECKED: "–", Verdict.WARNING: "!", Verdict.PROBLEM: "✗"}
_TITLES = {"machine": "The machine", "stack": "The stack", "servers": "Its servers"}
_WIDTHS = (13, 14)
_REMEDY_WIDTHS = (13, 16)


def print_examined(data: Examined) -> None:
    """A block for each group of checks: a line a finding, and below what is not ok why it matters and what mends it."""
    for done in data.fixed:
        sys.stdout.write(f"mended: {printable(done)}\n")
    before = None
    for checked in data.checks:
        if before is None or checked.group != before.group:
            sys.stdout.write("\n" if before or data.fixed else "")
            sys.stdout.write(bold(_TITLES[checked.group]) + "\n")
            before = None
        _print_checked(checked, before)
        before = checked


def _print_checked(checked: Checked, before: Checked | None) -> None:
    """A reason that kept several checks from it one after the other is said once."""
    again = before is not None and checked.verdict is Verdict.NOT_CHECKED and checked.findings == before.findings
    for finding in checked.findings:
        found = "as above" if again else " ".join(finding.found.split())
        _write([f"{_SYMBOLS[finding.verdict]} {finding.verdict.words}", checked.check, found])
        if finding.verdict in {Verdict.WARNING, Verdict.PROBLEM}:
            _print_remedy(finding)


def _print_remedy(finding: Finding) -> None:
    if finding.why:
        _write(["", "", f"why: {finding.why}"], _REMEDY_WIDTHS)
    for action in finding.actions:
        _write(["", "", f"try: {action}"], _REMEDY_WIDTHS)


def _write(cells: list[str], widths: tuple[int, int] = _WIDTHS) -> None:
    for line in lone_row([printable(cell) for cell in cells], widths, columns_of(sys.stdout)):
        sys.stdout.write(line + "\n")


def print_report(data: "Report") -> None:
    rows = [[part.name, human_bytes(part.size_bytes), part.secrets_replaced] for part in data.parts]
    print_table(["FILE", "SIZE", "SECRETS REPLACED"], rows)
    sys.stdout.write(f"\n{printable(data.file)}: {human_bytes(data.size_bytes)}, {data.secrets_replaced} secrets replaced\n")
