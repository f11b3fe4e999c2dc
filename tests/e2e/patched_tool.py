"""Runs spokectl with a safeguard of the failover taken out, to see whether a drill notices.

usage: patched_tool.py unfenced WORDS...
unfenced: the old primary is not put down before the record names another, nor before that one is promoted.
"""

import sys
from dataclasses import replace

from spokectl.cli.app import run
from spokectl.operations.postgres import tables
from spokectl.operations.postgres.move import Move
from spokectl.operations.steps import Step
from spokectl.wait import Deadline


def _nothing(move: Move, deadline: Deadline) -> None:
    """In place of a step that is left out."""


def _unfenced(step: Step[Move]) -> Step[Move]:
    if step.id in {"fence", "drain"}:
        return replace(step, act=_nothing, undo=None)
    return replace(step, act=Move.promote) if step.id == "promote" else step


assert sys.argv[1] == "unfenced"
tables.STEPS[tables.FAILOVER] = tuple(map(_unfenced, tables.FAILOVER_STEPS))
sys.exit(run(sys.argv[2:]))
