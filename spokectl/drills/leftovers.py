"""What a drill must not leave behind: a move of a role half made, a slot that keeps WAL for nobody."""

from collections import Counter
from collections.abc import Sequence

from spokectl.facts import PostgresFacts
from spokectl.model import Kind
from spokectl.operations.context import Context
from spokectl.operations.health import probe

Slots = Sequence[tuple[str, str]]
"""Nodes, each with the name of one of its replication slots."""


def slots_of(context: Context) -> Slots:
    """The slots of all nodes that answer."""
    answers = [(node.name, probe(node).facts) for node in context.stack.of_kind(Kind.POSTGRES)]
    return [(node, slot.name) for node, facts in answers if isinstance(facts, PostgresFacts) for slot in facts.slots]


def left(context: Context, before: Slots) -> str | None:
    """What is there now and was not before, None when nothing is. Whose role it is has no part in it: that may change."""
    found = [f"the slot {name} on {' and '.join(nodes)}" for name, nodes in more(before, slots_of(context)).items()]
    found += ["a move that nobody has ended"] if context.state.underway_file.exists() else []
    return "; ".join(found) or None


def more(before: Slots, now: Slots) -> dict[str, list[str]]:
    """The slots that there are more of than before, by their name: all nodes that have one. Pure."""
    had = Counter(name for _, name in before)
    has = Counter(name for _, name in now)
    return {name: [node for node, slot in now if slot == name] for name in has if has[name] > had[name]}
