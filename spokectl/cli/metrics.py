"""`metrics`: the series of every Spoke, as one table."""

from typing import Annotated

import typer

from spokectl.cli.command import Answer, Command, Duration, current_call, noun

app = noun("The series of every Spoke and of the collector.")

_INTERVAL_S = 2.0


@app.command("metrics", cls=Command)
def metrics(
    match: Annotated[
        str | None, typer.Option(metavar="REGEX", help='Only series in whose name{label="value"} this is found.')
    ] = None,
    service: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this Spoke, or of the collector.")] = None,
    rate: Annotated[
        bool, typer.Option("--rate", help="Read twice, and show the growth a second of what only grows.")
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(click_type=Duration(), help="How far apart, with --rate. Default: 2s.", show_default=False),
    ] = None,
    buckets: Annotated[bool, typer.Option("--buckets", help="The buckets of histograms too.")] = False,
) -> Answer:
    """Show the series of every Spoke side by side, and of the collector where there is one.

    \b
    Examples:
      spokectl metrics --match cache
      spokectl metrics --match 'requests_total.*status_code="5' --rate
      spokectl metrics --service spoke-1 --json | jq '.data.series[] | "\\(.name) \\(.values)"'

    A counter only grows, from 0 when its Spoke starts; a gauge goes up and down. Exit 10 when one does not answer.
    """
    from spokectl.errors import UsageError
    from spokectl.operations.metrics import MetricsRequest
    from spokectl.operations.metrics import metrics as read
    from spokectl.output.metrics import metrics_notes, print_metrics

    call = current_call()
    if interval is not None and not rate:
        raise UsageError("usage", "--interval goes with --rate")
    if interval is not None and interval > 3600:
        raise UsageError("bad_value", "--interval: an hour at most")
    interval_s = (interval or _INTERVAL_S) if rate else None
    result = read(call.stack, call.file, MetricsRequest(match, service, interval_s, buckets))
    return Answer(result, text=print_metrics, notes=metrics_notes(result.data))
