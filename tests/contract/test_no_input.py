"""`--no-input`: on a terminal, too, nothing is asked; the answer is exit 3, and what to type instead."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

URL = ["--url", "http://127.0.0.1:9"]


def on_a_terminal(tmp_path: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    terminal, theirs = pty.openpty()
    try:
        return subprocess.run(
            [sys.executable, "-m", "spokectl", *words],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "SPOKECTL_STATE_DIR": str(tmp_path / "state"),
                **variables,
            },
        )
    finally:
        os.close(terminal)
        os.close(theirs)


@pytest.mark.parametrize(
    ("words", "code", "action"),
    [
        (["down", "--volumes"], "confirmation_required", "repeat the command with --yes"),
        (["modules", "delete", "a", *URL], "confirmation_required", "repeat the command with --yes"),
        (["versions", "delete", "a", "v1", "--permanent", *URL], "confirmation_required", "repeat the command with --yes"),
        (["drill", "run", "--all", "--allow-data-loss"], "confirmation_required", "repeat the command with --yes"),
        (["config", "set", "SPOKE_REDIS_PASSWORD=-"], "input_required", "give it on standard input: < FILE"),
        (["modules", "create", "a", "-d", "-", *URL], "input_required", "give it on standard input: < FILE"),
        (["shell", "s3"], "input_required", "put the command behind --, or give it on standard input: < FILE"),
        (["shell", "postgres"], "input_required", "put the command behind --, or give it on standard input: < FILE"),
    ],
)
@pytest.mark.parametrize(("flag", "variables"), [(["--no-input"], {}), ([], {"SPOKECTL_NO_INPUT": "1"})])
def test_a_question_is_exit_3_and_names_what_answers_it(
    tmp_path: Path, words: list[str], code: str, action: str, flag: list[str], variables: dict[str, str]
) -> None:
    done = on_a_terminal(tmp_path, *words, *flag, **variables)
    assert (done.returncode, done.stdout) == (3, "")
    said, advice = done.stderr.splitlines()
    assert "--no-input (or SPOKECTL_NO_INPUT) forbids to ask" in said
    assert advice == f"  try: {action}"
    if words[0] != "shell":
        error = json.loads(on_a_terminal(tmp_path, *words, *flag, "--json", **variables).stdout)["error"]
        assert (error["code"], error["actions"]) == (code, [action])


def test_what_needs_no_answer_is_not_disturbed(tmp_path: Path) -> None:
    done = on_a_terminal(tmp_path, "down", "--volumes", "--yes", "--no-input")
    assert (done.returncode, done.stdout) == (0, "")
    piped = subprocess.run(
        [sys.executable, "-m", "spokectl", "config", "set", "SPOKE_REDIS_PASSWORD=-", "--no-input"],
        input=b"s3cret\n",
        capture_output=True,
        timeout=120,
        env={"PATH": os.environ["PATH"], "SPOKECTL_STATE_DIR": str(tmp_path / "state")},
    )
    assert piped.returncode == 0, piped.stderr
