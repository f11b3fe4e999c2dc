"""A run as JUnit XML, which every CI reads: a test suite, and in it a test case for each trial. Pure.

The format has no one owner; what is written here is what Jenkins, GitLab and pytest have in common.
Source: https://github.com/testmoapp/junitxml
"""

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as Xml

from spokectl.drills.evidence import Run, Trial, Verdict
from spokectl.drills.summary import by_drill, promised, shown, signed, timeline, title
from spokectl.printable import printable

# What XML 1.0 cannot hold, not even escaped: https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(run: Run) -> str:
    """The file's text. A missed objective is a failure, a drill that could not be carried out an error."""
    counts = {each: str(sum(trial.verdict is each for trial in run.trials)) for each in Verdict}
    numbers = {
        "tests": str(len(run.trials)),
        "failures": counts[Verdict.MISSED],
        "errors": counts[Verdict.BROKEN],
        "skipped": counts[Verdict.SKIPPED],
        "time": _seconds(run.began_s, run.ended_s),
    }
    root = Xml.Element("testsuites", {"name": "spokectl drill", **numbers})
    name = f"spokectl drill on {_line(run.stack)} ({_line(run.runtime)})"
    began = datetime.fromtimestamp(run.began_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    suite = Xml.SubElement(root, "testsuite", {"name": name, **numbers, "timestamp": began})
    _properties(suite, {"run": run.id, "runtime": run.runtime, "version": run.version, "seed": run.seed, **_words(run)})
    for trials in by_drill(run).values():
        for trial in trials:
            _case(suite, run, trial, title(trial, len(trials)))
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _case(suite: Xml.Element, run: Run, trial: Trial, name: str) -> None:
    attributes = {
        "classname": f"drill.{_line(run.runtime)}",
        "name": _line(name),
        "time": _seconds(trial.began_s, trial.ended_s),
    }
    case = Xml.SubElement(suite, "testcase", attributes)
    figures: dict[str, object] = {}
    for each in trial.measures:
        figures[each.name] = f"{each.found:g}" if each.found is not None else shown(each)
        if each.bound is not None:
            figures[f"{each.name}.bound"] = f"{each.bound:g}"
    _properties(case, figures)
    if trial.verdict is Verdict.SKIPPED:
        Xml.SubElement(case, "skipped", {"message": _line(trial.why)})
    elif trial.verdict is Verdict.BROKEN:
        Xml.SubElement(case, "error", {"type": "broken", "message": _line(trial.why)}).text = _text([trial.why])
    elif trial.verdict is Verdict.MISSED:
        failure = Xml.SubElement(case, "failure", {"type": "missed", "message": _line("; ".join(trial.missed))})
        failure.text = _text(_against(trial))
    if trial.moments:
        lines = [f"{signed(each.at_s):>10}  {each.moment.mark}: {each.sentence}" for each in timeline(trial)]
        Xml.SubElement(case, "system-out").text = _text(lines)


def _against(trial: Trial) -> list[str]:
    """What was promised and what was found, and the requests that it is about."""
    lines = [f"promised: {trial.holds}"] if trial.holds else []
    for each in trial.measures:
        if not each.held:
            lines.append(f"{each.name}: promised {promised(each)}, found {shown(each)}")
            lines += [f"  {one}" for one in trial.ids.get(each.name, [])]
    return lines + [f"{each.name}: {each.found}" for each in trial.checks if not each.ok]


def _properties(parent: Xml.Element, values: dict[str, object]) -> None:
    if values:
        holder = Xml.SubElement(parent, "properties")
        for name, each in values.items():
            if each is not None:
                Xml.SubElement(holder, "property", {"name": name, "value": _line(str(each))})


def _words(run: Run) -> dict[str, object]:
    return {"command": " ".join(["spokectl drill run", *run.words])}


def _seconds(began_s: float, ended_s: float) -> str:
    return f"{max(0.0, ended_s - began_s):.3f}"


def _text(lines: list[str]) -> str:
    return "\n".join(["", *map(_line, lines), ""])


def _line(text: str) -> str:
    return _NO_XML.sub("\ufffd", printable(text))
