"""What the journal and the servers' log lines say happened, as events. Pure: records and lines in, events out."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from spokectl.model import Kind, LogLine

UNDER_WAY, BROKEN_OFF = "under way", "broken off"
TO_TYPE = "type: "
_NEVER_BEGUN, _NOT_ENDED = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Event:
    """Who did what to what, why, and how it ended. `source`: journal, guard, sentinel or redis.

    `ended_at`: when an operation of the journal ended, where that is known.
    """

    time: datetime
    source: str
    who: str
    what: str
    target: str
    why: str
    outcome: str
    ended_at: datetime | None = None


def of_journal(
    records: Iterable[Mapping[str, Any]], *, running: bool = False, alive: Callable[[int], bool] = lambda _: True
) -> Iterator[Event]:
    """One event for each operation, at the time when it began. With `running` also one at its end, as a follower sees it.

    An operation of which no end was written is still under way, or its process was killed: that is known when the process is
    not `alive`, or when what it had broken off is ended by another.
    """
    begun: dict[tuple[object, str], tuple[Mapping[str, Any], Event]] = {}
    for record in records:
        event = _journal_event(record)
        if event is None:
            continue
        key = (record.get("pid"), event.what)
        if record.get("phase") == "started":
            for dead in [each for each in begun if _broken_off(each, key)]:
                _, start = begun.pop(dead)
                yield replace(start, time=event.time if running else start.time, outcome=BROKEN_OFF)
            begun[key] = (record, event)
            if running:
                yield event
        elif key in begun:
            first, start = begun.pop(key)
            # What is known at the end only holds before what was meant at the start.
            whole = _journal_event({**first, **record}) or event
            took = f"{event.outcome} ({(event.time - start.time).total_seconds():.1f} s)"
            yield replace(whole, time=event.time if running else start.time, outcome=took, ended_at=event.time)
        else:
            yield event
    if not running:
        for (pid, _), (_, event) in begun.items():
            gone = isinstance(pid, int) and not alive(pid)
            yield replace(event, outcome=BROKEN_OFF) if gone else event


def _broken_off(begun: tuple[object, str], begins: tuple[object, str]) -> bool:
    """Whether an operation that had begun is dead, by what begins: operations, as pid and name, take the stack's lock.

    A move that `up` made is under way in the name of both.
    """
    pid, what = begins
    return what.startswith("end ") and (begun[0] != pid or what == f"end {begun[1]}")


def _journal_event(record: Mapping[str, Any]) -> Event | None:
    try:
        time = datetime.fromisoformat(str(record["time"])).astimezone(UTC)
        what, phase = str(record["operation"]), str(record["phase"])
    except (KeyError, ValueError):
        return None
    known = {"time", "operation", "phase", "actor", "pid", "services", "old", "new", "reason", "message", "code"}
    facts = {name: value for name, value in record.items() if name not in known and value not in (False, None, "")}
    asked = ", ".join(f"--{name}" if value is True else f"{name}: {value}" for name, value in facts.items())
    services = record.get("services") or ([record["new"]] if record.get("new") else [])
    target = ", ".join(map(str, services)) or "the stack"
    said = str(record.get("message") or record.get("reason") or "").partition("\n")[0]
    if said in {"", what}:
        # An operation that moves a role says from where to where.
        said = f"in place of {record['old']}" if record.get("old") else ""
    why = "; ".join(each for each in (asked, said) if each)
    outcome = UNDER_WAY if phase == "started" else phase
    return Event(time, "journal", str(record.get("actor", "")), what, target, why, outcome)


def of_line(line: LogLine, kind: Kind, names: Mapping[str, str]) -> Event | None:
    """The event that a log line tells of, if it does. `names`: the service at each address."""
    if line.time is None:
        return None
    reader = {Kind.POSTGRES: _of_guard, Kind.SENTINEL: _of_sentinel, Kind.REDIS: _of_redis}.get(kind)
    return reader(line, line.time, names) if reader else None


_GUARD = re.compile(r"\[\d+\] guard: (?P<text>.*)")
_MODE = re.compile(r"the record now says (?P<mode>\w+): (?P<why>.*)")
_NAMED = re.compile(r"(?P<why>.*): the record now names this node \(epoch (?P<epoch>\d+)\)")
_KEPT = re.compile(r"(?P<why>.* bytes of WAL that only this node had \(timeline .*\)) are (?P<kept>kept in .*)")
_STATE = re.compile(r"(?P<state>[a-z]+(?: as \w+)?)(?:: (?P<why>.*?))?(?:; type: (?P<command>.*))?")
_STATES = frozenset({"starting", "waiting", "running", "refused", "stopping", "stopped", "held", "failed"})
# Follows each start, and says nothing that the next line does not say better.
_PASSING = "PostgreSQL has been started and does not answer yet"


def _of_guard(line: LogLine, time: datetime, _: Mapping[str, str]) -> Event | None:
    found = _GUARD.search(line.text)
    if found is None:
        return None
    text = found["text"]
    said = Event(time, "guard", f"guard of {line.service}", "says", line.service, text, "")
    if match := _MODE.fullmatch(text):
        return replace(said, what=match["mode"], target="cluster record", why=match["why"])
    if match := _NAMED.fullmatch(text):
        return replace(said, what="new primary", why=match["why"], outcome=f"epoch {match['epoch']}")
    if match := _KEPT.fullmatch(text):
        return replace(said, what="gave up WAL", why=match["why"], outcome=match["kept"])
    match = _STATE.fullmatch(text)
    if match is None or match["state"].split()[0] not in _STATES:
        return said
    state, why, command = match["state"], match["why"] or "", match["command"]
    if why == _PASSING:
        return None
    return replace(said, what=state, why=why, outcome=f"{TO_TYPE}{command}" if command else "")


_SENTINEL = re.compile(r" [#*] (?P<event>[+-][a-z-]+)(?: (?P<words>.*))?")
# What is left out is the course of an election: who votes for whom, each state of a failover, newly met Sentinels.
_SENTINEL_WORDS = {
    "+sdown": "does not answer this Sentinel",
    "-sdown": "answers this Sentinel again",
    "+odown": "enough Sentinels agree that it is down",
    "-odown": "it is no longer agreed that it is down",
    "+try-failover": "asks for the votes of the others",
    "+elected-leader": "leads this failover",
    "+promoted-slave": "becomes master",
    "+failover-end": "the failover is done",
    "+failover-end-for-timeout": "the failover ended before all replicas followed",
    "-failover-abort-not-elected": "the failover was given up: too few votes",
    "-failover-abort-no-good-slave": "the failover was given up: no fit replica",
    "-failover-abort-slave-timeout": "the failover was given up: the replica was not promoted in time",
    "-failover-abort-master-is-back": "the failover was given up: the master is back",
    "+convert-to-slave": "says master and is made a replica",
    "+slave": "is a replica now",
    "+reboot": "has restarted",
    "+reset-master": "everything known of it was forgotten, by hand",
    "+tilt": "the clock jumped: no decisions for 30 s",
    "-tilt": "decides again",
}


def _of_sentinel(line: LogLine, time: datetime, names: Mapping[str, str]) -> Event | None:
    found = _SENTINEL.search(line.text)
    if found is None:
        return None
    event, words = found["event"], (found["words"] or "").split()
    if event == "+switch-master" and len(words) == 5:
        old, new = (names.get(f"{host}:{port}", f"{host}:{port}") for host, port in (words[1:3], words[3:5]))
        return Event(time, "sentinel", line.service, event, new, f"master in place of {old}", "")
    if event not in _SENTINEL_WORDS:
        return None
    target = names.get(f"{words[2]}:{words[3]}", f"{words[2]}:{words[3]}") if len(words) >= 4 else line.service
    outcome = next((f"quorum {after}" for word, after in pairwise(words) if word == "#quorum"), "")
    return Event(time, "sentinel", line.service, event, target, _SENTINEL_WORDS[event], outcome)


def without_unfounded_returns(events: Iterable[Event]) -> Iterator[Event]:
    """The same events; `-sdown` only after its `+sdown`: a Sentinel also says it of a node that it has just come to know."""
    down: set[tuple[str, str]] = set()
    for event in events:
        node = (event.who, event.target)
        if event.what == "+sdown":
            down.add(node)
        elif event.what == "-sdown":
            if node not in down:
                continue
            down.remove(node)
        yield event


def without_advice_during_moves(
    events: Iterable[Event], operations_now: Callable[[], Iterable[Event]] = lambda: ()
) -> Iterator[Event]:
    """The same events; what a guard says to type while an operation moves the role is left out: that is what it does.

    `operations_now`: what the journal tells at that moment of every operation, each with its end. It is asked where none is
    known of a move that has begun: one whose process was killed comes to none, and a follower would wait for it forever.
    """
    until = _NEVER_BEGUN
    for event in events:
        if _moves_postgres(event):
            until = _end_of(event)
        advises = event.source == "guard" and event.outcome.startswith(TO_TYPE)
        if advises and until == _NOT_ENDED:
            until = max((_end_of(each) for each in operations_now() if _moves_postgres(each)), default=_NOT_ENDED)
        yield replace(event, outcome="") if advises and event.time <= until else event


def _moves_postgres(event: Event) -> bool:
    return event.source == "journal" and event.what.endswith(" postgres")


def _end_of(operation: Event) -> datetime:
    if operation.outcome == UNDER_WAY:
        return _NOT_ENDED
    return operation.ended_at or _NEVER_BEGUN


_REDIS = re.compile(r"\S+Z (?P<service>[\w-]+): (?P<what>starting as (?:master|replica)|asking|will not promote)(?P<why>.*)")


def _of_redis(line: LogLine, time: datetime, _: Mapping[str, str]) -> Event | None:
    found = _REDIS.fullmatch(line.text)
    if found is None:
        return None
    return Event(time, "redis", line.service, found["what"], line.service, found["why"].strip(), "")
