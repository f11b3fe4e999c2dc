"""The two nodes between which the primary role moves, and what the steps of a move do to them.

The order of things is that of docs/postgres-guard.md: the cluster record names the new primary before it is promoted, and
a server that may still take writes is seen to be down before that.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from spokectl.clients.postgres import PostgresUnavailable
from spokectl.clients.postgres_session import Position, PostgresSession
from spokectl.errors import Failed, SpokectlError
from spokectl.lsn import lsn_number
from spokectl.model import DOWN, Kind, RunState, Service
from spokectl.operations.context import Context
from spokectl.operations.health import (
    SpokeWord,
    disk_is_full,
    operator_credentials,
    probe,
    spoke_writes,
    wants_synchronous,
)
from spokectl.operations.moves import put_down
from spokectl.operations.postgres.console import Guards, GuardUnavailable
from spokectl.operations.postgres.guard import DivergentWal, divergent_wal
from spokectl.settings import command_line, for_stack
from spokectl.units import human_bytes
from spokectl.wait import Deadline, wait_until

ASK_TIMEOUT_S = 3.0
_POLL_S = 0.01
_BACK_WITHIN_S = 30.0
_SPOKE_TIMEOUT_S = 1.0
# A rewind or a clean start may make room yet; who has none for this long waits for a person.
_WITHOUT_ROOM_S = 10.0


def session(service: Service, timeout_s: float = ASK_TIMEOUT_S) -> PostgresSession:
    """PostgresUnavailable when the node does not answer."""
    return PostgresSession(*service.address(service.health.port), operator_credentials(service), timeout_s=timeout_s)


class Move:
    """A move of the primary role from `old` to `new`, which the record's epoch was `epoch` before.

    Conversations with guards and servers are kept open, because writes stand still meanwhile.
    """

    def __init__(self, context: Context, old: str, new: str, epoch: int, reason: str, guards: Guards | None = None) -> None:
        self.context = context
        self.guards = guards or Guards(context.runtime)
        self.old, self.new = context.stack.services[old], context.stack.services[new]
        self.epoch = epoch
        self.reason = reason
        self.checkpoint_lsn: int | None = None
        self.gap_began: float | None = None
        self.gap_s: float | None = None
        self.divergent: DivergentWal | None = None
        self.old_ran = True
        """Whether the old primary's service ran when the move began."""
        self.judge_again: Callable[[], object] = lambda: None
        """What is asked once more when the old primary is down: a SpokectlError of it keeps the role where it is."""
        self._session: PostgresSession | None = None

    @property
    def facts(self) -> dict[str, object]:
        return {
            "old": self.old.name,
            "new": self.new.name,
            "epoch": self.epoch,
            "reason": self.reason,
            "old_ran": self.old_ran,
        }

    def close(self) -> None:
        self.guards.close()
        self._drop_session()

    def open(self) -> None:
        """Opens what the steps will need, before anything stands still. Failed when somebody is not there."""
        for service in (self.old, self.new):
            self.guards.status(service.name)
        self.server()

    def server(self) -> PostgresSession:
        """The session on the new primary. Failed (`postgres_unavailable`) when it does not answer."""
        if self._session is None:
            try:
                self._session = session(self.new)
            except PostgresUnavailable as error:
                raise _unavailable(self.new.name, error) from error
        return self._session

    def record(self) -> dict[str, Any]:
        """The cluster record, from whichever node's guard is there; see `Guards.record`."""
        return self.guards.record([self.new.name, self.old.name])

    def committed(self) -> bool:
        try:
            record = self.record()
        except Failed as error:
            # An adoption begins without a record; of any other move nobody knows then how far it came.
            if error.code == "record_missing" and self.epoch == 0:
                return False
            raise
        return bool(record["primary"] == self.new.name and int(record["epoch"]) > self.epoch)

    # What the steps do

    def checkpoint(self, deadline: Deadline) -> None:
        """Makes the shutdown's own checkpoint short. Not being able to is no reason to stop here."""
        with suppress(PostgresUnavailable), session(self.old) as old:
            old.checkpoint(deadline.remaining_s)

    def stop_old(self, deadline: Deadline) -> None:
        self.gap_began = time.monotonic()
        status = self.guards.of(self.old.name).demote(deadline)
        proof = status["control"]
        if proof is None or proof["state"] != "shut down":
            found = f"pg_controldata says {proof['state']!r}" if proof else "pg_controldata says nothing"
            raise Failed(
                "not_stopped_cleanly",
                f"{self.old.name} is down, but not known to have been stopped cleanly: {found}",
                actions=[command_line(self.context.stack.name, f"logs {self.old.name}")],
            )
        self.checkpoint_lsn = lsn_number(str(proof["checkpoint_lsn"]))

    def start_old_again(self, deadline: Deadline) -> None:
        """The undo of a fence: what it killed is tried to be brought back. What was down before stays down."""
        if not self.old_ran:
            return
        with suppress(SpokectlError):
            self.bring_back_old(Deadline(min(_BACK_WITHIN_S, deadline.remaining_s)))

    def bring_back_old(self, deadline: Deadline) -> None:
        """The old primary takes writes again: the undo of everything before the record changes."""
        self._start_old(deadline)
        self.guards.of(self.old.name).rejoin(deadline)

        def blocker() -> str | None:
            position = self._position(self.old)
            return "it does not answer" if position is None else "it is a standby" if position.in_recovery else None

        wait_until(blocker, deadline, what=f"{self.old.name} takes writes again")

    def wait_for_shutdown_checkpoint(self, deadline: Deadline) -> None:
        """The standby has replayed the last record that the old primary wrote: no write is missing from it."""
        goal = self.checkpoint_lsn
        assert goal is not None  # noqa: S101 - the step before has set it

        def blocker() -> str | None:
            replayed = self._new_position().replayed
            return None if replayed is not None and replayed > goal else f"{self.new.name} has not replayed all of it"

        wait_until(blocker, deadline, what="the last of the old primary's WAL", interval_s=_POLL_S)

    def wait_until_nothing_more_comes(self, deadline: Deadline) -> None:
        """The standby receives no more. What it has received it replays before it ends recovery."""

        def blocker() -> str | None:
            position = self._new_position()
            return f"{self.new.name} still receives" if position.in_recovery and position.receiving else None

        wait_until(blocker, deadline, what="the end of the old primary's WAL", interval_s=_POLL_S)

    def kill_old(self, deadline: Deadline) -> None:
        """The old primary is down, and seen to be: what freezes or hangs could otherwise take writes again."""
        if self.gap_began is None:
            self.gap_began = time.monotonic()
        put_down(self.context, self.old.name, deadline)
        self.guards.forget(self.old.name)

    def name_new(self, deadline: Deadline) -> None:  # noqa: ARG002 - a step's signature
        if not self.committed():
            self.judge_again()
            self.guards.of(self.new.name).name_primary(self.new.name, self.epoch, "spokectl", self.reason)

    def adopt_new(self, deadline: Deadline) -> None:
        """The record, of which there was none, names the new primary, which may go on."""
        if not self.committed():
            self.guards.of(self.new.name).adopt("spokectl", self.reason)
        if self._guard_status(self.new).get("state") == "held":
            # Nobody is left who would end that. A new guard brings it up read-only, as what is promoted next must be.
            self.context.runtime.stop([self.new.name], deadline)

    def fence_and_promote(self, deadline: Deadline) -> None:
        """Somebody may have started the old primary since it was put down; what starts from now on reads the new record."""
        if not self._is_primary(self.new):
            self.kill_old(deadline)
        self.promote(deadline)

    def promote(self, deadline: Deadline) -> None:
        def blocker() -> str | None:
            try:
                self.server().promote(max(1.0, deadline.remaining_s))
            except (SpokectlError, PostgresUnavailable) as error:
                self._drop_session()
                # Only now is the runtime asked: that takes a while, and every write waits for this step.
                self._start_new(deadline)
                return str(error)
            return None

        wait_until(blocker, deadline, what=f"{self.new.name} becomes primary")

    def _start_new(self, deadline: Deadline) -> None:
        """Starts it where it has died after it was named: nobody else may be primary now."""
        runtime = self.context.runtime
        if runtime.inspect()[self.new.name].state in DOWN:
            runtime.start([self.new.name], deadline)
            self.guards.forget(self.new.name)

    def wait_until_followed(self, deadline: Deadline) -> None:
        """Every Spoke that answers has a primary that takes writes, whatever else it lacks.

        One that hangs must not keep the old node from its rest: it has nobody to follow the wrong one for.
        """
        spokes = self.context.stack.of_kind(Kind.SPOKE)

        def blocker() -> str | None:
            seen = self.context.runtime.inspect()
            running = [one for one in spokes if seen[one.name].state is RunState.RUNNING]
            asked = dict(zip([one.name for one in running], pool.map(_spoke_writes, running), strict=True))
            late = [f"{name}: {word.reason}" for name, word in asked.items() if word.answers and not word.writes]
            silent = [f"{name}: {word.reason}" for name, word in asked.items() if not word.answers]
            return "; ".join(late or silent) if late or len(silent) == len(asked) > 0 else None

        with ThreadPoolExecutor(max_workers=max(1, len(spokes))) as pool:
            wait_until(blocker, deadline, what="the Spokes follow")
        if self.gap_began is not None and self.gap_s is None:
            self.gap_s = round(time.monotonic() - self.gap_began, 3)

    def rejoin_old(self, deadline: Deadline) -> None:
        """The old primary is a standby of the new one. Its guard rewinds or copies it where its data has diverged."""
        self._start_old(deadline)
        if self._guard_status(self.old).get("state") == "held":
            self.guards.of(self.old.name).rejoin(deadline)

        without_room = WithoutRoom(self.context.stack.name, self.old.name)

        def blocker() -> str | None:
            position = self._position(self.old)
            status = self._guard_status(self.old)
            lost = divergent_wal(self.old.name, status.get("divergent"))
            if position is not None and position.in_recovery and position.receiving:
                if lost is not None and status["divergent"]["epoch"] == self.record()["epoch"]:
                    self.divergent = lost
                return None
            # A guard that has refused for long looks every few seconds: it may still miss the record that there is now.
            if status.get("state") == "refused" and status.get("code") != "record-missing":
                command = status.get("command")
                raise Failed(
                    "rejoin_refused",
                    f"{self.old.name} may not join by itself: {status.get('message')}",
                    actions=[for_stack(self.context.stack.name, str(command))] if command else [],
                    details={"divergent": vars(lost) if lost else None},
                )
            without_room.look(status)
            return str(status.get("message") or "it does not stream yet")

        actions = [command_line(self.context.stack.name, f"{words} {self.old.name}") for words in ("start", "logs")]
        wait_until(blocker, deadline, what=f"{self.old.name} streams from {self.new.name}", actions=actions)

    def wait_until_protected(self, deadline: Deadline) -> None:
        """Commits wait for the standby again, where the stack wants that."""
        if not wants_synchronous(self.new):
            return
        without_room = WithoutRoom(self.context.stack.name, self.old.name)

        def blocker() -> str | None:
            mode = self.record()["mode"]
            if mode == "synchronous":
                return None
            without_room.look(self._guard_status(self.old))
            reason = probe(self.old).reason
            return f"the record says {mode}{f', and {self.old.name}: {reason}' if reason else ''}"

        wait_until(blocker, deadline, what="synchronous replication", interval_s=0.05)

    # How they ask

    def _new_position(self) -> Position:
        try:
            return self.server().position()
        except PostgresUnavailable as error:
            self._drop_session()
            raise _unavailable(self.new.name, error) from error

    def _position(self, service: Service) -> Position | None:
        try:
            with session(service) as asked:
                return asked.position()
        except PostgresUnavailable:
            return None

    def _guard_status(self, service: Service) -> dict[str, Any]:
        try:
            return dict(self.guards.status(service.name)["status"] or {})
        except GuardUnavailable:
            return {}

    def _is_primary(self, service: Service) -> bool:
        position = self._position(service)
        return position is not None and not position.in_recovery

    def _start_old(self, deadline: Deadline) -> None:
        """Returns when the old primary's guard acts, which may go on holding its server.

        In a container a new guard has the process number of the one before it: only what it says from now on counts.
        """
        runtime, name = self.context.runtime, self.old.name
        down = runtime.inspect()[name].state is not RunState.RUNNING
        began = datetime.now(UTC) if down else datetime.min.replace(tzinfo=UTC)
        runtime.start([name], deadline)
        wait_until(lambda: self.guards.silence(name, began) or None, deadline, what=f"the guard of {name}")

    def _drop_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


