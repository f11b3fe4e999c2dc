"""`redis`: its nodes and Sentinels, as they are now."""

from spokectl.cli.command import DEFAULT_TIMEOUT_S, Answer, Command, Timeout, current_call, noun
from spokectl.operations.redis import observe
from spokectl.output import databases

app = noun("Redis's nodes and Sentinels: status, info, sentinels, reset-sentinels.")


@app.command("status", cls=Command)
def status() -> Answer:
    """Show nodes and Sentinels: who is master and who thinks so, how far the replica is behind, and what a loss would mean.

    \b
    Examples:
      spokectl redis status
      spokectl redis status --json | jq -r '.data.nodes[] | "\\(.service) \\(.role)"'

    Exit 10 when one is not well, or when they do not agree.
    """
    call = current_call()
    return Answer(observe.status(call.stack, call.file), text=databases.print_redis_status)


@app.command("info", cls=Command)
def info() -> Answer:
    """Show memory, evictions, keys, hits and misses of each node.

    \b
    Examples:
      spokectl redis info
      spokectl redis info --json | jq '.data[].facts.memory_used_bytes'
    """
    call = current_call()
    return Answer(observe.nodes(call.stack, call.file), text=databases.print_redis_info)


@app.command("sentinels", cls=Command)
def sentinels() -> Answer:
    """Show whom each Sentinel thinks master, whether it could act (CKQUORUM), its epoch, and whom it knows.

    \b
    Example: spokectl redis sentinels
    """
    call = current_call()
    return Answer(observe.sentinels(call.stack, call.file), text=databases.print_sentinels)


@app.command("reset-sentinels", cls=Command)
def reset_sentinels(
    timeout: Timeout = DEFAULT_TIMEOUT_S,
) -> Answer:
    """Have the Sentinels forget replicas and Sentinels that are no more: one after another, each finds the living again.

    \b
    Example: spokectl redis reset-sentinels

    Refused (5) without a healthy master on which they agree, during a failover, and while a node runs without answering.
    """
    from spokectl.operations.redis.reset import reset_sentinels as reset
    from spokectl.output.stack import progress

    call = current_call()
    with progress([], silent=call.json or call.quiet) as report:
        result = reset(call.stack, call.file, timeout, report)
    return Answer(result, notes=[f"{each['service']}: {each['state']}" for each in result.data])
