"""How a person reads the load balancer: NGINX, its instances, a test of its configuration; and a change of their number."""

import sys

from spokectl.operations.balancer import ConfigurationTest
from spokectl.operations.lb import BalancerStatus, Reloaded
from spokectl.operations.scaling import ScaleData
from spokectl.output.streams import print_table
from spokectl.printable import printable, shortened
from spokectl.settings import command_line


def print_balancer(data: BalancerStatus) -> None:
    rows = [
        ("balancer", f"{data.service}, {data.state}" + (f", nginx {data.version}" if data.version else "")),
        ("address", data.url),
    ]
    if data.requests is not None:
        rows.append(("requests", f"{data.requests} since its start, {data.active} under way"))
        rows.append(("connections", f"{data.connections} since its start"))
    if data.workers:
        rows.append(("workers", ", ".join(map(str, data.workers))))
    for label, text in rows:
        sys.stdout.write(f"{label:<13}{text}\n")
    sys.stdout.write("\n")
    lately = f"LAST {data.lately_minutes} MIN"
    print_table(
        ["SPOKE", "ADDRESS", "IN USE", "HEALTH CHECK", "TRIES", "FAILED", lately, "REASON"],
        [
            [
                each.service,
                each.address,
                "?" if each.in_use is None else "yes" if each.in_use else "no",
                "✓ ready" if each.ready else "✗ not ready",
                each.requests,
                each.failed,
                each.failed_lately,
                shortened(each.reason, 120),
            ]
            for each in data.upstreams
        ],
    )


def print_test(data: ConfigurationTest) -> None:
    """The verdict; after a failure the line that NGINX names, as a compiler shows it."""
    if data.ok:
        sys.stdout.write(f"{data.service}: {data.message}\n")
        return
    place = f"{data.file}:{data.line}: " if data.line is not None else ""
    sys.stdout.write(f"{data.service}: {place}{printable(data.message)}\n")
    if data.text:
        sys.stdout.write(f"    {printable(data.text)}\n")


def reload_notes(data: Reloaded) -> list[str]:
    before, after = (", ".join(map(str, pids)) for pids in (data.workers_before, data.workers))
    return [f"{data.service} is reloaded ({data.elapsed_s:.1f} s): workers {before} have ended, {after} serve."]


def print_scale(data: ScaleData) -> None:
    """The plan of a dry run; after a change where the new Spokes answer."""
    if data.outcome == "planned":
        sys.stdout.write(f"scale: {len(data.before)} -> {len(data.after)} Spokes (nothing is changed by --dry-run)\n\n")
        for number, step in enumerate(data.plan or ["nothing: they run already"], 1):
            sys.stdout.write(f"{number}. {step}\n")
        sys.stdout.write(f"\n{_connections(data)}\n")
    elif data.endpoints:
        print_table(["SERVICE", "WHAT", "ADDRESS"], [[p.service, p.name, p.url] for p in data.endpoints])


def scaled_notes(data: ScaleData) -> list[str]:
    """What came of it, and what to type next."""
    count = len(data.after)
    if data.outcome == "planned":
        return ["", f"Do it: {command_line(data.stack, f'scale {count}')}"]
    kept = f"kept for this stack; the stack file has {data.scaled.in_file}" if data.scaled else "as the stack file has"
    if data.outcome == "unchanged":
        return [f"Spokes: {count}, as before ({kept})."]
    changes = [f"{verb}: {', '.join(names)}" for verb, names in (("new", data.added), ("gone", data.removed)) if names]
    said = "; ".join([*changes, kept])
    return [f"Spokes: {count} ({said}).", _connections(data), f"See: {command_line(data.stack, 'lb status')}"]


def _connections(data: ScaleData) -> str:
    found = data.connections
    limit = "" if found.allowed is None else f" of the {found.allowed} that PostgreSQL allows ({found.beside} are kept free)"
    return f"Their pools may open {found.wanted} connections{limit}."
