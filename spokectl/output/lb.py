"""How a person reads the load balancer: NGINX, its instances, a test of its configuration."""

import sys

from spokectl.operations.balancer import ConfigurationTest
from spokectl.operations.lb import BalancerStatus, Reloaded
from spokectl.output.streams import print_table
from spokectl.printable import printable, shortened


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
