"""Waiting until services answer by their own protocols, or it is clear that one will not."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import groupby

from spokectl.errors import Failed, OutcomeUnknown
from spokectl.model import DOWN, Inspection, Kind, RunState
from spokectl.operations.context import Context
from spokectl.operations.health import WHO_AGREE, ServiceStatus, agreed, observe, observe_one, with_last_words
from spokectl.operations.postgres.guard import guard_word
from spokectl.result import Report
from spokectl.settings import command_line, for_stack
from spokectl.wait import Deadline

_POLL_S = 0.1
_INSPECT_S = 0.25
_LOG_LINES = 20
_ASK_GUARDS_S = 3.0
# A server that dies again and again will not come by waiting; a first crash may still be a dependency that is late.
_CRASHES_THAT_COUNT = 5


def wait_until_ready(context: Context, wanted: list[str], deadline: Deadline, report: Report) -> None:
    """Asks every service again and again, all at once, until each is ready; reports every change.

    A degraded service is ready when what it lacks is not among the wanted: a primary alone does not wait for its standby,
    nor a standby for a primary that does not run.
    It ends early when a service cannot become ready any more: Failed, as OutcomeUnknown at the deadline, names it, its
    reason and its last log lines.
    """
    watch = _Watch(context, report, wanted)
    with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
        inspected_at = 0.0
        inspections: dict[str, Inspection] = {}
        while True:
            now = time.monotonic()
            if now - inspected_at >= _INSPECT_S:
                inspections, inspected_at = context.runtime.inspect(), now
            watch.saw(inspections)
            pending = [name for name in wanted if not watch.ready(name)]
            list(pool.map(watch.look, pending, [inspections.get(name) for name in pending]))
            watch.compare()
            pending = [name for name in wanted if not watch.ready(name)]
            if not pending:
                return
            watch.fail_if_hopeless(inspections, pending)
            watch.fail_if_refused(pending)
            if deadline.passed:
                watch.fail_late(pending, deadline.timeout_s)
            time.sleep(min(_POLL_S, deadline.remaining_s + 0.001))


def last_look(context: Context, wanted: list[str], deadline: Deadline, report: Report) -> list[ServiceStatus]:
    """Asks all of the stack once more: roles change while others come up, as when Sentinels choose another master.

    A wanted service that does not answer any more, or is contradicted by the others, is waited for again: what is not well
    in this answer is so at the deadline, or is degraded and will not mend by waiting.
    """
    while True:
        statuses = observe(context, context.stack.services)
        lost = [each for each in statuses if each.service in wanted and each.health in {"unhealthy", "down"}]
        if not lost or deadline.passed:
            return statuses
        wait_until_ready(context, wanted, deadline, report)


class _Watch:
    """What was last seen of each service that is waited for."""

    def __init__(self, context: Context, report: Report, wanted: list[str]) -> None:
        self._context, self._wanted = context, wanted
        databases = [name for name in wanted if context.stack.services[name].kind is Kind.POSTGRES]
        self._enough = {"healthy", "done", "left-out"} | ({"degraded"} if len(databases) < 2 else set())
        self._report = report
        self._last: dict[str, ServiceStatus] = {}
        self._starts: dict[str, set[datetime]] = {}
        self._disputed = False
        self._running: set[str] = set()
        self._asked_at = time.monotonic()

    def saw(self, inspections: dict[str, Inspection]) -> None:
        self._running = {name for name, seen in inspections.items() if seen.state not in DOWN}

    def ready(self, name: str) -> bool:
        if name not in self._last or (self._disputed and self._last[name].kind in WHO_AGREE):
            return False
        return self._last[name].health in self._enough or self._has_all_it_can(self._last[name])

    def _has_all_it_can(self, status: ServiceStatus) -> bool:
        """A standby of which the primary does not run, and was not asked for: it answers, and waits like its operator."""
        nodes = self._context.stack.of_kind(Kind.POSTGRES)
        others = [node.name for node in nodes if node.name != status.service]
        alone = bool(others) and not self._running.intersection(others) and not set(others).intersection(self._wanted)
        return alone and status.role == "standby"

    def compare(self) -> None:
        """Where Redis nodes and Sentinels do not agree, all of them are asked again: any may change its mind."""
        before = list(self._last.values())
        after = agreed(self._context.stack, before)
        self._disputed = any(new.health != old.health for new, old in zip(after, before, strict=True))
        self._last = {status.service: status for status in after}

    def look(self, name: str, inspection: Inspection | None) -> None:
        status = observe_one(self._context.stack.services[name], inspection)
        before = self._last.get(name)
        self._last[name] = status
        if before is None or (before.health, before.role) != (status.health, status.role):
            word = status.health if self.ready(name) else "starting"
            if before is None or self.ready(name) or before.ok:
                self._report(name, word, status.role)

    def fail_if_refused(self, pending: list[str]) -> None:
        """A guard that refuses waits for the operator, not for time: it is asked now and then."""
        now = time.monotonic()
        if now - self._asked_at < _ASK_GUARDS_S:
            return
        self._asked_at = now
        nodes = [name for name in pending if self._context.stack.services[name].kind is Kind.POSTGRES]
        words = {name: guard_word(self._context.runtime, name) for name in nodes}
        refused = {name: word for name, word in words.items() if word.refuses}
        if refused:
            actions = [for_stack(self._context.stack.name, command) for word in refused.values() for command in word.actions]
            # Each names itself: which of them it should be, only a look at both says.
            look = [self._command("postgres status")] if len(refused) > 1 else []
            said = "; ".join(f"{name} may not start: {word.reason}" for name, word in refused.items())
            raise Failed("postgres_refused", said, actions=[*look, *dict.fromkeys(actions)])

    def fail_if_hopeless(self, inspections: dict[str, Inspection], pending: list[str]) -> None:
        for name in pending:
            seen = inspections.get(name)
            if seen is None:
                continue
            crashes = self._crashes_of(name, seen)
            if seen.state is RunState.FAILED or crashes >= _CRASHES_THAT_COUNT:
                why = seen.detail or (f"it has ended {crashes} times" if crashes > 0 else seen.state)
                raise Failed(
                    "service_failed",
                    f"{name} cannot run: {why}\n{self._log_of(name)}",
                    details={"service": name, "exit_code": seen.exit_code},
                    actions=[self._command(f"logs {name}"), self._command("up")],
                )

    def _crashes_of(self, name: str, seen: Inspection) -> int:
        """How often it has ended by itself during this wait, as far as was seen: nobody else starts it again meanwhile."""
        starts = self._starts.setdefault(name, set())
        if seen.started_at is not None:
            starts.add(seen.started_at)
        between_tries = seen.state is RunState.RESTARTING and seen.pid is None
        return len(starts) - (0 if between_tries else 1)

    def fail_late(self, pending: list[str], timeout_s: float) -> None:
        last = [with_last_words(self._context.runtime, self._last[name]) for name in pending]
        reasons = {status.service: status.reason or status.health for status in last}
        worst = pending[0]
        lines = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise OutcomeUnknown(
            "timeout",
            f"not ready after {timeout_s:g} s: {lines}\n{self._log_of(worst)}",
            details={"services": reasons},
            retryable=True,
            actions=[self._command(f"logs {worst}"), self._command("status"), self._command("up --timeout 5m")],
        )

    def _command(self, words: str) -> str:
        return command_line(self._context.stack.name, words)

    def _log_of(self, name: str) -> str:
        lines = self._context.runtime.logs([name], since=None, tail=_LOG_LINES, follow=False)
        # A server that keeps ending says the same again and again.
        repeated = ((text, len(list(same))) for text, same in groupby(line.text.rstrip() for line in lines))
        text = "\n".join(f"  {text}" + (f"  ({count} times)" if count > 1 else "") for text, count in repeated)
        return f"  last lines of its log:\n{text}" if text else "  its log is empty"
