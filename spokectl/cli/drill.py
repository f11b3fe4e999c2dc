"""`drill`: the stack is broken on purpose under load, and what it promises is measured."""

from typing import Annotated

import click
import typer

from spokectl.cli.command import Answer, Command, Duration, current_call, noun

app = noun("Break the stack on purpose, under load, and measure what it promises.")


@app.command("run", cls=Command)
def run(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which drills: see `drill list`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every drill that this runtime can do.")] = False,
    seed_tests: Annotated[bool, typer.Option("--seed-tests", help="The six tests of the stack's README.")] = False,
    ci: Annotated[bool, typer.Option("--ci", help="Those that tell most within ten minutes.")] = False,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="How often each is carried out.")] = 1,
    objective: Annotated[
        str | None, typer.Option(metavar="BOUNDS", help="Other bounds than the drills' own: rto=1s,lost=0,failed=0.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave what the clients wrote, and a stack that is not well, as they are.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="What a random soak is made from; the same repeats it.")] = None,
    soak_time: Annotated[
        float | None, typer.Option(click_type=Duration(), help="How long a soak goes on. Default: 5m.", show_default=False)
    ] = None,
) -> Answer:
    """Carry out drills, one after the other: clients write and read, something breaks, is healed, and all is counted.

    The verdict is by each drill's objective, or by --objective. What is broken is always healed, also after Ctrl-C, a
    kill -9 of this command (by the next one) or a failed drill. Exit 0: all held; 11: an objective was missed; what this
    runtime cannot do is skipped, and says why.

    \b
    Examples:
      spokectl drill run --seed-tests
      spokectl drill run postgres-kill --repeat 5
      spokectl drill run --all --objective rto=5s
      spokectl drill run soak --soak-time 1h --seed 7
    """
    from spokectl.drills import choosing
    from spokectl.drills.objective import parse_bounds
    from spokectl.drills.runner import RunRequest
    from spokectl.drills.runner import run as carry_out
    from spokectl.drills.stage import SOAK_S
    from spokectl.output.drills import print_run, watched

    call = current_call()
    drills = choosing.chosen(names or [], everything=everything, seed_tests=seed_tests, ci=ci)
    bounds = parse_bounds(objective) if objective is not None else None
    words = [*(names or []), *(["--all"] if everything else []), *(["--seed-tests"] if seed_tests else [])]
    request = RunRequest(call.stack, call.file, words, drills, repeat, bounds, keep, seed, soak_time or SOAK_S)
    with watched(silent=call.json or call.quiet) as watcher:
        result = choosing.judged(carry_out(request, watcher))
    return Answer(result, text=print_run)


@app.command("heal", cls=Command)
def heal() -> Answer:
    """Undo whatever a drill has left broken, as the next command of any kind would.

    \b
    Example: spokectl drill heal
    """
    from spokectl.drills.healing import heal_left_behind

    call = current_call()
    result = heal_left_behind(call.stack, call.file, lambda sentence: None if call.quiet else click.echo(sentence, err=True))
    return Answer(result, notes=[] if result.data else ["nothing was broken"])
