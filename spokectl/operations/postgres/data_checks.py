"""What must hold before a node's data is replaced, or declared to be the right one. Pure: guards' words in."""

from collections.abc import Sequence

from spokectl.lsn import lsn_number
from spokectl.model import DOWN, RunState
from spokectl.operations import moves
from spokectl.operations.moves import Check
from spokectl.operations.postgres.pair import Node, Pair
from spokectl.settings import command_line, for_stack

# What a guard refuses because of writes, or a whole cluster, that nobody else has: an operator may give them up.
_DISCARDABLE = frozenset({"diverged-unprotected", "foreign-data", "other-version"})
# The stable code of the refusal, for each check that can fail.
_CODES = {
    "cluster record": "no_record",
    "not the primary": "is_primary",
    "the primary answers": "primary_unavailable",
    "nothing of its own": "own_writes",
    "the guard lets it": "guard_refuses",
    "no record": "record_exists",
    "a record's place": "record_unreadable",
    "it has data": "no_data",
    "no other primary": "other_primary",
}


def source_checks(stack: str, node: str, pair: Pair, problem: str) -> list[Check]:
    """Whether there is a primary to copy from, and `node` is not it. `problem`: why the primary does not answer as one."""
    if not pair.record:
        found = pair.record_error or "there is none"
        remedy = "spokectl status" if pair.record_error else command_line(stack, "postgres adopt NODE")
        return [Check("cluster record", False, found, remedy)]
    primary = pair.primary
    if node == primary:
        found = f"the cluster record names {node}: move the role first"
        moves = "switchover postgres" if not problem else "failover postgres"
        return [Check("not the primary", False, found, command_line(stack, moves))]
    return [
        Check("not the primary", True, f"the cluster record names {primary}"),
        Check(
            "the primary answers", not problem, problem or f"{primary} takes writes", command_line(stack, f"start {primary}")
        ),
    ]


def node_checks(stack: str, node: Node, primary: str, *, discard: bool) -> list[Check]:
    """Whether the data of `node` may be replaced, as far as its guard has said: it decides for itself once more then."""
    if node.service in DOWN:
        return [Check("nothing of its own", True, f"not known: {node.name} is {node.service}, and is started to find out")]
    refuses = node.state == "refused"
    own = refuses and node.code in _DISCARDABLE
    nothing = f"its guard knows of nothing that {primary} lacks"
    checks = [
        Check(
            "nothing of its own",
            discard or not own,
            node.message if own else nothing,
            command_line(stack, f"postgres reinit {node.name} --discard"),
        )
    ]
    if refuses and not own:
        checks.append(Check("the guard lets it", False, node.message, for_stack(stack, node.command)))
    return checks


def adopt_checks(stack: str, node: Node, other: Node, pair: Pair) -> list[Check]:
    """Whether a record that names `node` may be written: there is none, it has data, and no other primary can be at work."""
    record = pair.record
    remedy = command_line(stack, "postgres status")
    if record and pair.primary not in pair.nodes:
        remove = """sh -c 'rm "$SPOKE_POSTGRES_CLUSTER_DIR/cluster.json"'"""
        remedy = f"remove it first, if it is wrong: {command_line(stack, f'exec {node.name}')} -- {remove}"
    named = f"it names {pair.primary} (epoch {record['epoch']})" if record else "there is none"
    primary_elsewhere = other.service not in DOWN and other.role == "primary" and node.role != "primary"
    frozen = other.service is RunState.PAUSED
    found = f"{other.name} is {other.service}"
    if primary_elsewhere:
        found = f"{other.name} runs as primary: adopt it, or stop it first"
    elif frozen:
        found = f"{other.name} is paused, and may be one: stop it first"
    return [
        Check("no record", record is None, named, remedy),
        Check("a record's place", not pair.record_error, pair.record_error or "it can be written", "mend or remove it"),
        Check(
            "it has data",
            bool(node.system_identifier),
            f"system identifier {node.system_identifier}" if node.system_identifier else f"{node.name} has none",
            command_line(stack, f"postgres adopt {other.name}"),
        ),
        Check("no other primary", not primary_elsewhere and not frozen, found, command_line(stack, f"stop {other.name}")),
    ]


def adopt_warnings(node: Node, other: Node) -> list[str]:
    """What speaks for the other node, as far as it is known."""
    if not other.system_identifier:
        return []
    if node.system_identifier != other.system_identifier:
        return [f"{other.name} has data of another cluster (system identifier {other.system_identifier})"]
    if None in (node.timeline, node.lsn, other.timeline, other.lsn):
        return [f"it is not known whether {other.name} has more than {node.name}"]
    mine, theirs = ((each.timeline or 0, lsn_number(each.lsn or "0/0")) for each in (node, other))
    if theirs[0] > mine[0]:
        return [f"{other.name} is on timeline {theirs[0]}, so it was primary after {node.name} (timeline {mine[0]})"]
    if theirs > mine:
        return [f"{other.name} has {theirs[1] - mine[1]} bytes of WAL more than {node.name}"]
    return []


def require(checks: Sequence[Check]) -> None:
    """Refused, with a code of its own for each check, when one does not hold."""
    moves.require(checks, _CODES)
