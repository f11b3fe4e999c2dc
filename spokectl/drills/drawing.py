"""A trial drawn over time, as SVG: requests per tenth of a second, when none went well, and what happened when. Pure.

Drawn for each of a few widths, so that letters keep their size on a telephone; the page's style shows the one that fits.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from spokectl.drills.evidence import TICK_S, Layer, Mark, Stretch, Tick, Trial
from spokectl.drills.summary import Told, signed, timeline, zero_s
from spokectl.printable import printable

WIDTHS = (340, 640, 1040)
"""In units of the drawing, which are about a pixel each."""

LINES = (
    Mark.FAULT,
    Mark.COMMAND,
    Mark.DETECTED,
    Mark.PROMOTED,
    Mark.FIRST_GOOD_WRITE,
    Mark.REJOINED,
    Mark.HEALED,
)
"""What is a line in the drawing; the rest is in the table beside it."""

_LEFT, _RIGHT = 6, 6
_LETTER = 6.3  # no wider is a letter at the size of the labels, in any usual font
_LANE, _TITLE, _AXIS = 17, 18, 22
_LEAST_BAR = 2
_NAMED_LINES = 12  # with more of them a label is the number alone: the table says the rest
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)


@dataclass(frozen=True)
class Label:
    """Where a line's label stands: from `left` on, `width` wide, in a lane counted from the plot upwards."""

    x: float
    left: float
    width: float
    lane: int
    text: str


@dataclass(frozen=True)
class _Panel:
    name: str
    height: int
    of: Callable[[Tick], int]
    gap: Stretch | None = None


@dataclass(frozen=True)
class _Scale:
    """From seconds since 1970 to the drawing."""

    since_s: float
    until_s: float
    width: int

    def x(self, at_s: float) -> float:
        share = (at_s - self.since_s) / (self.until_s - self.since_s)
        return _LEFT + min(1.0, max(0.0, share)) * (self.width - _LEFT - _RIGHT)


def drawings(trial: Trial, name: str) -> str:
    """The trial's timeline for each width, as SVG elements with ids that begin with `name`; empty without any request."""
    if not trial.ticks:
        return ""
    return "\n".join(_drawing(trial, f"{name}-{width}", width) for width in WIDTHS)


def description(trial: Trial) -> str:
    """What the drawing shows, for those who do not see it."""
    zero = zero_s(trial)
    ticks = trial.ticks
    if not ticks:
        return "No request was made."
    said = [f"Requests from {signed(ticks[0].at_s - zero)} to {signed(ticks[-1].at_s + TICK_S - zero)} of the fault."]
    for kind, gap in _gaps(trial).items():
        if gap is not None:
            until = "never again" if gap.until_s is None else f"at {signed(gap.until_s - zero)}"
            said.append(f"After {signed(gap.since_s - zero)} the next good {kind} came {until}.")
    said += [f"{signed(each.at_s)}: {each.moment.mark}." for each in _lines(trial)]
    return " ".join(said)


def placed(marks: Sequence[tuple[float, str]], width: float) -> list[Label]:
    """Labels for the marks (x and text, from left to right), none over another, each within `width` where it has room.

    A label begins at its line and goes to the right, or stands back from the right edge. The earlier of two is the higher
    one where both have no room side by side, so that the later one's line does not cross it.
    """
    labels: list[Label] = []
    for x, text in reversed(marks):
        size = len(text) * _LETTER + 6
        left = max(0.0, min(x - 1, width - size))
        near = [each for each in labels if left < each.left + each.width + 4 and each.left < left + size + 4]
        lines = [each for each in labels if left - 2 <= each.x <= left + size + 2]
        lane = max((each.lane + 1 for each in [*near, *lines]), default=0)
        labels.append(Label(x, left, size, lane, text))
    return labels[::-1]


def binned(ticks: Sequence[Tick], most: int) -> tuple[list[Tick], int]:
    """The ticks in at most `most` bars, and how many of them are one bar."""
    size = max(1, math.ceil(len(ticks) / most))
    bars = [ticks[start : start + size] for start in range(0, len(ticks), size)]
    return [
        Tick(bar[0].at_s, sum(t.writes for t in bar), sum(t.reads for t in bar), sum(t.failed for t in bar)) for bar in bars
    ], size


