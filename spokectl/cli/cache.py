"""`cache`: what the Spokes and Redis keep of versions, and what that is worth."""

from typing import Annotated

import click
import typer

from spokectl.cli.command import DEFAULT_TIMEOUT_S, Answer, Command, Timeout, current_call, noun
from spokectl.cli.confirmation import confirm, require_answerer

app = noun("The caches of versions, in the Spokes' memory and in Redis: stats, keys, bench, flush.")


@app.command("stats", cls=Command)
def stats() -> Answer:
    """Show hits, misses and size of each Spoke's cache and of Redis, since each was started.

    \b
    Examples:
      spokectl cache stats
      spokectl cache stats --json | jq '.data.total.either.hit_ratio'

    Exit 10 when one of them does not tell.
    """
    from spokectl.operations import cache
    from spokectl.output.cache import print_stats

    call = current_call()
    return Answer(cache.stats(call.stack, call.file), text=print_stats)


@app.command("keys", cls=Command)
def keys(
    match: Annotated[str, typer.Option(metavar="GLOB", help="Only keys like this: * ? [abc], as Redis has it.")] = "*",
    limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="At most so many.")] = 100,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
) -> Answer:
    """List keys of Redis's master with their type, memory and time to live. By SCAN: other clients go on meanwhile.

    \b
    Examples:
      spokectl cache keys --match 'version:*'
      spokectl cache keys --match 'version:payments:*' --limit 10
      spokectl cache keys --json | jq -r '.data.keys[].key'
    """
    from spokectl.operations import cache
    from spokectl.output.cache import keys_notes, print_keys

    call = current_call()
    result = cache.keys(call.stack, call.file, match, limit, timeout)
    return Answer(result, text=print_keys, notes=keys_notes(result.data))


@app.command("bench", cls=Command)
def bench(
    reads: Annotated[int, typer.Option(metavar="N", help="How many cold reads; at most 500.")] = 20,
    module: Annotated[str | None, typer.Option(metavar="M", help="With --version: read this one, which exists.")] = None,
    version: Annotated[str | None, typer.Option(metavar="V", help="With --module.")] = None,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
) -> Answer:
    """Measure how much faster a version is read from a cache than from PostgreSQL, through the load balancer.

    Without --module versions are made for it, each read for the first time, again, and until a Spoke has it in memory; then
    they are removed. With one that exists its key is dropped from Redis before each cold read; a Spoke that has it in its
    own memory answers from there all the same, so what counts as cold is what the answers say (X-Spoke-Cache).

    \b
    Examples:
      spokectl cache bench
      spokectl cache bench --reads 100
      spokectl cache bench --module payments --version v1.0.0
      spokectl cache bench --json | jq '.data.warm.times_faster'
    """
    from spokectl.cli.registry import TIMEOUT_S, target
    from spokectl.operations.cache_bench import BenchRequest
    from spokectl.operations.cache_bench import bench as measure
    from spokectl.output.cache import print_bench
    from spokectl.output.stack import progress

    call = current_call()
    request = BenchRequest(reads, timeout, module, version)
    with progress([], silent=call.json or call.quiet) as report:
        result = measure(call.stack, call.file, request, target(None, TIMEOUT_S), report)
    return Answer(result, text=print_bench)


@app.command("flush", cls=Command)
def flush(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
) -> Answer:
    """Delete the registry's keys (version:*) from Redis. Nothing is lost: they are copies, and come back as they are read.

    Keys of others stay. Each Spoke goes on to answer from its own memory, of which PostgreSQL says within half a second
    whether it still counts; `restart` of a Spoke empties that too.

    \b
    Examples:
      spokectl cache flush
      spokectl cache flush --yes --json | jq .data.deleted
    """
    from spokectl.operations import cache
    from spokectl.operations.context import running_context
    from spokectl.output.cache import flush_notes

    call = current_call()
    context = running_context(call.stack, call.file)
    require_answerer("Delete the cached versions from Redis", yes=yes)
    master = cache.master_of(context)
    confirm(f"Delete the cached versions of the stack {call.stack} from Redis ({master})", master, type_name=False, yes=yes)
    result = cache.flush(context, master, timeout)
    return Answer(result, text=lambda data: click.echo(data.deleted), notes=flush_notes(call.stack, result.data))
