"""Both PostgreSQL nodes are written to while the role moves and the old primary comes back: never do two acknowledge."""

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from tests.direct_writers import Writers, writing
from tests.e2e.conftest import Tool, eventually
from tests.e2e.postgres_pair import guard_of, inside, observed, outside, postgres_pair, rows, wait_until_whole

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

# Long enough for a promotion by hand to be typed on a slow machine before the old primary gives its standby up.
_DEGRADE_AFTER = "15s"
_REPEATED = {"primary_alive", "precondition_failed", "node_unavailable", "no_standby", "no_guard", "locked"}


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Tool]:
    """One pair for all trials of a runtime: each begins with whichever node is primary then."""
    with postgres_pair(request.param, "split", SPOKE_POSTGRES_DEGRADE_AFTER=_DEGRADE_AFTER) as tool:
        yield tool


# What happens to the old primary. Each gives what lets it come back.


def well(tool: Tool, node: str) -> Callable[[], None]:
    """Nothing."""
    return lambda: None


def killed(tool: Tool, node: str) -> Callable[[], None]:
    """A person starts it again, past spokectl where that can be."""
    tool.ok("kill", node)
    if tool.runtime == "docker":
        return lambda: _docker("start", f"{tool.stack}-{node}")
    return lambda: eventually(lambda: tool.run("start", node).returncode == 0, f"{node} can be started", 120)


def crashed(tool: Tool, node: str) -> Callable[[], None]:
    """Its supervisor, or the engine, starts it again: at once, and after the move once more."""
    guard_of(tool, node).kill()

    def again() -> None:
        eventually(lambda: tool.run("start", node).returncode == 0, f"{node} is back", 120)
        guard_of(tool, node).kill()

    return again


def frozen(tool: Tool, node: str) -> Callable[[], None]:
    tool.ok("pause", node)

    # After a failover it is not frozen any more: it was killed, and started as a standby.
    return lambda: eventually(lambda: tool.run("unpause", node).returncode == 0, f"{node} can go on", 120)


def guard_frozen(tool: Tool, node: str) -> Callable[[], None]:
    """The server goes on without anybody who would stop it."""
    guard = guard_of(tool, node)
    guard.send_signal(signal.SIGSTOP)
    return lambda: guard.send_signal(signal.SIGCONT)


def cut_off(tool: Tool, node: str) -> Callable[[], None]:
    network, container = f"{tool.stack}_default", f"{tool.stack}-{node}"
    _docker("network", "disconnect", "--force", network, container)
    return lambda: _docker("network", "connect", "--alias", node, network, container)


def _docker(*words: str) -> None:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# How the role moves.


def by_failover(tool: Tool, new: str) -> None:
    """As often as it is refused, with everything as it was."""

    def moved() -> bool:
        done = tool.run("failover", "postgres", "--to", new, "--json")
        if done.returncode == 0:
            return True
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["code"]) in {(5, code) for code in _REPEATED}, error
        return False

    eventually(moved, f"the role is moved to {new}", timeout_s=180)


def by_hand(tool: Tool, new: str) -> None:
    tool.ok("exec", new, "--", "sh", "-c", 'pg_ctl promote -D "$PGDATA"')


class Trial(NamedTuple):
    """`meanwhile`: it comes back as soon as the promotion has begun, rather than when the new primary acknowledges.

    `alone`: it has commits that wait for a standby which will never have them.
    """

    fault: Callable[[Tool, str], Callable[[], None]]
    promotion: Callable[[Tool, str], None]
    meanwhile: bool = False
    alone: bool = False


TRIALS = {
    "promoted by hand while all is well": Trial(well, by_hand),
    "killed and started by hand during a failover": Trial(killed, by_failover, meanwhile=True),
    "killed and started by hand during a promotion by hand": Trial(killed, by_hand, meanwhile=True),
    "killed and started by hand after a promotion by hand": Trial(killed, by_hand),
    "restarted by its supervisor during and after a failover": Trial(crashed, by_failover),
    "restarted by its supervisor during and after a promotion by hand": Trial(crashed, by_hand),
    "frozen, and thawed after a failover": Trial(frozen, by_failover),
    "frozen, and thawed after a promotion by hand": Trial(frozen, by_hand),
    "its guard frozen, and thawed after a promotion by hand": Trial(guard_frozen, by_hand, alone=True),
    "cut off, and connected after a failover": Trial(cut_off, by_failover, alone=True),
    "cut off, and connected after a promotion by hand": Trial(cut_off, by_hand, alone=True),
}
CASES = [
    pytest.param(runtime, trial, id=f"{runtime}: {name}", marks=pytest.mark.docker if runtime == "docker" else ())
    for runtime in ("local", "docker")
    for name, trial in TRIALS.items()
    # The local runtime has no network to cut.
    if runtime == "docker" or trial.fault is not cut_off
]


