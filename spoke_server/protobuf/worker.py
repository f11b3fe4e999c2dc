"""The process that runs protoc's parser: a line of JSON in, a line of JSON out.

protoc writes its errors to the C level's stderr and may be brought down by its input, so it has a process of its own.
It lives while there is work. Limits are of processor time and memory, so a busy machine alone never refuses a push.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from importlib.resources import files
from typing import IO

MAX_OUTPUT_BYTES = 256 << 10
MAX_MEMORY_BYTES = 2 << 30
CPU_LIMIT_S = 10


def run_protoc(includes: list[str], paths: list[str]) -> tuple[int, str]:
    """Parses the files (full paths) and returns protoc's exit code and its words."""
    from grpc_tools import protoc

    arguments = ["protoc", *(f"-I{folder}" for folder in includes), f"-I{files('grpc_tools') / '_proto'}"]
    with _file() as output:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(output.fileno(), 2)
        try:
            code = protoc.main([*arguments, "--descriptor_set_out=/dev/null", *paths])
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        output.seek(0)
        return code, output.read(MAX_OUTPUT_BYTES).decode(errors="replace")


def _file() -> IO[bytes]:
    """A file without a name: in memory where the system has such, for protoc writes every line of it apart."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("protoc"), "r+b")
    return tempfile.TemporaryFile()


def check(includes: list[str], paths: list[str]) -> list[str]:
    """Parses all files at once, which is quick when they are right; else each alone, as protoc stops at the first error.

    Alone they also may define the same name twice, as trees with vendored copies do.
    """
    code, text = run_protoc(includes, paths)
    if code == 0:
        return []
    if len(paths) == 1:
        return [text]
    results = (run_protoc(includes, [path]) for path in paths)
    return [text for code, text in results if code != 0]


def _limit_cpu() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_LIMIT_S, hard))


def _limit_memory() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ValueError, OSError):
        # macOS knows the limit but refuses to set it; the limit of processor time holds there too.
        return


def main() -> None:
    """Answers requests until stdin ends."""
    _limit_memory()
    for line in sys.stdin:
        request = json.loads(line)
        _limit_cpu()
        print(json.dumps(check(request["includes"], request["paths"])), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
