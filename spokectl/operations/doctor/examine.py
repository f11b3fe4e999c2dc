"""All checks, in the order in which they are said; and what `doctor` and `report` make of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spokectl.errors import Degraded, ExitCode
from spokectl.operations.doctor import machine, machine_facts, running, running_facts, stack, stack_facts
from spokectl.operations.doctor.findings import Check, Checked, Finding, Verdict, carried_out, ok, worst
from spokectl.operations.doctor.fixes import Heal, mend
from spokectl.operations.doctor.scene import Scene
from spokectl.result import Result
from spokectl.settings import command_line

_PROBLEM = Verdict.PROBLEM
_MACHINE: tuple[Check[Scene, Any], ...] = (
    Check("docker-engine", machine_facts.engine, machine.judge_engine),
    Check("compose", machine_facts.compose, machine.judge_compose),
    Check("binaries", machine_facts.binaries, machine.judge_binaries, _PROBLEM, "native processes cannot be started"),
    Check("disk", machine_facts.disks, machine.judge_disk),
    Check("memory", machine_facts.memory, machine.judge_memory),
    Check("file-limits", machine_facts.file_limits, machine.judge_file_limits),
    Check("clock", machine_facts.clock, machine.judge_clock),
)
_STACK: tuple[Check[Scene, Any], ...] = (
    Check(
        "state-folder",
        stack_facts.folder,
        stack.judge_folder,
        _PROBLEM,
        why="no command can work on the stack",
        remedy="mend the folder's rights, or choose another one: export SPOKECTL_STATE_DIR=/path/to/a/folder",
    ),
    Check(
        "stack-file",
        stack_facts.stack_file,
        stack.judge_stack_file,
        _PROBLEM,
        why="no command knows what the stack is",
        remedy="correct what is named: docs/stack-file.md says what may stand there",
    ),
    Check(
        "settings",
        stack_facts.settings,
        lambda count: [ok(f"{count} settings have values that they can take")],
        _PROBLEM,
        why="`up` is refused before it changes anything",
    ),
    Check(
        "connections",
        stack_facts.connections,
        stack.judge_connections,
        _PROBLEM,
        why="under load Spokes are refused connections, and requests fail",
    ),
    Check(
        "passwords",
        stack_facts.passwords,
        lambda said: [ok(said)],
        _PROBLEM,
        why="whoever reaches this machine can log in, and `up` is refused before it changes anything",
    ),
    Check("ports", machine_facts.ports, machine.judge_ports),
    Check("stale-files", stack_facts.stale, stack.judge_stale),
    Check("leftovers", stack_facts.leftovers, stack.judge_leftovers),
)


def _running(name: str) -> tuple[Check[Scene, Any], ...]:
    return (
        Check("services", lambda scene: scene.statuses, lambda seen: running.judge_services(name, seen), _PROBLEM),
        Check("dependencies", running_facts.dependencies, lambda seen: running.judge_dependencies(name, seen)),
        Check("load-balancer", running_facts.load_balancer_tests, lambda said: running.judge_load_balancer(name, said)),
        Check("sentinels", lambda scene: scene.statuses, lambda seen: running.judge_sentinels(name, seen)),
        Check("replication", lambda scene: scene.statuses, lambda seen: running.judge_replication(name, seen)),
        Check("slots", lambda scene: scene.statuses, lambda seen: running.judge_slots(name, seen)),
        Check("database-clock", machine_facts.clock_differences, machine.judge_clock_difference),
    )


@dataclass(frozen=True)
class Examined:
    """`fixed` says what --fix did; it is empty without it."""

    stack: str
    verdict: Verdict
    checks: list[Checked]
    fixed: list[str]


def examine(name: str, file: Path | None, *, heal: Heal | None = None) -> Result:
    """Every check with its verdict. Degraded (10) where there is a problem; warnings alone are no reason for it.

    With `heal` what is safe is mended first, and then all is looked at again; where there is something to mend while another
    command works on the stack, the error is that command's (5, `locked`). It never raises, whatever is broken.
    """
    found = look(Scene(name, file))
    if heal is None:
        return _result(found)
    mended = mend(Scene(name, file), found.checks, heal)
    if mended.done:
        found = look(Scene(name, file))
    result = _result(found, mended.done, mended.failed)
    if mended.refused is None:
        return result
    return replace(result, exit_code=mended.refused.exit_code, error=mended.refused)


def look(scene: Scene) -> Examined:
    """Every check, changing nothing."""
    groups = {"machine": _MACHINE, "stack": _STACK, "servers": _running(scene.name)}
    checks = [carried_out(group, check, scene) for group, checks in groups.items() for check in checks]
    return Examined(scene.name, worst(each.verdict for each in checks), checks, fixed=[])


def _result(found: Examined, done: Sequence[str] = (), failed: Sequence[str] = ()) -> Result:
    data = replace(found, fixed=list(done))
    warnings = tuple(f"not mended: {each}" for each in failed)
    bad = [(each.check, finding) for each in found.checks for finding in each.findings if finding.verdict is _PROBLEM]
    if not bad:
        return Result(data, warnings)
    names = ", ".join(dict.fromkeys(check for check, _ in bad))
    error = Degraded(
        "problems_found",
        f"{len(bad)} problem{'s' if len(bad) > 1 else ''} found: {names}",
        details={check: [finding.found for each, finding in bad if each == check] for check, _ in bad},
        actions=_actions([finding for _, finding in bad]) or [command_line(found.stack, "status")],
    )
    return Result(data, warnings, ExitCode.DEGRADED, error)


def _actions(bad: Sequence[Finding]) -> list[str]:
    """The first command of each problem, once."""
    return list(dict.fromkeys(finding.actions[0] for finding in bad if finding.actions))
