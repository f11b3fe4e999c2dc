"""What the doctor says: findings, and a verdict for each check. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from spokectl.errors import SpokectlError

S = TypeVar("S")
F = TypeVar("F")


class Verdict(StrEnum):
    """In the order of how much they matter."""

    OK = "ok"
    NOT_CHECKED = "not_checked"
    WARNING = "warning"
    PROBLEM = "problem"

    @property
    def words(self) -> str:
        return self.value.replace("_", " ")


@dataclass(frozen=True)
class Finding:
    """What was found, why it matters and the commands that mend it; one that is ok says only what was found.

    `fixable`: `doctor --fix` mends it.
    """

    verdict: Verdict
    found: str
    why: str = ""
    actions: tuple[str, ...] = ()
    fixable: bool = False


@dataclass(frozen=True)
class Checked:
    """One check and what came of it; `group` is machine, stack or servers."""

    group: str
    check: str
    verdict: Verdict
    findings: tuple[Finding, ...]


class NotChecked(Exception):
    """A check has nothing to judge; the text says why."""


def ok(found: str) -> Finding:
    return Finding(Verdict.OK, found)


def warning(found: str, why: str, *actions: str, fixable: bool = False) -> Finding:
    return Finding(Verdict.WARNING, found, why, actions, fixable)


def problem(found: str, why: str, *actions: str, fixable: bool = False) -> Finding:
    return Finding(Verdict.PROBLEM, found, why, actions, fixable)


@dataclass(frozen=True)
class Check(Generic[S, F]):
    """`gather` looks, `judge` says what it means; `refusal` is what an error with a known cause amounts to: a stack file
    that cannot be read is a problem. `why` that matters, and what mends it where the error does not say: `remedy`.
    """

    name: str
    gather: Callable[[S], F]
    judge: Callable[[F], Sequence[Finding]]
    refusal: Verdict = Verdict.NOT_CHECKED
    why: str = ""
    remedy: str = ""


def carried_out(group: str, check: Check[S, F], scene: S) -> Checked:
    """The check's verdict. It never raises: a check that fails is a finding too."""
    remedies = (check.remedy,) if check.remedy else ()
    try:
        findings = tuple(check.judge(check.gather(scene)))
    except NotChecked as reason:
        findings = (Finding(Verdict.NOT_CHECKED, str(reason)),)
    except SpokectlError as error:
        findings = (Finding(check.refusal, error.message, check.why, error.actions or remedies),)
    except OSError as error:
        found = f"{error.filename or 'the system'}: {error.strerror or error}"
        findings = (Finding(check.refusal, found, check.why, remedies),)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks go on
        findings = (Finding(Verdict.NOT_CHECKED, f"the check itself failed: {type(error).__name__}: {error}"),)
    return Checked(group, check.name, worst(each.verdict for each in findings), findings)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that matters most; ok where there is none."""
    return max(verdicts, key=list(Verdict).index, default=Verdict.OK)
