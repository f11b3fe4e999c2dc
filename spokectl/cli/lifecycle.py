"""`up` and `down`."""

from typing import Annotated

import typer

from spokectl.cli.command import DEFAULT_TIMEOUT_S, Answer, Command, Duration, current_call
from spokectl.cli.confirmation import confirm
from spokectl.settings import command_line

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("up", cls=Command)
def up(
    runtime: Annotated[
        str | None, typer.Option(metavar="docker|local|auto", help="What runs the servers; settled at the first up.")
    ] = None,
    port_offset: Annotated[
        int | None, typer.Option(metavar="N", help="Move every port by N, once; it is kept for this stack.")
    ] = None,
    spokes: Annotated[int | None, typer.Option(metavar="N", help="How many Spokes to run.")] = None,
    timeout: Annotated[
        float, typer.Option(click_type=Duration(), help="How long to wait until everything answers.")
    ] = DEFAULT_TIMEOUT_S,
) -> Answer:
    """Bring the stack up, or repair it: what is missing is started, what is healthy is not touched.

    \b
    Examples:
      spokectl up
      spokectl up --stack second --port-offset 1000     a second stack beside the first
      spokectl up --spokes 5
      spokectl up --json --timeout 5m
    """
    from spokectl.operations.context import open_stack
    from spokectl.operations.lifecycle import UpRequest
    from spokectl.operations.lifecycle import up as bring_up
    from spokectl.output.stack import access_notes, print_endpoints, progress

    call = current_call()
    request = UpRequest(call.stack, call.file, runtime, port_offset, spokes, timeout)
    with progress(list(open_stack(call.stack, call.file).services), silent=call.json or call.quiet) as report:
        result = bring_up(request, report)
    return Answer(
        result,
        text=lambda data: print_endpoints(data.endpoints),
        notes=access_notes(call.stack, result.data.endpoints, result.data.elapsed_s) if result.error is None else (),
    )


@app.command("down", cls=Command)
def down(
    volumes: Annotated[bool, typer.Option("--volumes", help="Also delete all data of the stack.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> Answer:
    """Stop everything of the stack. Data stays, unless --volumes deletes it (the stack's name is asked for).

    \b
    Examples:
      spokectl down
      spokectl down --volumes --yes
    """
    from spokectl.operations.lifecycle import down as take_down
    from spokectl.output.stack import progress

    call = current_call()
    if volumes:
        confirm(f"Delete all data of the stack {call.stack}", call.stack, type_name=True, yes=yes)
    with progress([], silent=call.json or call.quiet) as report:
        result = take_down(call.stack, call.file, volumes=volumes, report=report)
    # Compose's `down -v` deletes volumes; here nothing that is deleted hides behind one letter.
    hints = ["-v means --verbose: data is deleted by --volumes."] if call.verbose and not volumes else []
    if not result.data["was_up"]:
        return Answer(result, notes=[f"The stack {call.stack} was never brought up: there is nothing to stop.", *hints])
    kept = "its data is deleted" if volumes else f"its data is kept ({command_line(call.stack, 'up')} brings it back)"
    return Answer(result, notes=[f"The stack {call.stack} is down; {kept}.", *hints])
