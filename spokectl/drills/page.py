"""A run as one HTML page that needs nothing but itself: the verdict first, then every trial with its timeline. Pure.

No script, no request: the page's own policy forbids both. Colours are the reader's own, light or dark.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from spokectl.drills.drawing import drawings
from spokectl.drills.evidence import IDS_KEPT, Layer, Run, Stretch, Trial, Verdict, worst
from spokectl.drills.objective import FIGURES, Measure
from spokectl.drills.summary import (
    SIGNS,
    by_drill,
    facts,
    figures_of,
    headline,
    is_own,
    loudest,
    promised,
    shown,
    signed,
    spread,
    telling,
    timeline,
    title,
    value,
    verdict_counts,
)
from spokectl.printable import printable

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_WAYS = {"api": "registry, through the load balancer", "postgres": "PostgreSQL itself", "redis": "Redis itself"}


def page(run: Run) -> str:
    """The page's text."""
    name = f"Drills on {run.stack}: {verdict_counts(run.trials)}"
    style = files("spokectl.drills").joinpath("page.css").read_text(encoding="utf-8")
    grouped = by_drill(run)
    trials = [
        _trial(trial, f"trial-{number}", title(trial, len(grouped[trial.drill])))
        for number, trial in enumerate(run.trials, 1)
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_safe(name)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{_verdict(run)}\n{_summary(run)}\n{''.join(trials)}</main>\n</body>\n</html>\n"
    )


