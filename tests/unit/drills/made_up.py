"""Runs made up by hand, as a drill would have left them behind."""

from dataclasses import replace

from spokectl.drills.evidence import Check, Layer, Mark, Moment, Run, Stretch, Tick, Trial, Verdict
from spokectl.drills.objective import Objective

BEGAN_S = 1_790_000_000.0
FAULT_S = BEGAN_S + 2
MOMENTS = [
    Moment(BEGAN_S, Mark.PHASE, "clients write"),
    Moment(FAULT_S, Mark.FAULT, "postgres-primary killed", "postgres-primary"),
    Moment(FAULT_S + 0.2, Mark.COMMAND, "spokectl failover postgres"),
    Moment(FAULT_S + 1.1, Mark.DETECTED, "kill the old primary where it is not down already, and see that it is"),
    Moment(FAULT_S + 1.4, Mark.PROMOTED, "promote: 0.26 s"),
    Moment(FAULT_S + 1.9, Mark.FIRST_GOOD_WRITE, "a write is acknowledged again, 1.90 s after the last one"),
    Moment(FAULT_S + 4.6, Mark.REJOINED, "rejoin: 2.76 s"),
    Moment(FAULT_S + 5.2, Mark.HEALED, "healed: postgres-primary killed", "postgres-primary"),
]


def trial(
    drill: str = "postgres-kill",
    number: int = 1,
    *,
    rto: float = 1.9,
    lost: int = 0,
    bounds: dict[str, float] | None = None,
    **others: float,
) -> Trial:
    """A trial that was carried out, judged by `bounds` (rto=8)."""
    found = {"rto": rto, "failed": 0.0, "lost": float(lost), **others}
    measures = Objective({"rto": 8.0} if bounds is None else bounds).judge(found)
    gap = Stretch(FAULT_S, None if rto == float("inf") else FAULT_S + rto)
    end = FAULT_S + 7
    ticks = [
        Tick(
            round(BEGAN_S + number / 10, 1), 0 if 20 <= number < 39 else 3, 0 if 20 <= number < 39 else 5, int(number == 39)
        )
        for number in range(90)
    ]
    return Trial(
        drill,
        number,
        Verdict.HELD if all(each.held for each in measures) else Verdict.MISSED,
        BEGAN_S,
        end,
        measures=measures,
        checks=[Check("all is well again", ok=True, found="it is so")],
        layers=[Layer("api", 131, 262, 1, gap, gap), Layer("postgres", 200, 400, 15, gap, None)],
        moments=list(MOMENTS),
        ticks=ticks,
        ids={"lost": [f"drill-1.{each}" for each in range(lost)]} if lost else {},
        ledger=f"{drill}-{number}.ledger.jsonl",
        breaks="PostgreSQL's primary is killed",
        holds="the standby takes over with every acknowledged write",
    )


def skipped(drill: str = "network-cut", why: str = "it needs a runtime that can cut the network") -> Trial:
    return Trial(drill, 1, Verdict.SKIPPED, BEGAN_S, BEGAN_S, why)


def broken(drill: str = "spoke-kill", why: str = "timeout: writes go through again: nobody answers") -> Trial:
    return replace(trial(drill), verdict=Verdict.BROKEN, why=why, measures=[], ticks=[], layers=[])


def run(*trials: Trial, run_id: str = "20260923-120000", runtime: str = "local") -> Run:
    return Run(run_id, "spoke", runtime, "0.1.0", ["--all"], BEGAN_S, BEGAN_S + 60, list(trials), 7)
