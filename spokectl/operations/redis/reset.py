"""Has the Sentinels forget what they know and find it again: one after another, so that the others can act meanwhile."""

from collections.abc import Callable, Sequence
from pathlib import Path

from spokectl.errors import Incomplete, OutcomeUnknown, Refused
from spokectl.facts import RedisFacts, SentinelFacts
from spokectl.model import Kind, RunState
from spokectl.operations.context import Context, exclusive, running_context
from spokectl.operations.health import WHO_AGREE, ServiceStatus, observe
from spokectl.result import Report, Result
from spokectl.settings import command_line
from spokectl.wait import Deadline, wait_until

_TIMEOUT_S = 3.0
_LOOK_EVERY_S = 0.5


def reset_sentinels(name: str, file: Path | None, timeout_s: float, report: Report) -> Result:
    """SENTINEL RESET on each Sentinel that answers, as `reset_each` does it."""
    context = running_context(name, file)
    with exclusive(context.state, "redis reset-sentinels"), context.journal.operation("redis reset-sentinels") as ending:
        done = reset_each(context, Deadline(timeout_s), report, ending.changes_begun)
    return Result([{"service": each, "state": "reset"} for each in done])


def reset_each(context: Context, deadline: Deadline, report: Report, begun: Callable[[], None] = lambda: None) -> list[str]:
    """The Sentinels that were reset: the next one's turn comes when one has found replicas and Sentinels again.

    Refused (`sentinels_unfit`) before anything is done without a healthy master on which they agree, or when a node might
    come back as a second one; Incomplete when that happens on the way. OutcomeUnknown when one has not found everybody by
    the deadline: the others are left alone. `begun` is called once one has been reset, and again with each.
    """
    status = [command_line(context.stack.name, "redis status")]
    done: list[str] = []
    seen = _observe(context)
    for sentinel in [each.service for each in seen if each.kind is Kind.SENTINEL and each.role] or [""]:
        # Looked at anew: the one before may have taken long, and a master may have died meanwhile.
        seen = _observe(context) if done else seen
        if reason := refusal(seen):
            if done:
                raise Incomplete("sentinels_unfit", f"only {', '.join(done)} were reset: {reason}", actions=status)
            raise Refused("sentinels_unfit", f"nothing was reset: {reason}", actions=status)
        report(sentinel, "resetting")
        _reset(context, sentinel)
        begun()
        _wait_until_found(context, sentinel, expected(seen), deadline)
        report(sentinel, "healthy", "it knows everybody again")
        done.append(sentinel)
    return done


def refusal(seen: Sequence[ServiceStatus]) -> str:
    """Why no Sentinel may be reset now, empty when one may. Pure.

    A node that runs and does not answer would be forgotten: back again as master, it would be nobody's to demote. One
    that is down asks the Sentinels before it starts.
    """
    nodes = [each for each in seen if each.kind is Kind.REDIS]
    sentinels = [each for each in seen if each.kind is Kind.SENTINEL and each.role]
    masters = [each for each in nodes if each.role == "master"]
    if len(masters) != 1:
        return f"{' and '.join(each.service for each in masters)} both say master" if masters else "there is no master"
    master = masters[0]
    silent = [each.service for each in nodes if not each.role and each.state in {RunState.RUNNING, RunState.PAUSED}]
    if silent:
        return f"{', '.join(silent)} runs and does not answer: forgotten, it could come back as a second master"
    unfit = next((each for each in [master, *sentinels] if not each.ok), None)
    if unfit is not None:
        return f"{unfit.service} is not well: {unfit.reason}"
    if not sentinels:
        return "no Sentinel answers"
    busy = next((each for each in sentinels if isinstance(each.facts, SentinelFacts) and each.facts.failover), None)
    return f"{busy.service} is in a failover" if busy else ""


def expected(seen: Sequence[ServiceStatus]) -> tuple[int, int]:
    """How many replicas and how many Sentinels, itself among them, a Sentinel has to find again. Pure."""
    replicas = next(
        (each.facts.replicas for each in seen if isinstance(each.facts, RedisFacts) and each.role == "master"), ()
    )
    return len(replicas), sum(each.kind is Kind.SENTINEL and bool(each.role) for each in seen)


def _observe(context: Context) -> list[ServiceStatus]:
    return observe(context, [each.name for each in context.stack.services.values() if each.kind in WHO_AGREE])


def _reset(context: Context, sentinel: str) -> None:
    from spokectl.clients.redis import RedisUnavailable, reset_sentinel

    service = context.stack.services[sentinel]
    master_name = service.environment.get("SPOKE_REDIS_MASTER_NAME", "")
    try:
        reset_sentinel(*service.address(service.health.port), master_name, timeout_s=_TIMEOUT_S)
    except RedisUnavailable as error:
        message = f"whether {sentinel} was reset is not known: {error}"
        raise OutcomeUnknown("sentinel_silent", message, actions=_next(context)) from error


def _wait_until_found(context: Context, sentinel: str, wanted: tuple[int, int], deadline: Deadline) -> None:
    def blocker() -> str | None:
        [seen] = observe(context, [sentinel])
        if not seen.ok or not isinstance(seen.facts, SentinelFacts):
            return seen.reason or seen.health
        found = seen.facts.replicas, seen.facts.sentinels
        if found[0] >= wanted[0] and found[1] >= wanted[1]:
            return None
        return f"it knows {found[0]} of {wanted[0]} replicas and {found[1]} of {wanted[1]} Sentinels"

    what = f"{sentinel} finding everybody again"
    wait_until(blocker, deadline, what=what, actions=_next(context), interval_s=_LOOK_EVERY_S)


def _next(context: Context) -> list[str]:
    return [command_line(context.stack.name, words) for words in ("redis sentinels", "redis reset-sentinels")]
