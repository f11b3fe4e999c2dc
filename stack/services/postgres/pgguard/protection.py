"""Synchronous replication: when a primary's commits wait for the standby, and what the record says of it. Pure rules.

The invariant: while the record says `synchronous`, no write is acknowledged that the standby does not have. So a server
waits by default; it acknowledges alone only after the record, which names it, has said so durably.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from pgguard.decision import Action, Decision
from pgguard.lsn import format_lsn
from pgguard.record import ASYNCHRONOUS, DEGRADED, SYNCHRONOUS, Record

# How long a standby may be silent while commits are being made to wait for it again, when nothing else is said.
DEFAULT_DEGRADE_AFTER_S = 5.0


class Do(enum.Enum):
    NOTHING = "nothing"
    RECORD = "change the mode in the record"
    WAIT = "have commits wait for the standby"
    STOP_WAITING = "have commits wait no longer"
    PROVE = "make sure that every process of the server waits"


class Step(NamedTuple):
    """One step. `mode`, `since_lsn` and `reason` are for the record."""

    do: Do
    mode: str = ""
    since_lsn: int | None = None
    reason: str = ""


class ProtectionFacts(NamedTuple):
    """What a primary that the record names knows about its standby and about itself.

    `told`: what its configuration file says; `waits`: what its sessions say; `proven`: it counts in the whole server.
    `protected_lsn`: the standby has everything before it. `goal_lsn`: where the WAL ended when `proven` was seen; None
    until then.
    """

    record: Record
    wanted: bool
    degrade_after_s: float | None
    told: bool
    waits: bool
    proven: bool
    standby_streaming: bool
    standby_silent_s: float
    standby_lsn: int | None
    lsn: int
    protected_lsn: int | None
    goal_lsn: int | None


def must_wait(record: Record | None, node: str) -> bool:
    """Whether a primary of this node may only be started with commits that wait for a standby.

    A standby is always started so: promoted by hand, it acknowledges nothing before the record names it.
    """
    return record is None or record.primary != node or record.mode == SYNCHRONOUS


def decide_protection(facts: ProtectionFacts) -> Step:
    """Decides the next step; the order of steps keeps the invariant: record first when weaker, last when stronger."""
    mode = facts.record.mode
    if not facts.wanted:
        if mode != ASYNCHRONOUS:
            return Step(Do.RECORD, ASYNCHRONOUS, None, "synchronous replication is switched off")
        return Step(Do.STOP_WAITING) if facts.told else Step(Do.NOTHING)
    if mode == ASYNCHRONOUS:
        return Step(Do.RECORD, DEGRADED, facts.lsn, "synchronous replication is switched on")
    if mode == SYNCHRONOUS:
        return _while_synchronous(facts)
    return _while_degraded(facts)


def _while_synchronous(facts: ProtectionFacts) -> Step:
    if not facts.waits:
        why = "commits do not wait: synchronous_standby_names or synchronous_commit is set elsewhere"
        return Step(Do.RECORD, DEGRADED, facts.protected_lsn, why)
    limit_s = facts.degrade_after_s
    if limit_s is not None and facts.standby_silent_s > limit_s:
        return Step(Do.RECORD, DEGRADED, facts.protected_lsn, f"the standby has been gone for {limit_s:g} s")
    return Step(Do.NOTHING)


def _while_degraded(facts: ProtectionFacts) -> Step:
    silent = facts.standby_silent_s > (facts.degrade_after_s or DEFAULT_DEGRADE_AFTER_S)
    if silent or not facts.standby_streaming:
        return Step(Do.STOP_WAITING) if facts.told else Step(Do.NOTHING)
    if not facts.told:
        return Step(Do.WAIT)
    if not facts.waits:
        return Step(Do.NOTHING)
    if not facts.proven:
        return Step(Do.PROVE)
    if facts.goal_lsn is None or facts.standby_lsn is None or facts.standby_lsn < facts.goal_lsn:
        return Step(Do.NOTHING)
    return Step(Do.RECORD, SYNCHRONOUS, None, "the standby is there and has everything")


def describe(record: Record, peer_node: str) -> Decision:
    """Says what an operator must know of a primary's protection: nothing, or since when writes are on one node only."""
    if record.mode != DEGRADED:
        return Decision(Action.KEEP, "")
    what = "writes since then" if record.since_lsn is None else f"writes since {format_lsn(record.since_lsn)}"
    message = f"degraded since {record.time}: {what} are not on the standby ({record.reason})"
    return Decision(Action.KEEP, message, "degraded", f"spokectl start {peer_node}")
