"""What a drill types: a script in a service, and `spokectl` as somebody else would, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from spokectl.errors import Failed
from spokectl.operations.context import Context

SCRIPT_TIMEOUT_S = 30.0


def in_node(context: Context, node: str, script: str, *words: str, timeout_s: float = SCRIPT_TIMEOUT_S) -> str:
    """What a shell script says in the node. NotFound when the node does not run; Failed (`script_failed`)."""
    invocation = context.runtime.invocation(node, ["sh", "-c", script, "sh", *words])
    try:
        done = invocation.run(timeout_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed("script_failed", f"{node}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip().rpartition("\n")[2]
        raise Failed("script_failed", f"{node}: a script ends with {done.returncode}: {said}")
    return done.stdout.strip()


@contextmanager
def typed(context: Context, *words: str) -> "Iterator[subprocess.Popen[str]]":
    """`spokectl WORDS --json` for this stack as another process, which is killed at the end where it still runs."""
    options = ["--json", "--stack", context.stack.name, "--file", str(context.stack.files[0])]
    argv = [sys.executable, "-m", "spokectl", *words, *options]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
