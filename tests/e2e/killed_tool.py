"""Runs spokectl and kills it, as kill -9 would, at a chosen entry of the journal of the operation under way.

usage: killed_tool.py STEP began|done WORDS...
began: the entry is on disk, the step is not taken. done: the step is taken, the entry is not on disk.
"""

import os
import signal
import sys

from spokectl.cli.app import run
from spokectl.journal import Underway

_step, _phase = sys.argv[1:3]
_note = Underway.note


def _note_or_die(self: Underway, step: str, phase: str) -> None:
    here = (step, phase) == (_step, _phase)
    if here and phase == "done":
        os.kill(os.getpid(), signal.SIGKILL)
    _note(self, step, phase)
    if here:
        os.kill(os.getpid(), signal.SIGKILL)


Underway.note = _note_or_die  # type: ignore[method-assign]
sys.exit(run(sys.argv[3:]))
