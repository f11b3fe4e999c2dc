"""What the local runtime leaves on disk: who may read it, and that data is deleted whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from spokectl.errors import Refused
from spokectl.model import HealthProbe, Kind, Service
from spokectl.runtime.local.places import Places
from spokectl.runtime.local.preparation import Preparation
from spokectl.wait import Deadline, wait_until
from tests.contract.runtime.tiny import WITHIN_S, service, tiny_stack
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

_MANY = 3000


def test_the_supervisors_files_are_private_and_the_servers_are_their_own_affair(tmp_path: Path) -> None:
    with tiny_stack("local", tmp_path, {"one": service(free_ports(1)[0])}) as stack:
        stack.up()
        stack.wait_for_answer("one")
        stack.ask("one", "write something")
        places = Places(stack.state)
        for path in (places.log("one"), places.supervisor_log, places.supervisor_pid, places.configuration):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert stat.S_IMODE((stack.state.volumes / "notes" / "note").stat().st_mode) == 0o644


def test_a_down_that_is_killed_leaves_all_data_or_none(tmp_path: Path) -> None:
    with tiny_stack("local", tmp_path, {"one": service(free_ports(1)[0])}) as stack:
        stack.up()
        stack.wait_for_answer("one")
        for number in range(_MANY):
            (stack.state.volumes / "notes" / str(number)).touch()

        def here() -> int:
            try:
                return len(list((stack.state.volumes / "notes").iterdir()))
            except FileNotFoundError:
                return 0

        down = stack.call_elsewhere("tear_down(deadline, volumes=True, notice=print)")
        wait_until(lambda: None if here() < _MANY else "all there", Deadline(WITHIN_S), what="deleting", interval_s=0)
        down.kill()
        down.wait()
        assert not stack.state.volumes.exists()
        stack.up()
        stack.wait_for_answer("one")
        assert not stack.state.doomed_volumes.exists()
        assert here() == 0


def test_as_root_a_state_folder_that_postgres_could_not_enter_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    postgres = Service("p", Kind.POSTGRES, "primary", HealthProbe("postgres", 1), {}, "p")
    Preparation.require_passage(closed / "state", [Service("r", Kind.REDIS, "master", HealthProbe("redis", 1), {}, "r")])
    if os.geteuid() != 0:
        Preparation.require_passage(closed / "state", [postgres])
        return
    with pytest.raises(Refused) as caught:
        Preparation.require_passage(closed / "state", [postgres])
    assert caught.value.code == "state_dir_closed"
    assert any("SPOKECTL_STATE_DIR" in action for action in caught.value.actions)