class WithoutRoom:
    """Ends a wait for a node that has no room on its disk for what it waits for: nobody but a person makes some."""

    def __init__(self, stack: str, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._stack, self._node, self._clock = stack, node, clock
        self._full_s = 0.0
        self._last_full: float | None = None

    def look(self, status: Mapping[str, Any]) -> None:
        """`status` is its guard's. Failed (`disk_full`) once the disk was seen full for some seconds, without room since.

        While the guard starts a server it copies and rewinds, too, and the room that it has told is from before.
        """
        free_bytes = status.get("free_bytes")
        now, before, self._last_full = self._clock(), self._last_full, None
        if status.get("state") == "starting":
            return
        if not disk_is_full(free_bytes):
            self._full_s = 0.0
            return
        self._last_full = now
        self._full_s += 0.0 if before is None else now - before
        if self._full_s > _WITHOUT_ROOM_S:
            raise Failed(
                "disk_full",
                f"{self._node} cannot follow: its disk is full, {human_bytes(free_bytes or 0)} free; make room on it",
                actions=[command_line(self._stack, f"start {self._node}"), command_line(self._stack, "status")],
                details={"free_bytes": free_bytes},
            )


def _spoke_writes(service: Service) -> SpokeWord:
    return spoke_writes(service, _SPOKE_TIMEOUT_S)


def _unavailable(service: str, error: PostgresUnavailable) -> Failed:
    return Failed("postgres_unavailable", f"{service} does not answer: {error}")
