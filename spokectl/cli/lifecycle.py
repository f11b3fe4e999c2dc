"""`up` and `down`."""

from typing import Annotated

import typer

from spokectl.cli.command import DEFAULT_TIMEOUT_S, STOP_TIMEOUT_HELP, Answer, Command, Duration, current_call
from spokectl.cli.confirmation import confirm
from spokectl.settings import StackState, command_line

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("up", cls=Command)
def up(
    runtime: Annotated[
        str | None, typer.Option(metavar="docker|local|auto", help="What runs the servers; settled at the first up.")
    ] = None,
    build: Annotated[bool, typer.Option("--build", help="Build the images anew first (Docker runtime).")] = False,
    port_offset: Annotated[
        int | None, typer.Option(metavar="N", help="Move every port by N, once; it is kept for this stack.")
    ] = None,
    spokes: Annotated[int | None, typer.Option(metavar="N", help="How many Spokes to run; kept for this stack.")] = None,
    generate_secrets: Annotated[
        bool, typer.Option("--generate-secrets", help="Make random passwords where none is set; kept for this stack.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(click_type=Duration(), help="How long to wait until everything answers.")
    ] = DEFAULT_TIMEOUT_S,
) -> Answer:
    """Bring the stack up, or repair it: what is missing is started, what is healthy is not touched.

    Servers whose supervisor was killed are stopped, a standby first, and started again under a new one.

    \b
    Examples:
      spokectl up
      spokectl up --stack second --port-offset 1000     a second stack beside the first
      spokectl up --spokes 5
      spokectl up --generate-secrets                    passwords of its own, from the first up
      spokectl up --json --timeout 5m
      spokectl up -q && spokectl endpoints              -q: no addresses, nothing but errors
    """
    from spokectl.operations.lifecycle import UpRequest
    from spokectl.operations.lifecycle import up as bring_up
    from spokectl.output.stack import access_notes, print_endpoints, progress, scale_notes

    call = current_call()
    request = UpRequest(call.stack, call.file, runtime, port_offset, spokes, timeout, build, generate_secrets)
    with progress([], silent=call.json or call.quiet) as report:
        result = bring_up(request, report)
    data = result.data
    access = access_notes(call.stack, data.endpoints, data.elapsed_s) if result.error is None else []
    return Answer(
        result,
        text=None if call.quiet else lambda data: print_endpoints(data.endpoints),
        notes=[*scale_notes(call.stack, data.scaled), *access],
    )


@app.command("down", cls=Command)
def down(
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Also delete all data and logs of the stack; settings and events stay.")
    ] = False,
    images: Annotated[bool, typer.Option("--images", help="Also remove the stack's images (Docker runtime).")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    timeout: Annotated[float, typer.Option(click_type=Duration(), help=STOP_TIMEOUT_HELP)] = DEFAULT_TIMEOUT_S,
) -> Answer:
    """Stop everything of the stack. Data stays, unless --volumes deletes it (the stack's name is asked for).

    A stack file that is broken or gone is no obstacle: what was last brought up is stopped.

    What --volumes leaves in the stack's state folder: its settings (stack.env), the ledger of what was done to it
    (events.jsonl) and the lock. Nothing else needs that folder: delete it, and the stack never was.

    \b
    Examples:
      spokectl down
      spokectl down --timeout 5m
      spokectl down --volumes --yes
    """
    from spokectl.operations.lifecycle import down as take_down
    from spokectl.output.stack import progress

    call = current_call()
    if volumes:
        confirm(f"Delete all data of the stack {call.stack}", call.stack, type_name=True, yes=yes)
    with progress([], silent=call.json or call.quiet) as report:
        result = take_down(call.stack, call.file, volumes=volumes, images=images, timeout_s=timeout, report=report)
    # Compose's `down -v` deletes volumes; here nothing that is deleted hides behind one letter.
    hints = ["-v means --verbose: data is deleted by --volumes."] if call.verbose and not volumes else []
    if not result.data.exists:
        return Answer(result, notes=[f"There is no stack {call.stack}: nothing to stop.", *hints])
    down = "is down" if result.data.was_running else "was down already"
    kept = f"its data is kept ({command_line(call.stack, 'up')} brings it back)"
    if volumes:
        kept = f"its data is deleted; its settings and events stay in {StackState(call.stack).folder}"
    return Answer(result, notes=[f"The stack {call.stack} {down}; {kept}.", *hints])
