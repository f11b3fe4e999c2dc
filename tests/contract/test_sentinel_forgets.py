"""A Sentinel that loses its configuration has lost it: what runs writes it anew, as often as it learns something."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from spokectl.drills.breaks import configuration_lost
from spokectl.drills.catalog import redis as drills
from spokectl.drills.faults import UNDOS
from spokectl.drills.stage import Notebook, Stage
from spokectl.drills.workload import Saw, Workload
from spokectl.errors import OutcomeUnknown
from spokectl.model import Inspection, RunState
from spokectl.operations.context import Context
from spokectl.runtime.base import Invocation
from spokectl.wait import Deadline, wait_until
from tests.contract.test_redis_agreement import SENTINELS, Said, context, said
from tests.unit.test_readiness import SeenRuntime

__all__ = ["context", "said"]
pytestmark = pytest.mark.timeout(120)

LOST = SENTINELS[0]
WRITES = """
import os
while True:
    with open("new", "w") as file:
        file.write("learnt")
    os.replace("new", "sentinel.conf")
"""


@dataclass
class OneProcess(SeenRuntime):
    """All that runs is one process, with a folder of its own."""

    views: list[dict[str, Inspection]] = field(default_factory=list)
    folder: Path = Path()
    process: "subprocess.Popen[bytes] | None" = None

    def inspect(self) -> dict[str, Inspection]:
        return {LOST: Inspection(LOST, RunState.STOPPED if self._is_over() else RunState.RUNNING, pid=1)}

    def invocation(self, service: str, argv: Sequence[str], *, terminal: bool = False) -> Invocation:
        return Invocation(tuple(argv), {**os.environ, "SPOKE_SENTINEL_DATA_DIR": str(self.folder)})

    def kill(self, services: Sequence[str], deadline: Deadline) -> None:
        assert (list(services), self.process is not None) == ([LOST], True)
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)

    def _is_over(self) -> bool:
        return self.process is None or self.process.poll() is not None


@pytest.fixture
def runtime(tmp_path: Path, said: Said) -> Iterator[OneProcess]:
    """What runs writes its file anew all the time."""
    with subprocess.Popen([sys.executable, "-c", WRITES], cwd=tmp_path) as process:
        said.info = f"redis_version:8.0.2\r\nprocess_id:{process.pid}\r\n"
        try:
            wait_until(
                lambda: None if (tmp_path / "sentinel.conf").exists() else "not yet", Deadline(60), what="it has written"
            )
            yield OneProcess(folder=tmp_path, process=process)
        finally:
            process.kill()


def test_what_it_has_learnt_is_gone_when_it_is_down(context: Context, runtime: OneProcess) -> None:
    configuration_lost(LOST).inject(Context(context.stack, context.state, runtime), Deadline(60))
    assert runtime.process is not None
    assert runtime.process.returncode == -signal.SIGKILL
    assert not (runtime.folder / "sentinel.conf").exists()


def test_one_that_was_left_standing_still_is_killed_before_it_is_started(
    context: Context, runtime: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime.process is not None
    runtime.process.send_signal(signal.SIGSTOP)
    over: list[int | None] = []

    def start(services: Sequence[str], deadline: Deadline) -> None:
        assert runtime.process is not None
        over.append(runtime.process.returncode)
        raise OutcomeUnknown("timeout", "as far as this test goes")

    monkeypatch.setattr(runtime, "start", start, raising=False)
    undo = configuration_lost(LOST).undo
    with pytest.raises(OutcomeUnknown, match="as far as"):
        UNDOS[undo.act](Context(context.stack, context.state, runtime), undo, Deadline(60))
    assert over == [-signal.SIGKILL]


def test_nobody_s_silence_is_taken_for_what_two_sentinels_agree_on(
    context: Context, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.stack.services[LOST].environment["SPOKE_REDIS_MASTER_NAME"] = "spoke-redis"
    stage = Stage(context, Workload([], Saw()), Notebook(lambda _: None), 0)
    monkeypatch.setattr(drills, "_KNOWN_WITHIN_S", 0.0)
    said.silent = {LOST}
    with pytest.raises(OutcomeUnknown, match="it names nobody"):
        drills.known_at_last(stage, LOST)
    said.silent = set()
    assert drills.known_at_last(stage, LOST)[0] == "redis-master:6379"
