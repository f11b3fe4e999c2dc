"""A node's data replaced by its guard, watched until the node streams from the primary."""

from contextlib import suppress

from spokectl.clients.postgres import PostgresUnavailable
from spokectl.clients.postgres_session import Copied, PostgresSession
from spokectl.errors import Failed, OutcomeUnknown, Refused, SpokectlError
from spokectl.model import DOWN
from spokectl.operations.context import Context
from spokectl.operations.postgres.console import Guards, GuardUnavailable
from spokectl.operations.postgres.move import session
from spokectl.operations.postgres.pair import Node, hear, node_of
from spokectl.result import Report
from spokectl.settings import command_line, for_stack
from spokectl.units import human_bytes
from spokectl.wait import Deadline, wait_until

_POLL_S = 0.2
_PERCENT_A_LINE = 5
_GIVE_UP_WITHIN_S = 60.0


class Copy:
    """One copy of `primary` to `node`. The guard goes on with what was begun, whatever becomes of this process."""

    def __init__(self, context: Context, guards: Guards, node: str, primary: str, *, discard: bool, report: Report) -> None:
        self.bytes: int | None = None
        self._context, self._guards, self._report = context, guards, report
        self._node, self._primary, self._discard = node, primary, discard
        self._request = ""
        self._asked_of: object = None
        self._said = ""
        self._source: PostgresSession | None = None

    def run(self, deadline: Deadline) -> None:
        """Asks for the copy and returns when the node streams.

        Refused when the guard decides against it, Failed when it cannot be done: the node goes on with the data that it
        has. OutcomeUnknown at the deadline, while the guard copies.
        """
        try:
            wait_until(self._blocker, deadline, what=f"{self._node} streams from {self._primary}", interval_s=_POLL_S)
        except OutcomeUnknown as error:
            if not self._request or self._last_word() == "waiting":
                self._give_up()
                raise Failed("not_copied", f"{error.message}; {self._node} has the data that it had") from error
            actions = [command_line(self._context.stack.name, words) for words in ("postgres status", "events")]
            raise OutcomeUnknown(
                error.code, f"{error.message}; its guard goes on with it", actions=actions, retryable=True
            ) from error
        finally:
            if self._source is not None:
                self._source.close()

    def _last_word(self) -> str:
        """What the node's guard says that it does. OutcomeUnknown when no guard is left to tell of it."""
        try:
            return hear(self._context, self._guards).nodes[self._node].state
        except Refused as error:
            raise unheard(self._context.stack.name, error, f"{self._node} may have been copied, or not") from error

    def _blocker(self) -> str | None:
        seen = self._context.runtime.inspect()[self._node]
        if seen.state in DOWN:
            self._context.runtime.start([self._node], Deadline(_GIVE_UP_WITHIN_S))
            return f"it is {seen.state}"
        try:
            word = self._guards.status(self._node)["status"]
        except GuardUnavailable as error:
            return error.message
        said = f"{word.get('state')} {word.get('message')}".rstrip()
        if self._request and word.get("copied") == self._request:
            self._say("starting")
            return None if word["role"] == "standby" and word["streaming"] else said
        if self._asked_of != seen.started_at:
            # Whatever an earlier guard was asked it has forgotten.
            return self._ask(seen.started_at)
        if word.get("request") == self._request:
            answer = node_of(self._node, seen.state, word)
            problem = refusal(self._context.stack.name, answer, self._primary, discard=self._discard)
            if isinstance(problem, Failed):
                self._give_up()
            if problem is not None:
                raise problem
            self._say("waiting", answer.message)
        return self._progress() or said

    def _ask(self, guard: object) -> str:
        try:
            self._request = self._guards.of(self._node).begin_reinit(discard=self._discard)
        except Failed as error:
            self._say("waiting", error.message)
            return error.message
        self._asked_of = guard
        return "its guard was asked"

    def _progress(self) -> str:
        """How far the copy has come, as the primary knows; empty while none is taken."""
        try:
            if self._source is None:
                self._source = session(self._context.stack.services[self._primary])
            copied = self._source.copied()
        except PostgresUnavailable:
            self._source = None
            return ""
        if copied is None:
            return ""
        self.bytes = copied.bytes
        self._say("copying", how_far(copied))
        return f"{human_bytes(copied.bytes)} are copied"

    def _say(self, state: str, detail: str = "") -> None:
        if self._said != f"{state} {detail}":
            self._said = f"{state} {detail}"
            self._report(self._node, state, detail)

    def _give_up(self) -> None:
        """Has the guard forget the request and do what it would do without."""
        with suppress(SpokectlError):
            self._guards.of(self._node).rejoin(Deadline(_GIVE_UP_WITHIN_S))


def unheard(stack: str, error: Refused, doubt: str) -> OutcomeUnknown:
    """For when nobody can be asked any more and it is too late for `nothing was changed`. Pure."""
    why = error.message.removeprefix("nothing was changed: ")
    actions = [command_line(stack, words) for words in ("up", "postgres status", "events")]
    return OutcomeUnknown("outcome_unknown", f"{doubt}: {why}", actions=actions, retryable=True)


def refusal(stack: str, word: Node, primary: str, *, discard: bool) -> SpokectlError | None:
    """What it means that a guard which was asked for a copy says this; None for one that still waits. Pure."""
    again = f"postgres reinit {word.name}"
    if word.state == "refused":
        actions = [for_stack(stack, word.command)] if word.command else []
        return Refused("guard_refuses", f"nothing was changed: {word.message}", actions=actions)
    if word.state == "failed":
        return Failed(
            "copy_failed",
            f"{word.name} has the data that it had: {word.message}",
            actions=[command_line(stack, again if discard else f"{again} --discard")],
        )
    if word.state == "running":
        return Failed(
            "not_copied",
            f"{primary} did not answer the guard of {word.name}, which runs with the data that it had",
            actions=[command_line(stack, f"{again} --discard" if discard else again)],
            retryable=True,
        )
    return None


def how_far(copied: Copied) -> str:
    if not copied.total_bytes:
        return "the primary reckons how much there is"
    percent = min(100, copied.bytes * 100 // copied.total_bytes) // _PERCENT_A_LINE * _PERCENT_A_LINE
    return f"{percent} % of {human_bytes(copied.total_bytes)}"
