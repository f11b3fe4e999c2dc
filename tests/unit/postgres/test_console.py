"""A conversation with a guard that is broken off."""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from spokectl.operations.postgres.console import Guards
from spokectl.runtime.base import Invocation, Runtime
from spokectl.wait import Deadline

# The first of them answers its first question only together with the second; the next one at once.
_GUARD = """
import json, pathlib, sys
heard, waiting = pathlib.Path(sys.argv[1]), []
first = not heard.exists()
for line in sys.stdin:
    waiting.append(line)
    heard.touch()
    if not first or len(waiting) == 2:
        for each in waiting:
            print(json.dumps({"ok": json.loads(each)}), flush=True)
        waiting.clear()
"""


class OneNode:
    def __init__(self, heard: Path) -> None:
        self._heard = heard

    def invocation(self, service: str, argv: Sequence[str]) -> Invocation:
        return Invocation((sys.executable, "-c", _GUARD, str(self._heard)), dict(os.environ))


@pytest.fixture
def interruptible() -> Any:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_answer_to_a_question_that_was_interrupted_is_not_taken_for_that_of_the_next(tmp_path: Path) -> None:
    heard = tmp_path / "heard"

    def interrupt() -> None:
        give_up = time.monotonic() + 60
        while not heard.exists() and time.monotonic() < give_up:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    guards = Guards(cast("Runtime", OneNode(heard)))
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            guards.of("postgres-primary").demote(Deadline(60))
        assert guards.status("postgres-primary") == {"command": "status"}
    finally:
        thread.join()
        guards.close()
