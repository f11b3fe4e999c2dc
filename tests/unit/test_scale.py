from pathlib import Path

import pytest

from spokectl.compose import raw_services, write_override
from spokectl.errors import UsageError
from spokectl.operations.context import scaled
from spokectl.operations.scale import Scaled, override_for, port_settings_for
from spokectl.output.stack import scale_notes
from spokectl.stackfile import default_stack_file, load_stack


def test_the_number_in_the_file_needs_no_override() -> None:
    assert override_for(raw_services(default_stack_file()), 3) == {}


def test_more_spokes_are_like_the_first_with_the_next_numbers_and_ports(tmp_path: Path) -> None:
    file = default_stack_file()
    override = tmp_path / "override.yml"
    write_override(override, override_for(raw_services(file), 5))
    stack = load_stack("spoke", [file, override], shell={"SPOKE_LOG_LEVEL": "debug"}, env_file={})
    five = stack.services["spoke-5"]
    assert five.container_name == "spoke-5"
    assert [port.published for port in five.ports] == [8085, 9095]
    assert five.environment == {**stack.services["spoke-1"].environment, "SPOKE_NODE": "spoke-5"}
    assert five.environment["SPOKE_LOG_LEVEL"] == "debug"
    assert stack.services["nginx"].environment["SPOKE_BACKENDS"].split() == [f"spoke-{n}:8080" for n in range(1, 6)]
    assert stack.services["nginx"].environment["SPOKE_NGINX_READ_TIMEOUT_S"] == "30"


def test_a_number_that_is_kept_is_told_with_the_way_back(tmp_path: Path) -> None:
    file = default_stack_file()
    override = tmp_path / "override.yml"
    assert scaled(load_stack("second", [file], shell={}, env_file={})) is None
    for count in (1, 5):
        write_override(override, override_for(raw_services(file), count))
        found = scaled(load_stack("second", [file, override], shell={}, env_file={}))
        assert found == Scaled(spokes=count, in_file=3)
        (note,) = scale_notes("second", found)
        assert note.startswith(f"Spokes: {count},")
        assert note.endswith("spokectl scale 3 --stack second")
    # The user's file has caught up: its number holds again.
    override.write_text("services: {nginx: {environment: {A: b}}}\n")
    assert scaled(load_stack("second", [file, override], shell={}, env_file={})) is None
    assert scale_notes("second", None) == []


def test_fewer_spokes_are_taken_from_the_end(tmp_path: Path) -> None:
    file = default_stack_file()
    override = tmp_path / "override.yml"
    write_override(override, override_for(raw_services(file), 1))
    stack = load_stack("spoke", [file, override], shell={}, env_file={})
    assert [name for name in stack.services if name.startswith("spoke-")] == ["spoke-1"]
    assert stack.services["nginx"].environment["SPOKE_BACKENDS"] == "spoke-1:8080"


def test_a_new_spoke_keeps_the_port_offset_of_the_stack() -> None:
    raw = raw_services(default_stack_file())
    assert port_settings_for(raw, {"SPOKE_1_PORT": 18081, "SPOKE_1_HEALTH_PORT": 19091}, "spoke-4") == {
        "SPOKE_4_PORT": "18084",
        "SPOKE_4_HEALTH_PORT": "19094",
    }


def test_environment_and_labels_may_be_lists(tmp_path: Path) -> None:
    file = tmp_path / "stack.yml"
    file.write_text(
        """
services:
  app-1:
    labels: [spokectl.kind=spoke, "spokectl.health=http:80/"]
    environment: [A=1]
    ports: ["127.0.0.1:${APP_1_PORT:-8081}:80"]
  balancer:
    labels: [spokectl.kind=load-balancer, "spokectl.health=http:80/"]
    environment: [SPOKE_BACKENDS=app-1:80]
    ports: ["127.0.0.1:8080:80"]
"""
    )
    override = tmp_path / "override.yml"
    write_override(override, override_for(raw_services(file), 2))
    stack = load_stack("test", [file, override], shell={}, env_file={})
    assert stack.services["app-2"].environment == {"A": "1", "SPOKE_NODE": "app-2"}
    assert stack.services["balancer"].environment == {"SPOKE_BACKENDS": "app-1:80 app-2:80"}


@pytest.mark.parametrize("count", [0, -1, 17])
def test_an_impossible_number_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match="1 to 16"):
        override_for(raw_services(default_stack_file()), count)
