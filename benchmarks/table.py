"""How a figure is shown: what was measured, against what, the ratio and the bound."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`measured` and `yardstick` in `unit`; their ratio must be at most `bound` (or, without a yardstick, `measured`)."""

    what: str
    measured: float
    yardstick: float | None
    bound: float
    unit: str
    against: str

    @property
    def figure(self) -> float:
        return self.measured if self.yardstick is None else self.measured / self.yardstick

    @property
    def holds(self) -> bool:
        return self.figure <= self.bound


def show(rows: list[Row]) -> None:
    for row in rows:
        base = "" if row.yardstick is None else f" / {row.yardstick:.3f} {row.unit} ({row.against}) = {row.figure:.2f}"
        verdict = "holds" if row.holds else "MISSED"
        sys.stdout.write(f"{row.what:<28} {row.measured:8.3f} {row.unit}{base}   bound {row.bound:g}: {verdict}\n")
    sys.stdout.flush()
