"""Checks a version's Protobuf files before it is stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from spoke_server.errors import ApiError, bad_request, unavailable
from spoke_server.protobuf import scratch
from spoke_server.protobuf.diagnostics import defects, parse
from spoke_server.registry import File

logger = logging.getLogger(__name__)

IDLE_S = 30.0
SHOWN_DEFECTS = 10
_ANSWER_BYTES = 64 << 20


class WorkerDied(Exception):
    """The worker ended without an answer; says how."""

    def __init__(self, returncode: int) -> None:
        super().__init__(f"the protoc worker ended with {returncode}")
        self.returncode = returncode


class ProtobufChecker:
    """Runs the checks one after the other in a worker that starts with the first and ends when there is no more work."""

    def __init__(self, idle_s: float = IDLE_S, roots: Sequence[Path] = ()) -> None:
        self._idle_s = idle_s
        self._roots = roots or scratch.roots()
        self._turn = asyncio.Lock()
        self._worker: asyncio.subprocess.Process | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id while there is one."""
        return None if self._worker is None else self._worker.pid

    async def remove_leftovers(self) -> None:
        """Removes the files of checks whose server was killed."""
        if removed := await asyncio.to_thread(scratch.remove_leftovers, self._roots):
            logger.info("removed %d folders that killed servers left", removed)

    async def check(self, files: Iterable[File], dependencies: Iterable[File], deadline: float) -> None:
        """Refuses files that are no Protobuf, naming file, line and column; `dependencies` are what they may import.

        The deadline is in seconds since 1970.
        """
        pushed = [file for file in files if file.path.endswith(".proto")]
        if not pushed:
            return
        try:
            # Waiting for one's turn counts too: others may push what takes long.
            async with asyncio.timeout(max(0.1, deadline - time.time())), self._turn:
                outputs, folder = await self._check_in_turn(pushed, list(dependencies))
        except TimeoutError:
            raise unavailable("check_timeout", "checking the Protobuf files took longer than the request may") from None
        _judge(outputs, str(folder / "pushed"))

    async def close(self) -> None:
        """Ends the worker."""
        self._stop_timer()
        self._end_worker()
        if self._ending:
            await asyncio.wait(set(self._ending))

    async def _check_in_turn(self, pushed: list[File], dependencies: list[File]) -> tuple[list[str], Path]:
        self._stop_timer()
        # The pushed files are found first, also when they have protoc's own names.
        folders = {"dependencies": dependencies, "pushed": pushed}
        laid_out = await asyncio.to_thread(scratch.lay_out, folders, self._roots)
        try:
            return await self._ask(laid_out.path, pushed), laid_out.path
        finally:
            await asyncio.to_thread(laid_out.close)
            self._idle_timer = asyncio.get_running_loop().call_later(self._idle_s, self._end_worker)

    async def _ask(self, folder: Path, pushed: list[File]) -> list[str]:
        paths = [str(folder / "pushed" / file.path) for file in pushed]
        request = {"includes": [str(folder / "pushed"), str(folder / "dependencies")], "paths": paths}
        line = json.dumps(request).encode() + b"\n"
        try:
            try:
                return await self._exchange(line)
            except WorkerDied as death:
                if death.returncode == -signal.SIGXCPU:
                    raise
                # Somebody else may have ended it: only an input that does it twice is to blame.
                return await self._exchange(line)
        except WorkerDied as death:
            raise _too_much(death) from death
        except ValueError:
            self._end_worker()
            raise bad_request("invalid_proto", "protoc finds more wrong with these files than can be told") from None
        except asyncio.CancelledError:
            # Its answer must not be taken for the one to the next question.
            self._end_worker()
            raise

    async def _exchange(self, line: bytes) -> list[str]:
        worker = self._worker
        if worker is None or worker.returncode is not None:
            worker = self._worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "spoke_server.protobuf.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_ANSWER_BYTES,
            )
        if worker.stdin is None or worker.stdout is None:
            raise RuntimeError("the worker has no pipes")
        with contextlib.suppress(ConnectionError):
            worker.stdin.write(line)
            await worker.stdin.drain()
        answer = await worker.stdout.readline()
        if not answer.endswith(b"\n"):
            self._worker = None
            await _reap(worker)
            raise WorkerDied(worker.returncode or 0)
        outputs: list[str] = json.loads(answer)
        return outputs

    def _stop_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if worker.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
        task = asyncio.create_task(_reap(worker))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _reap(worker: asyncio.subprocess.Process) -> None:
    """Waits for an ending worker and closes its pipes."""
    with contextlib.suppress(ConnectionError):
        await worker.communicate()


def _judge(outputs: list[str], folder: str) -> None:
    found = []
    for output in outputs:
        diagnostics = parse(output, folder)
        if not diagnostics:
            # protoc refused without naming a file of this version; its last line says most.
            raise bad_request("invalid_proto", f"protoc: {(output.strip().splitlines() or ['no reason given'])[-1]}")
        found += diagnostics
    wrong = defects(found)
    if wrong:
        lines = [str(each) for each in wrong[:SHOWN_DEFECTS]]
        if len(wrong) > SHOWN_DEFECTS:
            lines.append(f"and {len(wrong) - SHOWN_DEFECTS} more")
        raise bad_request("invalid_proto", "\n".join(lines))


def _too_much(death: WorkerDied) -> ApiError:
    if death.returncode == -signal.SIGXCPU:
        return bad_request("invalid_proto", "the Protobuf files take protoc too long")
    logger.error("protoc ended with %d on a pushed version", death.returncode)
    return bad_request("invalid_proto", "protoc does not survive these Protobuf files")
