"""How a figure is shown: what was measured, against what, the ratio and the bound."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`measured` and `yardstick` in `unit`; their ratio must be at most `bound` (or, without a yardstick, `measured`).

    `enough`: a `measured` that holds by itself, whatever the ratio is; the ratio is for a machine that is loaded.
    """

    what: str
    measured: float
    yardstick: float | None
    bound: float
    unit: str
    against: str
    enough: float | None = None

    @property
    def figure(self) -> float:
        return self.measured if self.yardstick is None else self.measured / self.yardstick

    @property
    def holds(self) -> bool:
        return self.figure <= self.bound or (self.enough is not None and self.measured <= self.enough)


def show(rows: list[Row]) -> None:
    width = max((len(row.what) for row in rows), default=0)
    for row in rows:
        base = "" if row.yardstick is None else f" / {row.yardstick:.3f} {row.unit} ({row.against}) = {row.figure:.2f}"
        verdict = "holds" if row.holds else "MISSED"
        bound = f"{row.bound:g}" if row.enough is None else f"{row.enough:g} {row.unit} or ratio {row.bound:g}"
        figure = f"{row.measured:8.3f} {row.unit}" if row.unit else f"{row.measured:8g}"
        sys.stdout.write(f"{row.what:<{width}} {figure}{base}   bound {bound}: {verdict}\n")
    sys.stdout.flush()
