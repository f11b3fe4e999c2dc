"""Which drills are meant, and the result of a run as a command gives it."""

import difflib
from collections.abc import Sequence

from spokectl.drills.catalog import all_drills
from spokectl.drills.drill import Drill
from spokectl.drills.evidence import Run, Verdict
from spokectl.errors import ExitCode, Failed, NotFound, Refused, SpokectlError, UsageError
from spokectl.result import Result
from spokectl.settings import command_line


def chosen(names: Sequence[str], *, everything: bool = False, seed_tests: bool = False, ci: bool = False) -> list[Drill]:
    """The drills in the order of the catalog, each once. UsageError without any; NotFound (`unknown_drill`)."""
    drills = all_drills()
    for name in names:
        if name not in drills:
            near = difflib.get_close_matches(name, drills, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise NotFound(
                "unknown_drill",
                f"there is no drill {name!r}{hint}",
                details={"drills": list(drills)},
                actions=["spokectl drill list"],
            )
    wanted = [
        each
        for each in drills.values()
        if everything or each.name in names or (seed_tests and each.seed_test) or (ci and each.in_ci)
    ]
    if not wanted:
        raise UsageError(
            "no_drill", "which drills? name them, or say --all, --seed-tests or --ci", actions=["spokectl drill list"]
        )
    return wanted


class _Missed(SpokectlError):
    exit_code = ExitCode.OBJECTIVE_MISSED


def judged(run: Run) -> Result:
    """The run, with exit code 11 when an objective was missed, 1 when a drill could not be carried out.

    5 where each of them was skipped: nothing has been proven.
    """
    show = [command_line(run.stack, f"drill show {run.id}")]
    broken = [each for each in run.trials if each.verdict is Verdict.BROKEN]
    missed = [each for each in run.trials if each.verdict is Verdict.MISSED]
    warnings = tuple(f"{each.drill} was skipped: {each.why}" for each in run.trials if each.verdict is Verdict.SKIPPED)
    if broken:
        said = "; ".join(f"{each.drill}: {each.why}" for each in broken)
        error: SpokectlError = Failed("drill_broken", f"could not be carried out: {said}", actions=show)
    elif missed:
        said = "; ".join(f"{each.drill}: {', '.join(each.missed)}" for each in missed)
        error = _Missed("objective_missed", f"not all held: {said}", actions=show)
    elif run.trials and all(each.verdict is Verdict.SKIPPED for each in run.trials):
        said = "; ".join(f"{each.drill}: {each.why}" for each in run.trials)
        error = Refused("all_skipped", f"nothing was carried out: {said}", actions=["spokectl drill list"])
        return Result(run, (), error.exit_code, error)
    else:
        return Result(run, warnings)
    return Result(run, warnings, error.exit_code, error)
