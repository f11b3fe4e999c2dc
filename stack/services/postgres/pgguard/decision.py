"""What a guard does next: pure functions of the record, the own data, the own server and what the peer shows.

Rule above all: only a node that the record names may be a writable primary, and it must have the data for it. Where the
facts do not say what is safe, the guard refuses and names the command by which an operator decides.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from pgguard.lsn import Divergence, format_lsn
from pgguard.record import DEGRADED, SYNCHRONOUS, Record


class Action(enum.Enum):
    CLAIM = "claim the cluster and initdb"
    INITDB = "initdb"
    COMPLETE_CLAIM = "write the system identifier into the record"
    START_PRIMARY = "start as primary"
    START_STANDBY = "start as standby"
    BASE_BACKUP = "copy the peer's data"
    REWIND = "rewind to the peer's history"
    WAIT = "wait"
    REFUSE = "refuse"
    KEEP = "keep running"
    STOP = "stop the server and decide anew"
    TAKE_RECORD = "name this node primary in the record"


LEFT_BEHIND = "left-behind"
MOVE_UNFINISHED = "move-unfinished"
# After any of these the node accepts writes.
WRITABLE_ACTIONS = (Action.CLAIM, Action.INITDB, Action.START_PRIMARY, Action.TAKE_RECORD)


class Decision(NamedTuple):
    action: Action
    message: str
    code: str = ""
    command: str = ""


class DataFacts(NamedTuple):
    """The own data directory. `present` means a complete cluster; a directory with anything else is `strange`.

    `set_aside`: nothing is there because a base backup was interrupted between its two renames; `data.old` has it.
    `held_epoch`: it was the primary's of that epoch when it was held, which alone made it a standby's.
    """

    present: bool = False
    strange: bool = False
    system_identifier: str | None = None
    major_version: int | None = None
    standby_signal: bool = False
    half_rewound: bool = False
    set_aside: bool = False
    held_epoch: int | None = None


class PeerFacts(NamedTuple):
    """What the peer shows: in its status file, and when asked (`is_primary`: it answers and is not in recovery)."""

    has_data: bool = False
    is_primary: bool = False
    system_identifier: str | None = None
    divergence: Divergence | None = None


class StartFacts(NamedTuple):
    """All that the start table looks at. `told_to_rejoin`, `told_to_copy` and `may_discard` are an operator's words, kept
    until used.

    `nothing_acknowledged`: what is here and not on the primary was written by a promoted server whose commits all waited.
    """

    node: str
    peer_node: str
    first_role: str
    server_major: int
    record: Record | None
    record_error: str | None
    data: DataFacts
    peer: PeerFacts
    told_to_rejoin: bool = False
    may_discard: bool = False
    nothing_acknowledged: bool = False
    told_to_copy: bool = False
    left_behind: bool = False


class RunFacts(NamedTuple):
    """All that the running table looks at. `in_recovery` is None while the server does not answer."""

    node: str
    peer_node: str
    record: Record | None
    record_error: str | None
    system_identifier: str
    in_recovery: bool | None
    started_as_standby: bool
    divergence: Divergence | None = None
    left_behind: bool = False
    told_to_rejoin: bool = False
    held_epoch: int | None = None


def decide_start(facts: StartFacts) -> Decision:
    """Decides what to do while the server is down: the start table, first matching row."""
    data, record = facts.data, facts.record
    if facts.record_error is not None:
        return _refuse(
            "record-unreadable", f"{facts.record_error}; nothing is changed until it can be read", "spokectl status"
        )
    foreign = _foreign_data(facts)
    if foreign:
        return foreign
    if record is None:
        return _without_record(facts)
    if record.primary == facts.node:
        return _record_names_me(facts, record)
    if record.primary != facts.peer_node:
        message = f"the cluster record names {record.primary}, which is neither this node nor its peer {facts.peer_node}"
        return _refuse("unknown-primary", message, f"spokectl postgres adopt {facts.node}")
    if record.system_identifier is None:
        return Decision(Action.WAIT, f"waiting until {record.primary} has made the cluster that it claimed", "claim-pending")
    if facts.peer.is_primary and facts.peer.system_identifier != record.system_identifier:
        message = f"the server that answers as {facts.peer_node} belongs to another cluster ({facts.peer.system_identifier})"
        return _refuse("foreign-peer", message, "spokectl status")
    if not data.present or data.half_rewound:
        return _copy_from_peer(facts, "there is no data here" if not data.present else "a rewind was interrupted")
    return _join(facts, record)


def _foreign_data(facts: StartFacts) -> Decision | None:
    data, record = facts.data, facts.record
    if data.strange:
        message = "the data directory holds files but no PostgreSQL cluster; move them away"
        return _refuse("strange-data", message, "spokectl status")
    if not data.present:
        return None
    discarded = facts.may_discard and record is not None and record.primary != facts.node
    if record and record.system_identifier not in (None, data.system_identifier):
        if discarded:
            return _copy_from_peer(facts, "the operator discarded data of another cluster")
        message = (
            f"the data directory belongs to another cluster (system identifier {data.system_identifier}; "
            f"the record says {record.system_identifier})"
        )
        return _refuse("foreign-data", message, f"spokectl postgres reinit {facts.node} --discard")
    if data.major_version != facts.server_major and not discarded:
        message = f"the data directory is of PostgreSQL {data.major_version}, this server is {facts.server_major}"
        return _refuse("other-version", message + "; install that version or dump and restore", "spokectl status")
    return None


def _without_record(facts: StartFacts) -> Decision:
    if facts.data.present:
        message = "there is data here but no cluster record, so nobody can say which node may be primary"
        return _refuse("record-missing", message, f"spokectl postgres adopt {facts.node}")
    if facts.first_role != "primary":
        return Decision(Action.WAIT, f"waiting for {facts.peer_node} to claim the cluster", "record-pending")
    if facts.peer.has_data:
        message = f"there is no cluster record and no data here, but {facts.peer_node} has data"
        return _refuse("peer-has-data", message, f"spokectl postgres adopt {facts.peer_node}")
    return Decision(Action.CLAIM, "first start: claiming the cluster")


def _record_names_me(facts: StartFacts, record: Record) -> Decision:
    data = facts.data
    if record.system_identifier is None:
        if data.present:
            return Decision(Action.COMPLETE_CLAIM, "the claim was interrupted after initdb: completing it")
        return Decision(Action.INITDB, "making the claimed cluster")
    if not data.present or data.half_rewound:
        what = "is gone" if not data.present else "is unusable (a rewind was interrupted)"
        if data.set_aside:
            what += " (what it replaced last is still beside it, as data.old)"
        message = f"the record names this node primary, but its data {what}; {facts.peer_node} may hold a copy"
        return _refuse("primary-data-gone", message, "spokectl failover postgres")
    if data.standby_signal and not _goes_on_as_primary(record, data.held_epoch, told=facts.told_to_rejoin):
        message = (
            "the record names this node, but a move of the primary role is not finished: starting as standby until it is"
        )
        return Decision(Action.START_STANDBY, message, MOVE_UNFINISHED, "spokectl failover postgres")
    return Decision(Action.START_PRIMARY, "the record names this node primary")


def _goes_on_as_primary(record: Record, held_epoch: int | None, *, told: bool) -> bool:
    """Whether a standby that the record names may take writes without a promotion, by an operator's word.

    Only what was the primary's when it was held, with nobody named since: it lacks nothing that its timeline holds. Any
    other standby may lack WAL that the primary before it wrote, and on the same timeline nobody would ever notice.
    """
    return told and held_epoch == record.epoch


def _join(facts: StartFacts, record: Record) -> Decision:
    if facts.may_discard:
        return _copy_from_peer(facts, "the operator discarded the data here")
    if not facts.peer.is_primary:
        if facts.data.standby_signal:
            return Decision(
                Action.START_STANDBY, f"{facts.peer_node} is primary but does not answer yet: starting as its standby"
            )
        message = f"this was a primary; waiting for {record.primary}, to see whether the data here can follow it"
        return Decision(Action.WAIT, message, "peer-pending")
    lost = facts.peer.divergence
    if lost is None and facts.told_to_copy:
        return _copy_from_peer(facts, "the operator asked for a fresh copy")
    if lost is None and facts.left_behind:
        return _copy_from_peer(facts, f"{facts.peer_node} has dropped WAL that the data here needs")
    if lost is None:
        return Decision(Action.START_STANDBY, f"joining {facts.peer_node} as standby")
    return _diverged(facts, record, lost)


def _diverged(facts: StartFacts, record: Record, lost: Divergence) -> Decision:
    node, peer_node = facts.node, facts.peer_node
    size = "an unknown amount" if lost.bytes is None else f"{lost.bytes} bytes"
    what = f"{size} of WAL after {format_lsn(lost.fork_lsn)} that {peer_node} does not have"
    mode = SYNCHRONOUS if facts.nothing_acknowledged else record.protection_of(node)
    if mode == DEGRADED:
        message = f"the data here holds {what}, written without protection; joining would lose it"
        return _refuse("diverged-unprotected", message, f"spokectl postgres reinit {node} --discard")
    why = (
        "no acknowledged write can be in it"
        if mode == SYNCHRONOUS
        else "replication was asynchronous, so acknowledged writes may be in it"
    )
    return Decision(Action.REWIND, f"the data here holds {what}; {why}; it is saved before the rewind", "diverged")


def _copy_from_peer(facts: StartFacts, why: str) -> Decision:
    if facts.peer.is_primary:
        return Decision(Action.BASE_BACKUP, f"{why}: copying from {facts.peer_node}")
    return Decision(Action.WAIT, f"{why}: waiting for {facts.peer_node} to answer as primary", "peer-pending")


def decide_running(facts: RunFacts) -> Decision:
    """Decides what to do while the server runs: the running table, first matching row."""
    record = facts.record
    if facts.record_error is not None:
        return Decision(Action.KEEP, f"{facts.record_error}; changing nothing", "record-unreadable", "spokectl status")
    if record is None:
        primary = facts.peer_node if facts.in_recovery else facts.node
        command = f"spokectl postgres adopt {primary}"
        return Decision(Action.KEEP, "the cluster record is gone; changing nothing", "record-missing", command)
    if record.system_identifier not in (None, facts.system_identifier):
        return Decision(Action.STOP, "the record has become another cluster's", "foreign-data")
    if facts.in_recovery is None:
        # A server that was started as a primary may be writable although it does not answer.
        if record.primary != facts.node and not facts.started_as_standby:
            return Decision(Action.STOP, f"the record names {record.primary}: this server must not stay writable", "fenced")
        return Decision(Action.KEEP, "PostgreSQL has been started and does not answer yet", "starting")
    if facts.in_recovery:
        return _running_standby(facts, record)
    if record.primary == facts.node:
        return Decision(Action.KEEP, "")
    if not facts.started_as_standby:
        return Decision(Action.STOP, f"the record names {record.primary}: this server must not stay writable", "fenced")
    if record.mode == SYNCHRONOUS and record.primary == facts.peer_node:
        return Decision(
            Action.TAKE_RECORD, f"promoted by hand; the copy was synchronous, so it replaces {record.primary}", "promoted"
        )
    message = (
        f"promoted by hand while {record.primary} is primary, over a copy that is {record.mode}: "
        "acknowledged writes could be lost"
    )
    return Decision(Action.STOP, message, "promotion-refused", "spokectl failover postgres")


def _running_standby(facts: RunFacts, record: Record) -> Decision:
    if record.primary == facts.node:
        if _goes_on_as_primary(record, facts.held_epoch, told=facts.told_to_rejoin):
            return Decision(Action.STOP, "told to take the role of the record: restarting as primary")
        message = "the record names this node, but its server is a standby: a move of the primary role is not finished"
        return Decision(Action.KEEP, message, MOVE_UNFINISHED, "spokectl failover postgres")
    if facts.divergence is not None:
        return Decision(Action.STOP, f"the data here has left the history of {record.primary}", "diverged")
    if facts.left_behind:
        return Decision(Action.STOP, f"{record.primary} has dropped WAL that the data here needs", LEFT_BEHIND)
    return Decision(Action.KEEP, "")


def _refuse(code: str, message: str, command: str) -> Decision:
    return Decision(Action.REFUSE, message, code, command)
