"""The two Redis nodes between which the master role moves, the Sentinels, and what the steps of a move do to them.

Redis is a cache here, but a move loses nothing all the same: a plain SENTINEL FAILOVER on a living master loses what it
acknowledges until it is demoted (measured: more than half under load), so its writes are paused first, or the server does
the whole by itself where it can (Valkey 9: SENTINEL FAILOVER … COORDINATED).
"""

import time
from contextlib import suppress
from typing import Any

from spokectl.clients.redis import (
    RedisNode,
    RedisUnavailable,
    SentinelView,
    announced_address,
    observe_redis,
    observe_sentinel,
    tell,
)
from spokectl.errors import Failed, OutcomeUnknown
from spokectl.model import DOWN, Kind, Service
from spokectl.operations.context import Context
from spokectl.operations.redis.agreement import names_by_address
from spokectl.settings import command_line
from spokectl.wait import Deadline, wait_until

_ASK_TIMEOUT_S = 2.0
_POLL_S = 0.02
# Longer than the steps that it is for, so that no write is taken by a master that is about to be demoted; and it ends by
# itself, should nobody be there to end it.
PAUSE_MS = 30_000
# A Sentinel gives a failover up after its failover-timeout, which is 10 s unless it is set otherwise.
_BUSY_AT_MOST_S = 15.0


