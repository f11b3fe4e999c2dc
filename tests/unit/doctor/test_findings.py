"""A check never raises: whatever goes wrong in it is a finding."""

from collections.abc import Sequence

import pytest

from spokectl.errors import Refused
from spokectl.operations.doctor.findings import Check, Finding, NotChecked, Verdict, carried_out, ok, problem, warning, worst


def raising(error: Exception) -> Check[None, None]:
    def gather(_: None) -> None:
        raise error

    return Check("one", gather, lambda _: [ok("fine")], Verdict.PROBLEM, "it matters")


def test_a_verdict_is_that_of_the_worst_finding() -> None:
    found: Sequence[Finding] = [ok("a"), problem("b", "why", "do"), warning("c", "why", "do")]
    check: Check[None, Sequence[Finding]] = Check("one", lambda _: found, lambda facts: facts)
    checked = carried_out("machine", check, None)
    assert (checked.verdict, len(checked.findings)) == (Verdict.PROBLEM, 3)
    assert worst([]) is Verdict.OK
    assert worst([Verdict.NOT_CHECKED, Verdict.OK]) is Verdict.NOT_CHECKED
    assert worst([Verdict.NOT_CHECKED, Verdict.WARNING]) is Verdict.WARNING


def test_a_refusal_is_what_the_check_says_that_it_is() -> None:
    [finding] = carried_out("machine", raising(Refused("x", "no such file", actions=["put it back"])), None).findings
    assert finding == Finding(Verdict.PROBLEM, "no such file", "it matters", ("put it back",))


@pytest.mark.parametrize(
    ("error", "verdict", "found"),
    [
        (NotChecked("nothing runs"), Verdict.NOT_CHECKED, "nothing runs"),
        (OSError(28, "No space left on device", "/state/x"), Verdict.PROBLEM, "/state/x: No space left on device"),
        (ZeroDivisionError("by zero"), Verdict.NOT_CHECKED, "the check itself failed: ZeroDivisionError: by zero"),
    ],
)
def test_whatever_is_raised_is_a_finding(error: Exception, verdict: Verdict, found: str) -> None:
    checked = carried_out("machine", raising(error), None)
    assert (checked.verdict, checked.findings[0].found) == (verdict, found)
