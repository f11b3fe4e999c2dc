"""A question on a real terminal: Ctrl-C is an interruption (130), the end of input an answer that agrees to nothing (3)."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)


def interrupt(asking: "subprocess.Popen[bytes]", _: int) -> None:
    asking.send_signal(signal.SIGINT)


def end_input(_: "subprocess.Popen[bytes]", terminal: int) -> None:
    os.write(terminal, b"\x04")


@pytest.mark.parametrize(
    ("act", "exit_code", "said"),
    [
        (interrupt, 130, b"\nerror: interrupted; nothing was changed\n"),
        (end_input, 3, b"\nerror: the answer was '': nothing was done\n"),
    ],
)
def test_a_question_is_left(
    tmp_path: Path, act: Callable[["subprocess.Popen[bytes]", int], None], exit_code: int, said: bytes
) -> None:
    terminal, theirs = pty.openpty()
    environment = os.environ | {"SPOKECTL_STATE_DIR": str(tmp_path)}
    words = [sys.executable, "-m", "spokectl", "down", "--volumes", "--stack", "second"]
    with subprocess.Popen(words, stdin=theirs, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as asking:
        assert asking.stderr is not None
        question = b""
        while not question.endswith(b"]: "):
            chunk = os.read(asking.stderr.fileno(), 4096)
            assert chunk, question
            question += chunk
        act(asking, terminal)
        out, err = asking.communicate(timeout=120)
    os.close(terminal)
    os.close(theirs)
    assert (asking.returncode, out, err) == (exit_code, b"", said)