def _verdict(run: Run) -> str:
    began = datetime.fromtimestamp(run.began_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    where = f"Stack {run.stack}, {run.runtime} runtime, spokectl {run.version}"
    when = f"{began}, {run.ended_s - run.began_s:.0f} s"
    typed = " ".join(["spokectl drill run", *run.words])
    seed = "" if run.seed is None else f" · seed {run.seed}"
    said = "".join(f"<li>{_safe(each)}</li>" for each in facts(run))
    return (
        f'<header class="verdict {loudest(run)}">\n'
        f'<h1><span class="sign" aria-hidden="true">{SIGNS[loudest(run)]}</span> {_safe(headline(run))}</h1>\n'
        f'<p class="counts">{_safe(verdict_counts(run.trials))}</p>\n{f"<ul>{said}</ul>" if said else ""}\n'
        f'<p class="meta">{_safe(where)} · {_safe(when)}<br><code>{_safe(typed)}</code>'
        f"{_safe(seed)} · run {_safe(run.id)}</p>\n"
        "</header>"
    )


def _summary(run: Run) -> str:
    numbers = {id(trial): number for number, trial in enumerate(run.trials, 1)}
    rows = []
    for drill, trials in by_drill(run).items():
        verdict = worst(each.verdict for each in trials)
        links = " ".join(f'<a href="#trial-{numbers[id(each)]}">{each.number}</a>' for each in trials)
        name = f'<a href="#trial-{numbers[id(trials[0])]}">{_safe(drill)}</a>'
        tries = f'<br><span class="quiet">{len(trials)} trials: {links}</span>' if len(trials) > 1 else ""
        cells = [f"{name}{tries}", _badge(verdict, trials), _promise(trials), _finding(trials)]
        rows.append(cells)
    return _section(
        "What was promised, and what was found", _table(["Drill", "Verdict", "Promised", "Found"], rows, stacked=True)
    )


def _badge(verdict: Verdict, trials: Sequence[Trial]) -> str:
    said = str(verdict) if len({each.verdict for each in trials}) == 1 else verdict_counts(trials)
    return f'<span class="badge {verdict}">{SIGNS[verdict]} {_safe(said)}</span>'


def _promise(trials: Sequence[Trial]) -> str:
    bounds = {each.name: each for trial in trials for each in trial.measures if each.bound is not None}
    own = [f"{each.name}: {promised(each)}" for each in bounds.values() if is_own(each)]
    always = [each.name for each in bounds.values() if not is_own(each)]
    if always:
        own.append(f"none {', '.join(always)}")
    said = [_safe(each) for each in (trials[0].holds,) if each]
    return "<br>".join([*said, *([f'<span class="quiet">{_safe("; ".join(own))}</span>'] if own else [])]) or "–"


def _finding(trials: Sequence[Trial]) -> str:
    """What was missed, or why it was not tried; else the figures, of several trials their median and worst."""
    against = list(dict.fromkeys(each for trial in trials for each in (*trial.missed, *([trial.why] if trial.why else []))))
    names = list(dict.fromkeys(each.name for trial in trials for each in telling(trial)))
    said = []
    for name in names:
        found = spread(figures_of(trials, name))
        if found is not None:
            several = f"median {value(name, found.median)}, worst " if found.median != found.worst else ""
            said.append(f"{name} {several}{value(name, found.worst)}")
    lines = [f"<strong>{_safe(each)}</strong>" for each in against[:5]]
    if len(against) > len(lines):
        lines.append(f"… and {len(against) - len(lines)} more")
    return "<br>".join([*lines, _safe("; ".join(said))] if said else lines) or "–"


def _trial(trial: Trial, anchor: str, name: str) -> str:
    head = f'<h2><span class="badge {trial.verdict}">{SIGNS[trial.verdict]} {trial.verdict}</span> {_safe(name)}</h2>'
    said = [("What is broken", trial.breaks), ("What must hold", trial.holds)]
    about = "".join(f"<div><dt>{label}</dt><dd>{_safe(text)}</dd></div>" for label, text in said if text)
    parts = [head, f"<dl>{about}</dl>" if about else ""]
    if trial.why:
        parts.append(f'<p class="why">{_safe(trial.why)}</p>')
    if trial.missed:
        parts.append(f'<ul class="missed">{"".join(f"<li>{_safe(each)}</li>" for each in trial.missed)}</ul>')
    parts += [_drawn(trial, anchor), _moments(trial), _figures(trial), _checks(trial), _layers(trial), _ids(trial)]
    if trial.ledger:
        parts.append(f'<p class="quiet">Every request: <code>{_safe(trial.ledger)}</code>, in the folder of the run.</p>')
    return f'<section class="trial" id="{anchor}">\n{"".join(each for each in parts if each)}\n</section>\n'


def _drawn(trial: Trial, anchor: str) -> str:
    if not trial.ticks:
        return ""
    legend = (
        "Requests through the load balancer, by the time of their answer; seconds from the fault. Shaded: the longest time "
        "without a good one. The numbers are those of the table below."
    )
    return f"<figure>{drawings(trial, anchor)}<figcaption>{legend}</figcaption></figure>"


def _moments(trial: Trial) -> str:
    rows = [
        [str(each.number), signed(each.at_s), _safe(str(each.moment.mark)), _safe(each.sentence)] for each in timeline(trial)
    ]
    if not rows:
        return ""
    return _headed("What happened", _table(["", "From the fault", "What", "Which"], rows, numbers=(0, 1)))


def _figures(trial: Trial) -> str:
    def row(each: Measure) -> list[str]:
        held = "" if each.bound is None else "✓ held" if each.held else "✗ missed"
        means = FIGURES[each.name].means if each.name in FIGURES else ""
        return [
            f"<code>{_safe(each.name)}</code> <span class='quiet'>{_safe(means)}</span>",
            _safe(shown(each)),
            _safe(promised(each) or "–"),
            held,
        ]

    rows = [row(each) for each in trial.measures]
    return _headed("Figures", _table(["Figure", "Found", "Promised", ""], rows, numbers=(1, 2))) if rows else ""


def _checks(trial: Trial) -> str:
    rows = [["✓" if each.ok else "✗", _safe(each.name), _safe(each.found)] for each in trial.checks]
    return _headed("Checks", _table(["", "What had to be so", "Found"], rows)) if rows else ""


def _layers(trial: Trial) -> str:
    def row(each: Layer) -> list[str]:
        counts = [str(number) for number in (each.writes, each.reads, each.failed)]
        return [_safe(_WAYS.get(each.name, each.name)), *counts, _length(each.write_gap), _length(each.read_gap)]

    rows = [row(each) for each in trial.layers]
    heads = ["Way", "Writes", "Reads", "Failed", "Write gap", "Read gap"]
    return _headed("What clients saw, by the way they took", _table(heads, rows, numbers=(1, 2, 3, 4, 5))) if rows else ""


def _length(gap: Stretch | None) -> str:
    if gap is None:
        return "–"
    return "without an end" if gap.until_s is None else f"{gap.until_s - gap.since_s:.2f} s"


def _ids(trial: Trial) -> str:
    return "".join(_id_list(trial, name, found) for name, found in trial.ids.items() if found)


def _id_list(trial: Trial, name: str, found: Sequence[str]) -> str:
    measure = next((each for each in trial.measures if each.name == name), None)
    count = len(found) if measure is None or measure.found is None else int(measure.found)
    more = f" (the first {IDS_KEPT})" if count > len(found) else ""
    opened = " open" if measure is not None and not measure.held else ""
    items = "".join(f"<li><code>{_safe(each)}</code></li>" for each in found)
    return f"<details{opened}><summary>{_safe(name)}: {count}{more}</summary><ul>{items}</ul></details>"


def _section(head: str, body: str) -> str:
    return f"<section>\n<h2>{_safe(head)}</h2>\n{body}\n</section>\n"


def _headed(head: str, body: str) -> str:
    return f"<h3>{_safe(head)}</h3>\n{body}"


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), *, stacked: bool = False
) -> str:
    """Cells are HTML already. `numbers`: columns on the right; `stacked`: one below the other where it is narrow."""

    def cell(number: int, text: str, kind: str, role: str) -> str:
        styled = ' class="number"' if number in numbers else ""
        text = text.replace(" s", "\u00a0s") if styled else text  # a number stays with its unit
        # Laid out otherwise, a table is none any more for who does not see it, unless its parts say so.
        return f"<{kind}{styled}{f' role={role}' * stacked}>{text}</{kind[:2]}>"

    def row(cells: str) -> str:
        return f"<tr{' role=row' * stacked}>{cells}</tr>"

    head = row("".join(cell(number, _safe(each), "th scope=col", "columnheader") for number, each in enumerate(heads)))
    body = "".join(row("".join(cell(number, text, "td", "cell") for number, text in enumerate(cells))) for cells in rows)
    kind = ' class="stacked" role=table' if stacked else ""
    group = " role=rowgroup" * stacked
    return f'<div class="scroll"><table{kind}><thead{group}>{head}</thead><tbody{group}>{body}</tbody></table></div>'


def _safe(text: str) -> str:
    return escape(printable(text))
