"""`scale`: more Spokes, or fewer."""

from typing import Annotated

import typer

from spokectl.cli.command import DEFAULT_TIMEOUT_S, Answer, Command, Duration, current_call

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("scale", cls=Command)
def scale(
    spokes: Annotated[int, typer.Argument(metavar="N", help="How many Spokes shall run; kept for this stack.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")] = False,
    timeout: Annotated[
        float, typer.Option(click_type=Duration(), help="How long to wait until it is so.")
    ] = DEFAULT_TIMEOUT_S,
) -> Answer:
    """Run N Spokes behind the load balancer, from now on: no request fails, and nothing else is touched.

    \b
    Examples:
      spokectl scale 5                two more: each is ready before NGINX learns of it
      spokectl scale 2                fewer: out of NGINX, their requests ended, then stopped
      spokectl scale 8 --dry-run      what would be done, and whether PostgreSQL has room

    New Spokes are like the first one, on the next ports. The number stays for later `up`s; `up --spokes N` sets it too, and
    applies whatever else has changed. Refused (5), with nothing changed, when the pools of all Spokes
    (SPOKE_POSTGRES_MAX_CONNS each) do not fit into SPOKE_POSTGRES_MAX_CONNECTIONS, a port is taken, none of the Spokes that
    would stay answers, or other changes wait for an `up`.
    """
    from spokectl.operations.scaling import ScaleRequest
    from spokectl.operations.scaling import scale as run
    from spokectl.output.scale import print_scale, scaled_notes
    from spokectl.output.stack import progress

    call = current_call()
    request = ScaleRequest(call.stack, call.file, spokes, timeout, dry_run)
    with progress([], silent=call.json or call.quiet or dry_run) as report:
        result = run(request, report)
    text = None if call.quiet and not dry_run else print_scale
    return Answer(result, text=text, notes=scaled_notes(result.data))
