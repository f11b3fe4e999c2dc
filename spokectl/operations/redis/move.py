"""The two Redis nodes between which the master role moves, the Sentinels, and what the steps of a move do to them.

Redis is a cache here, but a move loses nothing all the same: a plain SENTINEL FAILOVER on a living master loses what it
acknowledges until it is demoted (measured: more than half under load), so its writes are paused first, or the server does
the whole by itself where it can (Valkey 9: SENTINEL FAILOVER … COORDINATED).
"""

import time
from collections.abc import Callable
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
from spokectl.operations.moves import put_down
from spokectl.operations.redis.agreement import names_by_address
from spokectl.settings import command_line
from spokectl.wait import Deadline, wait_until

_ASK_TIMEOUT_S = 2.0
_POLL_S = 0.02
_ASK_EVERY_S = 1.0
# How the answer of a Sentinel begins that is in the middle of a failover.
_UNDER_WAY = "INPROG"
# How it begins where no replica is fit: one that misses its master for more than so many times down-after is not, unless
# the Sentinel has missed it as long.
_UNFIT, _UNFIT_AFTER = "NOGOODSLAVE", 10
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
        self._pause_ends = 0.0
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

    def told_of(self, node: Service) -> list[dict[str, str]]:
        """What each Sentinel that answers, and knows the node as a replica, has noted of it."""
        found = []
        for sentinel in self.sentinels:
            with suppress(Failed):
                noted = [_pairs(each) for each in self._tell(sentinel, "SENTINEL", "REPLICAS", self.group)]
                found += [each for each in noted if self.name_of(f"{each['ip']}:{each['port']}") == node.name]
        return found

    def _typed(self, *commands: str) -> list[str]:
        return [command_line(self.context.stack.name, words) for words in commands]

    def _must(self, service: Service) -> RedisNode:
        found = self.node(service)
        if found is None:
            raise Failed("redis_unavailable", f"{service.name} does not answer", actions=self._typed(f"logs {service.name}"))
        return found

    def _tell(self, service: Service, *words: str) -> Any:
        password = None if service.kind is Kind.SENTINEL else self._password(service)
        try:
            return tell(*self._address(service), password, *words, timeout_s=_ASK_TIMEOUT_S)
        except RedisUnavailable as error:
            message = f"{service.name} has not taken {' '.join(words[:2])}: {error}"
            actions = self._typed("redis status", f"logs {service.name}")
            raise Failed("redis_refused", message, actions=actions) from error

    def _announced_address(self) -> tuple[str, str]:
        try:
            return announced_address(*self._address(self.new), self._password(self.new), timeout_s=_ASK_TIMEOUT_S)
        except RedisUnavailable as error:
            message = f"{self.new.name} does not answer: {error}"
            raise Failed("redis_unavailable", message, actions=self._typed(f"logs {self.new.name}")) from error

    def _address(self, service: Service) -> tuple[str, int]:
        return service.address(service.health.port)

    def _password(self, service: Service) -> str:
        return service.environment.get("SPOKE_REDIS_PASSWORD", "")

    # What the steps do

    def pause_writes(self, deadline: Deadline) -> None:  # noqa: ARG002 - a step's signature
        self.gap_began = time.monotonic()
        self._pause_ends = self.gap_began + PAUSE_MS / 1000
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

        actions = self._typed("redis status", f"logs {self.new.name}")
        wait_until(blocker, deadline, what="equal offsets", actions=actions, interval_s=_POLL_S)

    def have_it_promoted(self, deadline: Deadline) -> None:
        """Asks one Sentinel after the other until the new node is master."""
        self._ask_sentinels(deadline)

    def have_it_promoted_in_the_pause(self, deadline: Deadline) -> None:
        """What keeps this program from running, such as a frozen terminal, does not keep the pause from ending."""
        if time.monotonic() > self._pause_ends - deadline.remaining_s:
            message = f"the pause of writes on {self.old.name} is about to end: the replica may lack what comes then"
            raise Failed("pause_over", message, actions=self._typed("switchover redis"))
        self.have_it_promoted(deadline)

    def fence_and_have_it_promoted(self, deadline: Deadline) -> None:
        """Somebody may have started the old master since it was put down; what it took now would be thrown away."""
        if not self._is_master():
            put_down(self.context, self.old.name, deadline)
            self._refresh_where_unfit(deadline)
        self.have_it_promoted(deadline)

    def _refresh_where_unfit(self, deadline: Deadline) -> None:
        """Restarts a replica that Sentinels find unfit only because it misses its master for much longer than they do.

        Sentinels that were down too, and began to miss the master later, would never promote it. A restart makes it
        forget how long it has been alone; what it holds it keeps, and it is a cache that nobody believes unasked.
        """
        node = self.node(self.new)
        alone_s = (node.facts.link_down_s if node else None) or 0
        down_after_ms = int(self.sentinels[0].environment.get("SPOKE_SENTINEL_DOWN_AFTER_MS", "2000"))
        if alone_s * 1000 > _UNFIT_AFTER * down_after_ms and _UNFIT in self._ask_one():
            self.context.runtime.stop([self.new.name], deadline)
            self.context.runtime.start([self.new.name], deadline)

    def have_it_coordinated(self, deadline: Deadline) -> None:
        """The Sentinel has the master hand over: it stops its own writes, waits for the replica, and becomes its replica."""
        self.gap_began = time.monotonic()
        self._ask_sentinels(deadline, "COORDINATED")

    def _ask_sentinels(self, deadline: Deadline, *form: str) -> None:
        blocker = asked_each_second(self._is_master, lambda: self._ask_one(*form), f"{self.new.name} is not master yet")
        actions = self._typed("redis sentinels", f"logs {self.new.name}")
        wait_until(blocker, deadline, what=f"{self.new.name} becomes master", actions=actions, interval_s=_POLL_S)
        if self.gap_began is not None:
            self.gap_s = round(time.monotonic() - self.gap_began, 3)

    def _is_master(self) -> bool:
        node = self.node(self.new)
        return node is not None and node.role == "master"

    def _ask_one(self, *form: str) -> str:
        """Why no Sentinel goes about it; empty when one does, or is in the middle of it.

        A second one would not wait for the first: it would begin a failover of its own, and kill the clients again.
        """
        said = "there is no Sentinel"
        for sentinel in self.sentinels:
            try:
                self._tell(sentinel, "SENTINEL", "FAILOVER", self.group, *form)
            except Failed as error:
                if _UNDER_WAY in error.message:
                    return ""
                said = error.message
            else:
                return ""
        return said

    def demote_old(self, deadline: Deadline) -> None:  # noqa: ARG002 - a step's signature
        """The old master becomes a replica now, not when a Sentinel gets to it, and its clients look for the new one.

        Its writes go on only then: what it acknowledged as a master after this would be lost.
        """
        if self._must(self.old).role == "master":
            self._tell(self.old, "REPLICAOF", *self._announced_address())
        if (role := self._must(self.old).role) != "replica":
            message = f"{self.old.name} is {role} although it was told to follow {self.new.name}"
            raise Failed("not_demoted", message, actions=self._typed("redis status", f"logs {self.old.name}"))
        self._tell(self.old, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
        self._tell(self.old, "CLIENT", "UNPAUSE")

    def kill_old(self, deadline: Deadline) -> None:
        """The old master is down, and seen to be: what freezes could otherwise take writes again."""
        self.gap_began = time.monotonic()
        put_down(self.context, self.old.name, deadline)

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

        actions = self._typed("redis sentinels", "up")
        wait_until(blocker, deadline, what="the Sentinels agree", actions=actions, interval_s=0.1)

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

        actions = self._typed(f"start {self.old.name}", f"logs {self.old.name}")
        wait_until(blocker, deadline, what=f"{self.old.name} follows {self.new.name}", actions=actions)


def asked_each_second(
    done: Callable[[], bool], ask: Callable[[], str], waiting: str, clock: Callable[[], float] = time.monotonic
) -> Callable[[], str | None]:
    """A blocker for what has to be asked for: why the last asking was in vain, or else `waiting`; None once it is done."""
    said, asked_at = "", float("-inf")

    def blocker() -> str | None:
        nonlocal said, asked_at
        if done():
            return None
        if clock() - asked_at > _ASK_EVERY_S:
            asked_at = clock()
            said = ask()
        return said or waiting

    return blocker


def _pairs(flat: list[bytes]) -> dict[str, str]:
    words = [word.decode("utf-8", "replace") for word in flat]
    return dict(zip(words[::2], words[1::2], strict=False))