@pytest.mark.parametrize(("stack", "trial"), CASES, indirect=["stack"])
def test_at_no_moment_do_two_nodes_acknowledge_and_what_the_loser_had_alone_is_saved(tool: Tool, trial: Trial) -> None:
    began = datetime.now(UTC)
    nodes = observed(tool)[1]
    old, new = nodes["primary"], nodes["standby"]
    targets = [outside(tool, old), outside(tool, new)] + ([inside(tool, old)] if trial.fault is cut_off else [])
    with writing(*targets, each=2) as writers:
        wait_for_more(writers, old)
        comes_back = trial.fault(tool, old)
        if trial.fault is cut_off:
            # Before the move: its guard, or the failover, stops it then.
            wait_for_waiting(tool, old)
        with ThreadPoolExecutor(1) as pool:
            promotion = pool.submit(trial.promotion, tool, new)
            if not trial.meanwhile:
                eventually(lambda: writers.count(new) > 10 or promotion.done(), f"{new} acknowledges", 120)
            if trial.fault is guard_frozen:
                wait_for_waiting(tool, old)
            comes_back()
            promotion.result()
        wait_until_whole(tool, new)
        wait_for_more(writers, new)
    judge(writers, tool, old, new)
    if trial.alone:
        require_saved(writers, tool, old, began)


@pytest.mark.docker
@pytest.mark.parametrize("stack", ["docker"], indirect=True)
def test_a_primary_cut_off_from_its_standby_alone_goes_on_unprotected_and_loudly_and_nobody_takes_over(tool: Tool) -> None:
    began = datetime.now(UTC)
    nodes = observed(tool)[1]
    primary, standby = nodes["primary"], nodes["standby"]
    with writing(outside(tool, primary), each=2) as writers:
        wait_for_more(writers, primary)
        connects = cut_off(tool, standby)
        mode = {"mode": "synchronous"}

        def degraded() -> bool:
            mode.update(json.loads(tool.run("postgres", "status", "--json").stdout)["data"]["record"])
            return mode["mode"] == "degraded"

        eventually(degraded, "the standby is given up", timeout_s=120)
        wait_for_more(writers, primary)
        code, found = observed(tool)
        assert (code, found["primary"]) == (10, primary)
        assert mode["primary"] == primary
        connects()
        wait_until_whole(tool, primary)
    assert set(writers.acknowledged) <= rows(tool, primary)
    said = [(event["who"], event["what"]) for event in events(tool, began)]
    assert (f"guard of {primary}", "degraded") in said
    assert (f"guard of {standby}", "running as primary") not in said


def wait_for_more(writers: Writers, node: str) -> None:
    goal = writers.count(node) + 20
    eventually(lambda: writers.count(node) >= goal, f"writes go through on {node}", timeout_s=120)


def wait_for_waiting(tool: Tool, node: str) -> None:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    words = ("exec", node, "--", "psql", "-U", "spoke", "-d", "spoke", "-Atc", sql)
    eventually(lambda: int(tool.ok(*words)) > 0, f"commits wait on {node}")


def judge(writers: Writers, tool: Tool, old: str, new: str) -> None:
    """What was acknowledged is there, on both; and the old primary acknowledged nothing once the new one had begun to."""
    first_s = min(write.acknowledged_s for write in writers.of(new) if write.acknowledged_s is not None)
    late = [write for write in writers.of(old) if write.acknowledged_s is not None and write.sent_s > first_s]
    assert late == []
    present = rows(tool, new)
    assert set(writers.acknowledged) - present == set()
    eventually(lambda: rows(tool, old) >= present, f"{old} has all that {new} has")
    assert rows(tool, old) == rows(tool, new)


def require_saved(writers: Writers, tool: Tool, old: str, began: datetime) -> None:
    """The WAL that only the old primary had is kept, has the rows that were not acknowledged, and log and events say so."""
    present = rows(tool, old)
    alone = [write.word for write in writers.of(old) if write.acknowledged_s is None and write.word not in present]
    script = 'cat "$PGDATA".divergent-*/0* | grep -aoF "$1" | head -n 1'
    saved = [word for word in alone if tool.ok("exec", old, "--", "sh", "-c", script, "sh", word).strip() == word]
    assert saved, alone
    said = [event for event in events(tool, began) if event["who"] == f"guard of {old}"]
    assert any(re.match(r"the data here holds [1-9]\d* bytes of WAL after \S+ that ", each["why"]) for each in said), said
    given_up = [each for each in said if each["what"] == "gave up WAL"]
    assert any(
        re.match(r"[1-9]\d* bytes of WAL that only this node had \(timeline \d+, ", each["why"]) for each in given_up
    ), said
    assert all(re.match(r"kept in \S+", each["outcome"]) for each in given_up), said


def events(tool: Tool, since: datetime) -> list[dict[str, Any]]:
    return [json.loads(line) for line in tool.ok("events", "--since", since.isoformat(), "--json").splitlines()]
