"""`postgres`: the two nodes, as they are now, and the commands for what their guards leave to a person."""

from collections.abc import Sequence
from typing import Annotated

import click
import typer

from spokectl.cli import names
from spokectl.cli.command import Answer, Command, Duration, current_call, noun
from spokectl.cli.confirmation import confirm, require_answerer
from spokectl.operations.postgres import observe
from spokectl.output import databases
from spokectl.result import Result

_COPY_TIMEOUT_S = 600.0
app = noun("PostgreSQL's nodes: status, lag, slots, connections; reinit, adopt.")
Node = Annotated[
    str,
    typer.Argument(
        metavar="NODE", autocompletion=names.postgres_nodes, help="The service's name, such as postgres-replica."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("status", cls=Command)
def status() -> Answer:
    """Show each node's role, position, lag, slots and connections, the cluster record, and what would be lost now.

    \b
    Examples:
      spokectl postgres status
      spokectl postgres status --json | jq '.data.outlook[].bytes_at_risk'

    Exit 10 when a node is not well. Names are nodes, not roles: after a failover postgres-replica is the primary.
    """
    call = current_call()
    return Answer(observe.status(call.stack, call.file), text=databases.print_postgres_status)


@app.command("lag", cls=Command)
def lag() -> Answer:
    """Show how far each standby is behind: written, flushed and replayed, in bytes and time.

    \b
    Examples:
      spokectl postgres lag
      spokectl postgres lag --json | jq '.data[].flush_lag_bytes'

    The primary measures. Without one, a standby says how much of what it received is not replayed yet, and how old the
    last of it is.
    """
    call = current_call()
    return Answer(observe.lag(call.stack, call.file), text=databases.print_lags)


@app.command("slots", cls=Command)
def slots() -> Answer:
    """Show every replication slot, the WAL that is kept for it, and how much more may be written before it is lost.

    \b
    Example: spokectl postgres slots
    """
    call = current_call()
    return Answer(observe.slots(call.stack, call.file), text=databases.print_slots)


@app.command("connections", cls=Command)
def connections() -> Answer:
    """Show how many connections each node has and allows, and whose they are.

    \b
    Examples:
      spokectl postgres connections
      spokectl postgres connections --json | jq '.data[] | "\\(.service) \\(.used)/\\(.allowed)"'
    """
    call = current_call()
    return Answer(observe.connections(call.stack, call.file), text=databases.print_connections)


@app.command("reinit", cls=Command)
def reinit(
    node: Node,
    discard: Annotated[
        bool, typer.Option("--discard", help="Also where the node has writes of its own: they are lost, and shown before.")
    ] = False,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is found and would be done; change nothing.")
    ] = False,
    timeout: Annotated[float, typer.Option(click_type=Duration(), help="How long to wait for the copy.")] = _COPY_TIMEOUT_S,
) -> Answer:
    """Replace a standby's data by a fresh copy of the primary's.

    For a standby that is broken, or too far behind. A node that has writes which the primary lacks is copied over with
    --discard only: what would be lost is shown, and the node's name is asked for. The data stays until the copy is whole.

    \b
    Examples:
      spokectl postgres reinit postgres-replica --dry-run
      spokectl postgres reinit postgres-replica
      spokectl postgres reinit postgres-primary --discard

    Refused (5) on the primary, and without one that answers. At the end of --timeout the guard goes on copying (6).
    """
    from spokectl.operations.postgres import reinit as operation
    from spokectl.operations.postgres.moves import open_pair
    from spokectl.operations.postgres.pair import other_than
    from spokectl.output.reinit import loss_lines, print_reinit, reinit_notes
    from spokectl.output.stack import progress

    call = current_call()
    context = open_pair(call.stack, call.file)
    other_than(context, node)  # nobody is asked about a node that does not exist
    request = operation.ReinitRequest(node, discard, timeout)
    if dry_run:
        planned = operation.plan(context, request)
        return Answer(Result(planned), text=print_reinit, notes=reinit_notes(call.stack, planned))
    question = f"Discard the data of {node}"
    if discard:
        require_answerer(question, yes=yes)
    with progress([], silent=call.json or call.quiet) as report:
        seen = operation.look(context, request, report)
    _show(loss_lines(seen), asking=discard and not yes)
    if discard:
        confirm(question, node, type_name=True, yes=yes)
    with progress([node], silent=call.json or call.quiet) as report:
        result = operation.reinit(context, request, seen, report)
    return Answer(result, text=print_reinit, notes=reinit_notes(call.stack, result.data))


@app.command("adopt", cls=Command)
def adopt(
    node: Node,
    yes: Yes = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept in the cluster record.")] = "adopted by hand",
) -> Answer:
    """Write a cluster record that names NODE primary, where there is none.

    The guards refuse to guess then. What each node has is shown before the node's name is asked for: its timeline, and
    where its WAL ends. The node becomes primary, the other one its standby, unless that would lose what only it has (12).

    \b
    Examples:
      spokectl postgres adopt postgres-primary
      spokectl postgres adopt postgres-replica --yes --reason 'restored from the volume of last night'

    Refused (5) where there is a record, no data, or a primary elsewhere.
    """
    from spokectl.operations.postgres import adopt as operation
    from spokectl.operations.postgres.moves import open_pair
    from spokectl.operations.postgres.pair import other_than
    from spokectl.operations.postgres.tables import ADOPT_STEPS
    from spokectl.output.adopt import adopt_notes, choice_lines, print_adopt
    from spokectl.output.stack import progress

    call = current_call()
    context = open_pair(call.stack, call.file)
    other_than(context, node)  # nobody is asked about a node that does not exist
    request = operation.AdoptRequest(node, reason)
    question = f"Make {node} the primary"
    require_answerer(question, yes=yes)
    with progress([], silent=call.json or call.quiet) as report:
        seen = operation.look(context, request, report)
    _show(choice_lines(seen), asking=not yes)
    confirm(question, node, type_name=True, yes=yes)
    with progress([step.id for step in ADOPT_STEPS], silent=call.json or call.quiet) as report:
        result = operation.adopt(context, request, report)
    return Answer(result, text=print_adopt, notes=adopt_notes(result.data))


def _show(lines: Sequence[str], *, asking: bool) -> None:
    """What a person must know before answering; a script reads it in the result."""
    call = current_call()
    if asking or not (call.json or call.quiet):
        for line in lines:
            click.echo(line, err=True)
