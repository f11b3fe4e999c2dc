"""The two nodes as their guards tell of them; of one that is down the other's guard has its last word."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spokectl.errors import OutcomeUnknown, Refused
from spokectl.model import DOWN, Kind, RunState
from spokectl.operations.context import Context, require_node
from spokectl.operations.postgres.console import Guards, GuardUnavailable
from spokectl.operations.postgres.guard import DivergentWal, divergent_wal
from spokectl.result import Report
from spokectl.settings import command_line
from spokectl.wait import Deadline, wait_until

_DECIDED = frozenset({"running", "silent", "refused", "failed", "held"})
_DECIDES_WITHIN_S = 60.0


@dataclass(frozen=True)
class Node:
    """`service` is the runtime's word, the rest the guard's, which it said at `time`; empty where it never said anything.

    `timeline` and `lsn`: where the WAL of the node ends.
    """

    name: str
    service: RunState
    state: str = ""
    role: str = ""
    code: str = ""
    message: str = ""
    command: str = ""
    system_identifier: str = ""
    timeline: int | None = None
    lsn: str | None = None
    time: str = ""
    divergent: DivergentWal | None = None


@dataclass(frozen=True)
class Pair:
    """Both nodes, and the cluster record. `record_error` says why a record that is there cannot be read."""

    nodes: Mapping[str, Node]
    record: Mapping[str, Any] | None
    record_error: str

    @property
    def primary(self) -> str:
        """The node that the record names; empty without a record."""
        return str(self.record["primary"]) if self.record else ""


def other_than(context: Context, node: str) -> str:
    """The node beside `node`. NotFound (`unknown_node`) when that is none of the two."""
    require_node(context.stack, Kind.POSTGRES, node)
    return next(service.name for service in context.stack.of_kind(Kind.POSTGRES) if service.name != node)


def hear(context: Context, guards: Guards) -> Pair:
    """Asks both guards. Refused (`no_guard`) when neither can be asked."""
    names = [service.name for service in context.stack.of_kind(Kind.POSTGRES)]
    seen = context.runtime.inspect()
    answers: dict[str, dict[str, Any]] = {}
    problem = ""
    for name in names:
        try:
            answers[name] = guards.status(name)
        except GuardUnavailable as error:
            problem = problem or error.message
    if not answers:
        up = command_line(context.stack.name, "up")
        raise Refused("no_guard", f"nothing was changed: {problem}", actions=[up])
    words = {name: answers[name]["status"] if name in answers else next(iter(answers.values()))["peer"] for name in names}
    nodes = {name: node_of(name, seen[name].state, words[name]) for name in names}
    first = next(iter(answers.values()))
    return Pair(nodes, first["record"], str(first["record_error"] or ""))


def node_of(name: str, service: RunState, word: Mapping[str, Any]) -> Node:
    """A node by its guard's status."""
    texts = {
        key: str(word.get(key) or "") for key in ("state", "role", "code", "message", "command", "system_identifier", "time")
    }
    return Node(
        name,
        service,
        timeline=word.get("timeline"),
        lsn=word.get("lsn"),
        divergent=divergent_wal(name, word.get("divergent")),
        **texts,
    )


def bring(context: Context, guards: Guards, node: str, report: Report) -> None:
    """The node's service runs and, where it comes to a decision, its guard has taken it; one that is down is started.

    Refused (`paused`) when it is frozen.
    """
    state = context.runtime.inspect()[node].state
    if state is RunState.PAUSED:
        unpause = command_line(context.stack.name, f"unpause {node}")
        raise Refused("paused", f"nothing was changed: {node} is paused, and so is its guard", actions=[unpause])
    began = datetime.min.replace(tzinfo=UTC)
    if state in DOWN:
        report(node, "starting")
        # What a guard said in an earlier life is no answer.
        began = datetime.now(UTC)
        with context.journal.operation("start", services=[node]):
            context.runtime.start([node], Deadline(_DECIDES_WITHIN_S))
        guards.forget(node)

    def blocker() -> str | None:
        silence = guards.silence(node, began)
        if silence:
            return silence
        word = guards.status(node)["status"]
        return None if word["state"] in _DECIDED else f"its guard says: {word['state']} {word['message']}"

    # One that cannot come to a decision, such as one whose server ends again and again, is asked all the same.
    with suppress(OutcomeUnknown):
        wait_until(blocker, Deadline(_DECIDES_WITHIN_S), what=f"the guard of {node}")
