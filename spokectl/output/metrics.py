"""How a person reads metrics: a row a series, a column an instance."""

import sys
from collections.abc import Sequence

from spokectl.operations.metrics import SPOKES, Metrics, Series
from spokectl.output.streams import print_table


def print_metrics(found: Metrics) -> None:
    """A table for the Spokes, and one for each collector."""
    sources = list(dict.fromkeys(each.source for each in found.series))
    for number, source in enumerate(sources):
        if number:
            sys.stdout.write("\n")
        of_source = [each for each in found.series if each.source == source]
        head = "SERIES" if source == SPOKES else f"SERIES AT {source}"
        instances = sorted({instance for each in of_source for instance in each.values})
        print_table([head, "KIND", *instances], [[each.text, each.kind, *_cells(each, instances)] for each in of_source])


def metrics_notes(found: Metrics) -> list[str]:
    return [] if found.series or found.silent else ["No series matches."]


def _cells(series: Series, instances: Sequence[str]) -> list[str]:
    return [_cell(series, instance) for instance in instances]


def _cell(series: Series, instance: str) -> str:
    value = series.values.get(instance)
    if value is None:
        return ""
    grown = series.per_second.get(instance)
    return number_text(value) if grown is None else f"{number_text(value)} (+{number_text(round(grown, 3))}/s)"


def number_text(value: float) -> str:
    """Whole numbers in full, others with six digits."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"
