"""`drill`: the stack is broken on purpose under load, and what it promises is measured."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from spokectl.cli import names as live
from spokectl.cli.command import Answer, Command, Duration, current_call, noun
from spokectl.cli.confirmation import confirm
from spokectl.errors import UsageError
from spokectl.result import Result

if TYPE_CHECKING:
    from spokectl.drills.store import Store

app = noun("Break the stack on purpose, under load, and measure what it promises.")
Junit = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the run there as JUnit XML, for CI.")]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the run there as one page with its timelines.")]


@app.command("run", cls=Command)
def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", autocompletion=live.drills, help="Which drills: see `drill list`."),
    ] = None,
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
    allow_data_loss: Annotated[
        bool, typer.Option("--allow-data-loss", help="Also drills that give up acknowledged writes, those of others too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before writes may be lost.")] = False,
    junit: Junit = None,
    html: Html = None,
) -> Answer:
    """Carry out drills, one after the other: clients write and read, something breaks, is healed, and all is counted.

    The verdict is by each drill's objective, or by --objective. What is broken is always healed, also after Ctrl-C, a
    kill -9 of this command (by the next one) or a failed drill. Exit 0: all held; 11: an objective was missed; what this
    runtime cannot do is skipped, and says why (5 where nothing is left to do).

    \b
    Examples:
      spokectl drill run --seed-tests
      spokectl drill run postgres-kill --repeat 5
      spokectl drill run --all --objective rto=5s
      spokectl drill run soak --soak-time 1h --seed 7
      spokectl drill run --ci --junit drills.xml --html drills.html
    """
    from spokectl.drills import choosing
    from spokectl.drills.files import require_writable, shown, write_files
    from spokectl.drills.objective import parse_bounds
    from spokectl.drills.runner import RunRequest
    from spokectl.drills.runner import run as carry_out
    from spokectl.drills.stage import SOAK_S
    from spokectl.output.drills import print_run, watched

    call = current_call()
    drills = choosing.chosen(names or [], everything=everything, seed_tests=seed_tests, ci=ci)
    bounds = parse_bounds(objective) if objective is not None else None
    require_writable(junit, html)
    if allow_data_loss and any(each.gives_up_writes for each in drills):
        question = f"Go on, although writes that the stack {call.stack} has acknowledged, of anybody, will be lost"
        confirm(question, call.stack, type_name=True, yes=yes)
    flags = {
        "--allow-data-loss": allow_data_loss,
        "--all": everything,
        "--seed-tests": seed_tests,
        "--ci": ci,
        "--keep": keep,
    }
    values = {"--repeat": repeat if repeat > 1 else None, "--objective": objective, "--seed": seed, "--soak-time": soak_time}
    words = [*(names or []), *(flag for flag, is_set in flags.items() if is_set)]
    words += [word for option, value in values.items() if value is not None for word in (option, str(value))]
    request = RunRequest(
        call.stack,
        call.file,
        words,
        drills,
        repeat,
        bounds,
        keep,
        seed,
        soak_time or SOAK_S,
        allow_data_loss,
        at_the_end=lambda ended: write_files(ended, junit=junit, html=html),
    )
    with watched(len(drills) * repeat, silent=call.json or call.quiet) as watcher:
        ended = carry_out(request, watcher)
    data = shown(ended, _store(call.stack))
    result = replace(choosing.judged(ended), data=data)
    return Answer(result, text=lambda _: print_run(ended), notes=["", f"The whole run, drawn: {data['files']['html']}"])


@app.command("list", cls=Command)
def list_all() -> Answer:
    """Show every drill: what it breaks, what must hold, which runtime can do it, and what became of it so far.

    MEDIAN and WORST are of the time that the drill bounds, else of how long writes stood still (rto), over all runs. TREND
    says what is different in the last run: what is beyond all runs before it (three at least), and by half as much again.

    \b
    Examples:
      spokectl drill list
      spokectl drill list --json | jq -r '.data[] | select(.in_ci) | .drill'
    """
    from spokectl.drills.catalog import all_drills
    from spokectl.drills.trend import listed
    from spokectl.output.drill_reports import print_list

    rows = listed(all_drills().values(), _store(current_call().stack).runs())
    return Answer(Result(rows), text=print_list)


@app.command("show", cls=Command)
def show(
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", autocompletion=live.runs, help="The last one when none is named.")
    ] = None,
    every: Annotated[bool, typer.Option("--list", help="Every run there is, instead.")] = False,
    junit: Junit = None,
    html: Html = None,
) -> Answer:
    """Show a run: its verdict, the timeline of each trial, figures against what was promised, and the writes they count.

    \b
    Examples:
      spokectl drill show
      spokectl drill show --list
      spokectl drill show 20260131-120000 --html report.html
    """
    from spokectl.drills.files import require_writable, runs_listed, shown, write_files
    from spokectl.output.drill_reports import print_runs, print_shown

    call = current_call()
    store = _store(call.stack)
    if every:
        if run_id is not None or junit is not None or html is not None:
            raise UsageError("list_and_run", "--list shows all runs: it takes none, and writes no file")
        runs, unreadable = store.runs(), store.unreadable()
        return Answer(Result(runs_listed(runs, unreadable)), text=lambda _: print_runs(runs, unreadable))
    require_writable(junit, html)
    found = store.run(run_id)
    written = write_files(found, junit=junit, html=html)
    data = shown(found, store)
    page = data["files"]["html"]
    notes = [f"written: {path}" for path in written] or [f"The same, drawn: {page}"] * bool(page)
    return Answer(Result(data), text=lambda _: print_shown(found), notes=["", *notes] if notes else [])


@app.command("compare", cls=Command)
def compare(
    run_a: Annotated[str, typer.Argument(metavar="A", autocompletion=live.runs, help="A run: see `drill show --list`.")],
    run_b: Annotated[
        str | None, typer.Argument(metavar="[B]", autocompletion=live.runs, help="The last run when it is not named.")
    ] = None,
) -> Answer:
    """Show what has changed from one run to another: of each drill and figure median and worst in both, and the ratio.

    The last column names a change only with three trials on each side, and the median of B beyond all of A by half as much
    again: less is scatter.

    \b
    Examples:
      spokectl drill compare 20260131-120000
      spokectl drill compare 20260131-120000 20260201-120000
    """
    from spokectl.drills import trend
    from spokectl.output.drill_reports import print_comparison

    store = _store(current_call().stack)
    return Answer(Result(trend.compare(store.run(run_a), store.run(run_b))), text=print_comparison)


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


def _store(stack: str) -> "Store":
    from spokectl.drills.store import Store
    from spokectl.settings import StackState

    return Store(StackState(stack))