class RedisMove:
    """A move of the master role from `old` to `new`."""

    def __init__(self, context: Context, old: str, new: str) -> None:
        self.context = context
        self.old, self.new = context.stack.services[old], context.stack.services[new]
        self.group = self.sentinels[0].environment.get("SPOKE_REDIS_MASTER_NAME", "") if self.sentinels else ""
        self.gap_began: float | None = None
        self.gap_s: float | None = None
        self._names = names_by_address(context.stack.services.values())

    @property
    def sentinels(self) -> list[Service]:
        return self.context.stack.of_kind(Kind.SENTINEL)

    def facts(self, variant: str) -> dict[str, object]:
        return {"old": self.old.name, "new": self.new.name, "variant": variant}

    def close(self) -> None:
        """Nothing is kept open."""

    def committed(self) -> bool:
        """Whether the new node is master; Failed (`redis_unavailable`) when it does not say.

        A failover that a Sentinel is in the middle of is waited for: it may make it master yet.
        """
        self.wait_until_idle()
        return self._must(self.new).role == "master"

    # How they ask

    def node(self, service: Service) -> RedisNode | None:
        try:
            return observe_redis(*self._address(service), self._password(service), timeout_s=_ASK_TIMEOUT_S)
        except RedisUnavailable:
            return None

    def view(self, sentinel: Service) -> SentinelView | None:
        try:
            return observe_sentinel(*self._address(sentinel), self.group, timeout_s=_ASK_TIMEOUT_S)
        except RedisUnavailable:
            return None

    def busy(self) -> list[str]:
        """The Sentinels that are in the middle of a failover."""
        return [one.name for one in self.sentinels if (view := self.view(one)) and view.facts.failover]

    def wait_until_idle(self) -> None:
        """No Sentinel is in a failover any more. One that has not ended after a while is said by what comes next."""
        with suppress(OutcomeUnknown):
            wait_until(lambda: ", ".join(self.busy()) or None, Deadline(_BUSY_AT_MOST_S), what="no failover is under way")

    def named_by(self, view: SentinelView) -> str:
        return self._names.get(view.master, view.master)

    def name_of(self, address: str) -> str:
        return self._names.get(address, address)

    def _must(self, service: Service) -> RedisNode:
        found = self.node(service)
        if found is None:
            raise Failed(
                "redis_unavailable",
                f"{service.name} does not answer",
                actions=[command_line(self.context.stack.name, f"logs {service.name}")],
            )
        return found

    def _tell(self, service: Service, *words: str) -> Any:
        password = None if service.kind is Kind.SENTINEL else self._password(service)
        try:
            return tell(*self._address(service), password, *words, timeout_s=_ASK_TIMEOUT_S)
        except RedisUnavailable as error:
            raise Failed("redis_refused", f"{service.name} has not taken {' '.join(words[:2])}: {error}") from error

    def _announced_address(self) -> tuple[str, str]:
        try:
            return announced_address(*self._address(self.new), self._password(self.new), timeout_s=_ASK_TIMEOUT_S)
        except RedisUnavailable as error:
            raise Failed("redis_unavailable", f"{self.new.name} does not answer: {error}") from error

    def _address(self, service: Service) -> tuple[str, int]:
        return service.address(service.health.port)

    def _password(self, service: Service) -> str:
        return service.environment.get("SPOKE_REDIS_PASSWORD", "")

    # What the steps do

    def pause_writes(self, deadline: Deadline) -> None:  # noqa: ARG002 - a step's signature
        self.gap_began = time.monotonic()
        self._tell(self.old, "CLIENT", "PAUSE", str(PAUSE_MS), "WRITE")

    def unpause_writes(self, deadline: Deadline) -> None:  # noqa: ARG002 - a step's signature
        with suppress(Failed):  # it ends by itself
            self._tell(self.old, "CLIENT", "UNPAUSE")

    def wait_until_equal(self, deadline: Deadline) -> None:
        """The replica has acknowledged all that the master, which takes no more writes, has sent."""

        def blocker() -> str | None:
            master, replica = self._must(self.old), self._must(self.new)
            behind = master.facts.offset - replica.facts.offset
            return None if behind <= 0 else f"{self.new.name} is {behind} bytes behind"

        wait_until(blocker, deadline, what="equal offsets", interval_s=_POLL_S)

    def have_it_promoted(self, deadline: Deadline) -> None:
        """Asks one Sentinel after the other until the new node is master."""
        self._ask_sentinels(deadline)

    def have_it_coordinated(self, deadline: Deadline) -> None:
        """The Sentinel has the master hand over: it stops its own writes, waits for the replica, and becomes its replica."""
        self.gap_began = time.monotonic()
        self._ask_sentinels(deadline, "COORDINATED")

    def _ask_sentinels(self, deadline: Deadline, *form: str) -> None:
        said: list[str] = []
        asked_at = 0.0

        def ask() -> None:
            for sentinel in self.sentinels:
                try:
                    self._tell(sentinel, "SENTINEL", "FAILOVER", self.group, *form)
                except Failed as error:
                    said.append(error.message)
                    continue
                return

        def blocker() -> str | None:
            nonlocal asked_at
            if (node := self.node(self.new)) is not None and node.role == "master":
                return None
            if time.monotonic() - asked_at > 1.0:
                asked_at = time.monotonic()
                ask()
            return said[-1] if said else f"{self.new.name} is not master yet"

        wait_until(blocker, deadline, what=f"{self.new.name} becomes master", interval_s=_POLL_S)
        if self.gap_began is not None:
            self.gap_s = round(time.monotonic() - self.gap_began, 3)

    def demote_old(self, deadline: Deadline) -> None:  # noqa: ARG002 - a step's signature
        """The old master becomes a replica now, not when a Sentinel gets to it, and its clients look for the new one.

        Its writes go on only then: what it acknowledged as a master after this would be lost.
        """
        if self._must(self.old).role == "master":
            self._tell(self.old, "REPLICAOF", *self._announced_address())
        if (role := self._must(self.old).role) != "replica":
            raise Failed("not_demoted", f"{self.old.name} is {role} although it was told to follow {self.new.name}")
        self._tell(self.old, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
        self._tell(self.old, "CLIENT", "UNPAUSE")

    def kill_old(self, deadline: Deadline) -> None:
        """The old master is down, and seen to be: what freezes could otherwise take writes again."""
        self.gap_began = time.monotonic()
        runtime = self.context.runtime
        if runtime.inspect()[self.old.name].state in DOWN:
            return
        runtime.kill([self.old.name], deadline)

        def blocker() -> str | None:
            state = runtime.inspect()[self.old.name].state
            return None if state in DOWN else f"it is {state}"

        wait_until(blocker, deadline, what=f"{self.old.name} is down")

    def bring_back_old(self, deadline: Deadline) -> None:
        self.context.runtime.start([self.old.name], deadline)

    def wait_until_agreed(self, deadline: Deadline) -> None:
        """Every Sentinel that answers names the new master, and none is in the middle of a failover."""

        def blocker() -> str | None:
            views = [(one.name, self.view(one)) for one in self.sentinels]
            late = [name for name, view in views if view is not None and self.named_by(view) != self.new.name]
            if late:
                return f"{', '.join(late)} still name another"
            busy = [name for name, view in views if view is not None and view.facts.failover]
            return f"{', '.join(busy)} has not ended its failover" if busy else None

        wait_until(blocker, deadline, what="the Sentinels agree", interval_s=0.1)

    def wait_until_followed(self, deadline: Deadline) -> None:
        """The old master is a replica of the new one, with its link up; started where it does not run."""
        runtime = self.context.runtime
        if runtime.inspect()[self.old.name].state in DOWN:
            runtime.start([self.old.name], deadline)

        def blocker() -> str | None:
            node = self.node(self.old)
            if node is None:
                return f"{self.old.name} does not answer yet"
            if node.role != "replica" or self.name_of(node.master) != self.new.name:
                return f"{self.old.name} says {node.role} {node.master}".rstrip()
            return None if node.link == "connected" else f"its link is in state {node.link}"

        again = command_line(self.context.stack.name, f"start {self.old.name}")
        try:
            wait_until(blocker, deadline, what=f"{self.old.name} follows {self.new.name}")
        except OutcomeUnknown as error:
            raise OutcomeUnknown(error.code, error.message, actions=[again]) from error
