"""What operators and clients do at the wrong moment: promote by hand, type twice, kill the tool, give up waiting."""

import json
from contextlib import suppress

from spokectl.clients.writers import RegistryWriter
from spokectl.drills.breaks import frozen, killed
from spokectl.drills.catalog.postgres_hands import expect_same_rows, failover, until_commits_wait, until_mode
from spokectl.drills.drill import drill
from spokectl.drills.figures import API
from spokectl.drills.history import Clock, Outcome, Write
from spokectl.drills.postgres_breaks import promoted_by_hand
from spokectl.drills.shell import typed
from spokectl.drills.stage import FAULT_TIMEOUT_S, Stage
from spokectl.drills.tool_breaks import tool_killed
from spokectl.operations.moves import MoveRequest
from spokectl.operations.postgres import moves
from spokectl.operations.registry import address_of
from spokectl.wait import Deadline, wait_until

GROUP = "Operators"
_PATIENCE_S = 1.0


@drill(
    "promoted-by-hand",
    group=GROUP,
    breaks="`pg_ctl promote` is typed on the standby while the primary is well",
    holds="one of them is primary, with every acknowledged write; the other one joins it",
    objective={"rto": 10.0},
)
def by_hand(stage: Stage) -> None:
    primary = stage.holder("primary")
    with stage.broken(promoted_by_hand(stage.other(primary), primary)):
        stage.go_on()
        until_mode(stage, "synchronous", 120.0)
    expect_same_rows(stage)


@drill(
    "switchover-killed",
    group=GROUP,
    breaks="`spokectl switchover postgres` is killed with kill -9: before the role is given away, and after that",
    holds="the command typed again puts it back and does it, or finishes it; one node is primary",
    objective={"rto": 20.0},
)
def switchover_killed(stage: Stage) -> None:
    for step in ("stop", "promote"):
        stage.phase(f"killed at the step {step}")
        before = stage.holder("primary")
        with stage.broken(tool_killed(step, "switchover", "postgres")):
            stage.operate("switchover postgres", lambda report: moves.switchover(stage.context, MoveRequest(), report))
        after = stage.holder("primary")
        stage.expect(f"killed at {step}, it is done by the next one", after != before, f"{after} is primary")
        until_mode(stage, "synchronous", 60.0)
    expect_same_rows(stage)


@drill(
    "failover-killed",
    group=GROUP,
    breaks="`spokectl failover postgres` is killed with kill -9 while it promotes",
    holds="the command typed again finishes it; one node is primary, and nothing is lost",
    objective={"rto": 20.0},
)
def failover_killed(stage: Stage) -> None:
    primary = stage.holder("primary")
    with stage.broken(killed(primary)), stage.broken(tool_killed("promote", "failover", "postgres")):
        failover(stage)
    stage.expect("the other node is primary", stage.holder("primary") != primary, f"{primary} was killed")
    expect_same_rows(stage)


@drill(
    "failover-twice",
    group=GROUP,
    breaks="the primary is killed, and two operators type `spokectl failover postgres` at the same time",
    holds="one of them does it, the other one is told that it is under way",
    objective={"rto": 10.0},
)
def failover_twice(stage: Stage) -> None:
    primary = stage.holder("primary")
    with stage.broken(killed(primary)), typed(stage.context, "failover", "postgres") as first:
        holder = stage.context.state.folder / "lock.holder"

        def blocker() -> str | None:
            with suppress(FileNotFoundError):
                return None if f"process {first.pid}," in holder.read_text() else "somebody else has the lock"
            return "nobody has the lock"

        wait_until(blocker, Deadline(FAULT_TIMEOUT_S), what="the first one has begun", interval_s=0.005)
        act = moves.failover
        stage.refused("failover postgres", lambda report: act(stage.context, MoveRequest(), report), "locked")
        said = json.loads(first.communicate(timeout=FAULT_TIMEOUT_S * 3)[0])
        error = said.get("error") or {}
        stage.expect("the first one does it", first.returncode == 0, str(error.get("message") or "done"))
    stage.expect("the other node is primary", stage.holder("primary") != primary, f"{primary} was killed")
    expect_same_rows(stage)


@drill(
    "client-gives-up",
    group=GROUP,
    breaks="a client gives up while its write waits for the standby; then the primary is killed and failed over",
    holds="the write was never acknowledged, and may be there or not; repeated it is there once, as it was made",
    objective={"rto": 15.0},
)
def client_gives_up(stage: Stage) -> None:
    primary = stage.holder("primary")
    module = next(each.name for each in stage.load.clients if each.layer == API)
    key, url, clock = f"{module}.given-up", address_of(stage.context.stack), Clock()
    impatient = RegistryWriter(url, timeout_s=_PATIENCE_S)
    with stage.broken(frozen(stage.other(primary))):
        until_commits_wait(stage, primary)
        began_s, why = clock.now_s(), ""
        try:
            impatient.write(key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client knows nothing
            why = str(error) or type(error).__name__
        finally:
            impatient.close()
        stage.expect("it is not acknowledged", bool(why), why or "it was")
        outcome = Outcome.IN_DOUBT if why else Outcome.ACKNOWLEDGED
        stage.load.saw.add(Write(key, began_s, clock.now_s(), outcome, why=why, client="impatient", layer=API))
        dead = stage.inject(killed(primary))
    failover(stage)
    stage.heal(dead)
    patient = RegistryWriter(url)
    try:
        made = [patient.created_at(key) for _ in range(2)]
        patient.read(key)
    finally:
        patient.close()
    stage.expect("repeated, it is the same entry", made[0] == made[1], " and ".join(made))
    expect_same_rows(stage)
