"""What the doctor says of a stack's folder, file and settings."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from spokectl.operations.doctor.findings import Finding, Verdict
from spokectl.operations.doctor.stack import (
    FolderFacts,
    LeftoverFacts,
    ModeFacts,
    StackFileFacts,
    StaleFacts,
    judge_connections,
    judge_folder,
    judge_leftovers,
    judge_stack_file,
    judge_stale,
)
from spokectl.operations.rollout import Connections

OK, WARNING, PROBLEM = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM


def folder(*modes: ModeFacts) -> FolderFacts:
    return FolderFacts("/state/spoke", True, modes)


@pytest.mark.parametrize(
    ("judge", "facts", "verdict", "named", "fixable"),
    [
        (judge_folder, FolderFacts("/state/spoke", False), OK, "first `up`", False),
        (judge_folder, folder(ModeFacts("lock", 0o100600, 0o600)), OK, "closed", False),
        (judge_folder, folder(ModeFacts("lock", 0o100400, 0o600)), OK, "closed", False),
        (judge_folder, folder(ModeFacts("lock", 0o100644, 0o600)), WARNING, "lock has the mode 0644", True),
        (judge_folder, folder(ModeFacts("s.env", 0o100640, 0o600, holds_secrets=True)), PROBLEM, "s.env", True),
        (judge_folder, folder(ModeFacts("lock", 0o100600, 0o600, ours=False)), PROBLEM, "another user", False),
        (judge_stale, StaleFacts({}), OK, "no pid file", False),
        (judge_stale, StaleFacts({"/pids/nginx": "names a process that is gone"}), WARNING, "/pids/nginx", True),
        (judge_leftovers, LeftoverFacts(), OK, "nothing", False),
        (judge_leftovers, LeftoverFacts(faults=("nginx is paused",)), PROBLEM, "nginx is paused", True),
        (judge_leftovers, LeftoverFacts(faults=("nginx is paused",), drill_runs=True), OK, "under way", False),
        (judge_leftovers, LeftoverFacts(moves=("switchover was broken off",)), PROBLEM, "broken off", False),
        (judge_leftovers, LeftoverFacts(doomed_volumes="/v.deleted", down="down"), WARNING, "/v.deleted", False),
        (judge_stack_file, StackFileFacts(("a.yml", "b.yml"), 14), OK, "a.yml and b.yml: 14", False),
        (judge_connections, Connections(60, 16, 200), OK, "200 are allowed", False),
    ],
)
def test_facts_have_their_verdict(
    judge: Callable[[Any], Sequence[Finding]], facts: object, verdict: Verdict, named: str, fixable: bool
) -> None:
    [finding] = judge(facts)
    assert (finding.verdict, named in finding.found, finding.fixable) == (verdict, True, fixable), finding
    if fixable:
        assert finding.actions == ("spokectl doctor --fix",)


def test_what_the_local_runtime_does_not_heed_is_a_warning_beside_the_file() -> None:
    read, notice = judge_stack_file(StackFileFacts(("a.yml",), 14, ("nginx: cpus has no effect",)))
    assert (read.verdict, notice.verdict, notice.found) == (OK, WARNING, "nginx: cpus has no effect")
