"""Which Spokes come and which go, and what is refused. Nothing runs here."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from spokectl.compose import raw_services, write_override
from spokectl.errors import Refused
from spokectl.model import Health, Inspection, RunState, Stack
from spokectl.operations import scaling
from spokectl.operations.context import Context
from spokectl.operations.rollout import connections
from spokectl.operations.scale import override_for
from spokectl.operations.scaling import Settled, keep, leaving, require_room_now, require_somebody_left, settle, to_wait_for
from spokectl.runtime.base import Notice
from spokectl.settings import StackState
from spokectl.stackfile import default_stack_file, load_stack
from spokectl.wait import Deadline
from tests.unit.test_readiness import SeenRuntime, unheard

FILE = default_stack_file()


def stack(count: int, folder: Path, **settings: str) -> Stack:
    override = folder / f"{count}.yml"
    write_override(override, override_for(raw_services(FILE), count))
    return load_stack("second", [FILE, override], shell=settings, env_file={})


def test_what_a_broken_off_scale_has_made_is_waited_for_by_the_next_one(tmp_path: Path) -> None:
    names = [f"spoke-{number}" for number in range(1, 6)]
    seen = {each: Inspection(each, RunState.RUNNING) for each in names} | {"spoke-5": Inspection("spoke-5", RunState.ABSENT)}
    assert to_wait_for(names, seen, stack(3, tmp_path)) == ["spoke-4", "spoke-5"]
    assert to_wait_for(names, seen, stack(5, tmp_path)) == ["spoke-5"]
    assert to_wait_for(names, seen, None) == ["spoke-5"]


def test_spokes_that_the_stack_no_longer_has_are_those_that_leave(tmp_path: Path) -> None:
    assert list(leaving(stack(5, tmp_path), stack(2, tmp_path))) == ["spoke-3", "spoke-4", "spoke-5"]
    assert leaving(stack(2, tmp_path), stack(5, tmp_path)) == {}
    assert leaving(None, stack(1, tmp_path)) == {}
    without_nginx = replace(stack(3, tmp_path), services={})
    assert list(leaving(stack(1, tmp_path), without_nginx)) == ["spoke-1"]


def test_a_spoke_whose_port_another_service_gets_makes_room_at_once(tmp_path: Path) -> None:
    after = stack(1, tmp_path, SPOKE_NGINX_PORT="8083")
    assert list(leaving(stack(3, tmp_path), after)) == ["spoke-2"]


def test_new_spokes_get_ports_and_those_that_are_known_keep_theirs() -> None:
    five = settle("second", FILE, {"SPOKE_1_PORT": "18081"}, 5, known=["SPOKE_4_PORT"])
    assert five.settings == {"SPOKE_4_HEALTH_PORT": "9094", "SPOKE_5_PORT": "18085", "SPOKE_5_HEALTH_PORT": "9095"}
    assert settle("second", FILE, {}, 3, known=()) == Settled({}, {})


def test_the_number_of_the_file_itself_needs_nothing_kept(tmp_path: Path) -> None:
    state = StackState("second", tmp_path)
    state.ensure()
    keep(state, settle("second", FILE, {}, 2, known=()))
    assert "SPOKE_BACKENDS: spoke-1:8080 spoke-2:8080" in state.override_file.read_text()
    keep(state, settle("second", FILE, {}, 3, known=()))
    assert not state.override_file.exists()


def test_pools_are_added_up(tmp_path: Path) -> None:
    found = connections(stack(7, tmp_path, SPOKE_POSTGRES_MAX_CONNS="25", SPOKE_POSTGRES_MAX_CONNECTIONS="190"))
    assert (found.wanted, found.beside, found.allowed, found.fit) == (175, 16, 190, False)
    assert replace(found, allowed=191).fit
    assert replace(found, allowed=None).fit


@pytest.mark.parametrize(("running_with", "fits"), [(200, False), (255, False), (256, True), (None, True)])
def test_what_postgresql_allows_as_it_runs_counts_too(
    running_with: int | None, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Node:
        max_connections = running_with

    monkeypatch.setattr(scaling, "postgres_node", lambda _: Node() if running_with else None)
    after = stack(12, tmp_path, SPOKE_POSTGRES_MAX_CONNECTIONS="300")
    if fits:
        require_room_now(after, 12)
        return
    with pytest.raises(Refused) as caught:
        require_room_now(after, 12)
    assert caught.value.code == "too_many_connections"
    assert caught.value.details == {"wanted": 240, "beside": 16, "allowed": running_with}
    assert "SPOKE_POSTGRES_MAX_CONNECTIONS=300" in caught.value.message
    assert caught.value.actions == ("spokectl up --spokes 12 --stack second",)


@pytest.mark.parametrize(
    ("states", "ready", "refused"),
    [
        ({"spoke-1": RunState.RUNNING, "spoke-2": RunState.STOPPED}, {"spoke-1"}, ""),
        ({"spoke-1": RunState.PAUSED, "spoke-2": RunState.RUNNING}, {"spoke-2"}, ""),
        ({"spoke-1": RunState.RUNNING, "spoke-2": RunState.STOPPED}, set(), "spoke-1: no database; spoke-2: stopped"),
        ({"spoke-1": RunState.PAUSED, "spoke-2": RunState.STOPPED}, {"spoke-1"}, "spoke-1: paused; spoke-2: stopped"),
    ],
)
def test_the_last_spoke_that_answers_is_not_taken_away(
    states: dict[str, RunState], ready: set[str], refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        scaling, "probe", lambda service: Health(service.name, ok=service.name in ready, reason="no database")
    )
    seen = {name: Inspection(name, state) for name, state in states.items()}
    if not refused:
        require_somebody_left(stack(2, tmp_path), list(states), seen)
        return
    with pytest.raises(Refused) as caught:
        require_somebody_left(stack(2, tmp_path), list(states), seen)
    assert (caught.value.code, caught.value.message) == (
        "nobody_left",
        f"nothing was changed: none of the Spokes that would stay answers ({refused})",
    )


@pytest.mark.parametrize(("refuses", "phase"), [(True, "refused"), (False, "failed")])
def test_a_scale_that_is_refused_has_failed_once_a_spoke_was_started(
    refuses: bool, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Starting(SeenRuntime):
        def bring_up(self, services: Sequence[str], deadline: Deadline, notice: Notice) -> None:
            if refuses:
                raise Refused("port_taken", "a port is taken")

    def lost(*_: object) -> None:
        raise Refused("no_engine", "no Docker engine answers")

    state = StackState("second", tmp_path)
    state.ensure()
    context = Context(stack(2, tmp_path), state, Starting([{}]))
    plan = scaling._Plan(Settled({}, {}), context.stack, [], ["spoke-3"], {}, {}, [], [])
    monkeypatch.setattr(scaling, "running_context", lambda *_: context)
    monkeypatch.setattr(scaling, "runtime_for", lambda *_: context.runtime)
    monkeypatch.setattr(scaling, "_planned", lambda *_: plan)
    monkeypatch.setattr(scaling, "wait_until_ready", lost)
    with pytest.raises(Refused):
        scaling.scale(scaling.ScaleRequest("second", None, 3), unheard)
    assert [each["phase"] for each in context.journal.read()] == ["started", phase]