def _drawing(trial: Trial, name: str, width: int) -> str:
    scale = _Scale(trial.ticks[0].at_s, trial.ticks[-1].at_s + TICK_S, width)
    bars, size = binned(trial.ticks, (width - _LEFT - _RIGHT) // _LEAST_BAR)
    labels = _labels(trial, scale)
    top = _LANE * (max((each.lane for each in labels), default=-1) + 1) + 4
    gaps = _gaps(trial)
    panels = [
        _Panel("writes", 56, lambda tick: tick.writes, gaps["write"]),
        _Panel("reads", 56, lambda tick: tick.reads, gaps["read"]),
        _Panel("failed", 28, lambda tick: tick.failed),
    ]
    base = float(top + sum(_TITLE + each.height for each in panels))
    parts, titles, y = _axis(scale, zero_s(trial), base), [], float(top)
    for panel in panels:
        drawn, said = _panel(panel, bars, size, scale, y)
        parts += drawn
        titles.append(f'<text class="panel" x="{_LEFT}" y="{y + _TITLE - 5:g}">{said}</text>')
        y += _TITLE + panel.height
    parts += [*_marks(labels, trial, top, base), *titles]
    height = base + _AXIS
    return (
        f'<svg class="drawing wide-{width}" role="img" viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}" '
        f'aria-labelledby="{name}-title" aria-describedby="{name}-desc">'
        f'<title id="{name}-title">Timeline of {escape(printable(trial.drill))}</title>'
        f'<desc id="{name}-desc">{escape(description(trial))}</desc>{"".join(parts)}</svg>'
    )


def _panel(panel: _Panel, bars: Sequence[Tick], size: int, scale: _Scale, y: float) -> tuple[list[str], str]:
    """The bars below their title, and what that says."""
    most = max(map(panel.of, bars))
    per = f"{round(size * TICK_S * 1000)} ms" if size * TICK_S < 1 else f"{size * TICK_S:g} s"
    title = f"{panel.name} per {per}, up to {most}" if most else f"{panel.name}: none"
    base = y + _TITLE + panel.height
    parts = []
    if panel.gap is not None:
        since, until = scale.x(panel.gap.since_s), scale.x(panel.gap.until_s or math.inf)
        parts.append(
            f'<rect class="gap" x="{since:.1f}" y="{y + _TITLE:g}" width="{until - since:.1f}" height="{panel.height}"/>'
        )
        length = "no end" if panel.gap.until_s is None else f"{panel.gap.until_s - panel.gap.since_s:.2f} s"
        title += f"; longest gap {length}"
    if most:
        wide = scale.x(bars[0].at_s + size * TICK_S) - scale.x(bars[0].at_s)
        drawn = max(1.0, wide - (1 if wide > 3 else 0.3))
        path = "".join(
            f"M{scale.x(bar.at_s):.1f} {base:g}v{-panel.of(bar) / most * panel.height:.1f}h{drawn:.1f}V{base:g}z"
            for bar in bars
            if panel.of(bar)
        )
        parts.append(f'<path class="bars {panel.name}" d="{path}"/>')
    parts.append(f'<path class="base" d="M{_LEFT} {base:g}H{scale.width - _RIGHT}"/>')
    return parts, title


def _axis(scale: _Scale, zero: float, base: float) -> list[str]:
    """Seconds from the fault; no number stands over another."""
    span = scale.until_s - scale.since_s
    room = max(2, int(scale.width / 64))
    step = next((each for each in _STEPS_S if span / each <= room), span)
    first, last = math.ceil((scale.since_s - zero) / step), math.floor((scale.until_s - zero) / step)
    parts = []
    for number in range(first, last + 1):
        x = scale.x(zero + number * step)
        anchor = "start" if x < 24 else "end" if x > scale.width - 24 else "middle"
        parts.append(f'<path class="tick" d="M{x:.1f} {base:g}v4"/>')
        said = f"{number * step:g} s".replace("-", "−")
        parts.append(f'<text class="axis" x="{x:.1f}" y="{base + 16:g}" text-anchor="{anchor}">{said}</text>')
    return parts


def _labels(trial: Trial, scale: _Scale) -> list[Label]:
    lines = _lines(trial)
    named = len(lines) <= _NAMED_LINES
    texts = [f"{each.number} {each.moment.mark} {each.at_s:.1f} s" if named else str(each.number) for each in lines]
    xs = [scale.x(each.moment.at_s) for each in lines]
    return placed([(x, text.replace(" -", " −")) for x, text in zip(xs, texts, strict=True)], scale.width)


def _marks(labels: Sequence[Label], trial: Trial, top: float, base: float) -> list[str]:
    lines, boxes = [], []
    for each, line in zip(labels, _lines(trial), strict=True):
        y = top - 4 - _LANE * (each.lane + 1)
        kind = line.moment.mark.replace(" ", "-")
        lines.append(f'<path class="mark {kind}" d="M{each.x:.1f} {y:g}V{base:g}"/>')
        boxes.append(
            f'<rect class="label" x="{each.left:.1f}" y="{y:g}" width="{each.width:.1f}" height="{_LANE - 2}"/>'
            f'<text class="label {kind}" x="{each.left + 3:.1f}" y="{y + 11.5:g}">{escape(each.text)}</text>'
        )
    return [*lines, *boxes]


def _lines(trial: Trial) -> list[Told]:
    return [each for each in timeline(trial) if each.moment.mark in LINES]


def _gaps(trial: Trial) -> dict[str, Stretch | None]:
    api: Layer | None = next((each for each in trial.layers if each.name == "api"), None)
    return {"write": api.write_gap if api else None, "read": api.read_gap if api else None}
