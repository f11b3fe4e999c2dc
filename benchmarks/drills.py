"""All drills on a stack of their own: `python -m benchmarks.drills [--runtime docker] [--repeat N] [NAME...]`.

It prints the table of docs/drills.md: each drill with its verdict, and the figures that it promises as they were measured.
Exit 1 when one did not hold. What a runtime cannot do is told as skipped.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import median
from typing import Any

from benchmarks.stack import benchmark_stack
from spokectl.drills.objective import NEVER, as_typed

_TIMEOUT_S = 3 * 3600.0


def run(runtime: str, words: Sequence[str]) -> list[dict[str, Any]]:
    """The trials of one run, as `drill run --json` gives them."""
    with benchmark_stack(runtime) as stack:
        stack.up()
        done = subprocess.run(
            [sys.executable, "-m", "spokectl", "drill", "run", *words, "--json"],
            env=stack.environment,
            stdout=subprocess.PIPE,
            timeout=_TIMEOUT_S,
            check=False,
        )
    answer = json.loads(done.stdout)
    if answer["data"] is None:
        raise RuntimeError(str(answer["error"]))
    return list(answer["data"]["trials"])


def table(trials: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown, a row a drill."""
    yield "| Drill | Verdict | Promised | Measured: median, worst |"
    yield "|---|---|---|---|"
    for name, group in groupby(trials, key=lambda trial: trial["drill"]):
        own = list(group)
        verdicts = sorted({trial["verdict"] for trial in own})
        reasons = [trial["why"] or "; ".join(trial["missed"]) for trial in own]
        why = next((f" ({reason})" for reason in reasons if reason), "")
        figures = [each for each in own[0]["measures"] if each["bound"] is not None]
        promised = [f"{each['name']} {as_typed(each['name'], each['bound'])}" for each in figures if _shown(each)]
        measured = [f"{each['name']} {_measured(each['name'], own)}" for each in figures if _shown(each)]
        yield f"| `{name}` | {', '.join(verdicts)}{why} | {', '.join(promised)} | {', '.join(measured)} |"


def _shown(measure: dict[str, Any]) -> bool:
    """What every drill promises to be 0 is shown where it was not, but for what is lost."""
    return measure["measured"] and (measure["name"] not in NEVER or measure["name"] == "lost" or measure["found"] != 0)


def _measured(name: str, trials: Sequence[dict[str, Any]]) -> str:
    found = [each["found"] for trial in trials for each in trial["measures"] if each["name"] == name]
    whole = [each for each in found if each is not None]
    if len(whole) < len(found):
        return "without an end"
    middle, worst = as_typed(name, round(median(whole), 2)), as_typed(name, round(max(whole), 2))
    return middle if middle == worst else f"{middle}, {worst}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drills", description=__doc__)
    parser.add_argument("names", nargs="*", help="all when none is named")
    parser.add_argument("--runtime", choices=["local", "docker"], default="local")
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    trials = run(
        arguments.runtime, [*(arguments.names or ["--all"]), "--repeat", str(arguments.repeat), "--allow-data-loss", "--yes"]
    )
    sys.stdout.write("\n".join(table(trials)) + "\n")
    return 0 if all(trial["verdict"] in {"held", "skipped"} for trial in trials) else 1


if __name__ == "__main__":
    sys.exit(main())
