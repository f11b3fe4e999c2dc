"""The Docker runtime on a real engine: images, containers of others, networks, and plain Compose beside it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spokectl.errors import Refused
from spokectl.model import RunState
from spokectl.runtime.base import BuildsImages, CutsNetwork
from spokectl.runtime.docker.engine import brought_up_by_compose, why_not_ready
from spokectl.wait import Deadline, wait_until
from tests.contract.runtime.tiny import BUILD_WITHIN_S, IMAGE, WITHIN_S, TinyStack, service, tiny_stack
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def engine() -> None:
    lacking = why_not_ready([IMAGE])
    if lacking:
        pytest.skip(f"{lacking}: make engine images")


@pytest.fixture
def image() -> Iterator[str]:
    """The name of an image that is not there before the test, nor afterwards."""
    yield "spoke-tinyengine:test"
    subprocess.run(["docker", "image", "rm", "--force", "spoke-tinyengine:test"], capture_output=True, timeout=60)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[TinyStack]:
    first, second = free_ports(2)
    with tiny_stack("docker", tmp_path, {"one": service(first), "two": service(second)}, "tinyengine") as made:
        yield made


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True, timeout=120).stdout.strip()


def compose(stack: TinyStack, *words: str) -> str:
    file = stack.stack.files[0]
    return docker("compose", "--project-name", stack.name, "--file", str(file), *words)


def with_image(stack: TinyStack, image: str, dockerfile: str) -> None:
    """Gives the first service an image of its own, built from this Dockerfile."""
    (stack.folder / "Dockerfile").write_text(dockerfile)
    stack.services["one"] |= {"image": image, "build": {"context": "."}}


def test_a_container_of_somebody_else_with_a_name_of_the_stack_is_refused_and_left_alone(stack: TinyStack) -> None:
    stack.services["one"]["container_name"] = "tinyengine-taken"
    stranger = docker("create", "--name", "tinyengine-taken", IMAGE)
    try:
        with pytest.raises(Refused) as caught:
            stack.up()
        assert caught.value.code == "foreign_container"
        assert "tinyengine-taken" in caught.value.message
        assert stack.inspect("two").state is RunState.ABSENT
        assert docker("inspect", "--format", "{{.State.Status}}", stranger) == "created"
    finally:
        docker("rm", "--force", stranger)


def test_a_container_of_another_tool_in_a_project_of_the_same_name_is_refused_and_survives_down(stack: TinyStack) -> None:
    labels = ["--label", "com.docker.compose.project=tinyengine", "--label", "com.docker.compose.config-hash=another"]
    stranger = docker("create", *labels, IMAGE)
    try:
        with pytest.raises(Refused) as caught:
            stack.up()
        assert caught.value.code == "foreign_container"
        stack.down(volumes=True)
        assert docker("inspect", "--format", "{{.State.Status}}", stranger) == "created"
    finally:
        docker("rm", "--force", stranger)


def test_a_port_of_another_container_is_refused_naming_that_container(stack: TinyStack, tmp_path: Path) -> None:
    stack.up("one")
    other = {"three": service(stack.port("one"))}
    with tiny_stack("docker", tmp_path / "other", other, "tinyother") as second, pytest.raises(Refused) as caught:
        second.up()
    assert caught.value.code == "port_taken"
    assert "the container tinyengine-one-1 of the stack tinyengine" in caught.value.message


def test_an_image_that_is_missing_is_built_and_one_that_cannot_be_built_is_refused_with_its_last_lines(
    image: str, stack: TinyStack
) -> None:
    with_image(stack, image, f"FROM {IMAGE}\nRUN echo the cause of it >&2 && false\n")
    with pytest.raises(Refused) as caught:
        stack.up()
    assert caught.value.code == "image_build_failed"
    assert "the cause of it" in caught.value.message
    assert {seen.state for seen in stack.runtime.inspect().values()} == {RunState.ABSENT}

    with_image(stack, image, f"FROM {IMAGE}\nENV TASTE=sweet\n")
    stack.up()
    assert stack.wait_for_answer("one")["environment"]["TASTE"] == "sweet"
    runtime = stack.runtime
    assert isinstance(runtime, BuildsImages)

    with_image(stack, image, f"FROM {IMAGE}\nENV TASTE=sour\n")
    steps: list[str] = []
    stack.runtime.build(["one"], Deadline(BUILD_WITHIN_S), steps.append)  # type: ignore[attr-defined]  # as just seen
    assert steps
    assert stack.runtime.changed(["one", "two"], Deadline(WITHIN_S)) == ["one"]
    stack.up()
    assert stack.wait_for_answer("one")["environment"]["TASTE"] == "sour"


def limits(**values: str) -> dict[str, object]:
    return {"deploy": {"resources": {"limits": values}}}


def test_a_limit_of_zero_is_none_and_another_one_is_enforced(stack: TinyStack) -> None:
    def seen() -> str:
        return docker("inspect", "--format", "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}", "tinyengine-one-1")

    stack.services["one"] |= limits(cpus="0", memory="0")
    stack.up()
    assert seen() == "0 0"
    stack.services["one"] |= limits(cpus="0.5", memory="256M")
    stack.up()
    stack.wait_for_answer("one")
    assert seen() == f"500000000 {256 << 20}"


def test_an_up_that_is_refused_leaves_what_was_there_before_and_nothing_else(stack: TinyStack) -> None:
    """It left a network and volumes of a stack that had never run."""

    def belongings() -> list[str]:
        ours = ["--quiet", "--filter", f"label=com.docker.compose.project={stack.name}"]
        return [docker(what, "ls", *ours) for what in ("network", "volume")]

    def refused() -> None:
        with pytest.raises(Refused) as caught:
            stack.up()
        assert caught.value.code == "too_many_cpus"

    allowed = stack.services["two"]
    refusable = allowed | limits(cpus="99999")
    stack.services["two"] = refusable
    refused()
    assert belongings() == ["", ""]
    assert stack.inspect("one").state is RunState.ABSENT

    stack.services["two"] = allowed
    stack.up()
    stack.wait_for_answer("one")
    stack.ask("one", "write kept")
    stack.down()
    _, volume = belongings()
    assert volume
    stack.services["two"] = refusable
    refused()
    assert belongings() == ["", volume]

    stack.up("one")
    before, pid = belongings(), stack.wait_for_answer("one")["pid"]
    refused()
    assert belongings() == before
    assert stack.ask("one")["pid"] == pid
    assert (Path(stack.ask("one")["environment"]["DATA"]) / "note").read_text() == "kept"


def test_a_service_that_is_cut_off_answers_nobody_until_its_network_is_restored(stack: TinyStack) -> None:
    stack.up()
    before = stack.wait_for_answers("one", "two")["one"]["pid"]
    runtime = stack.runtime
    assert runtime.capabilities.cut_network
    assert isinstance(runtime, CutsNetwork)
    reach = ["sh", "-c", "exec $SPOKE_PYTHON -c 'import socket; socket.create_connection((\"one\", 8080), 2)'"]

    def reached() -> bool:
        invocation = runtime.invocation("two", reach)
        done = subprocess.run(invocation.argv, env=invocation.environment, capture_output=True, timeout=WITHIN_S)
        return done.returncode == 0

    assert reached()
    runtime.cut_network(["one"])
    assert not reached()
    with pytest.raises((ConnectionError, TimeoutError)):
        stack.ask("one", timeout_s=2)
    runtime.restore_network(["one"])
    wait_until(lambda: None if reached() else "two does not reach one", Deadline(WITHIN_S), what="the network")
    assert stack.wait_for_answer("one")["pid"] == before


def test_down_volumes_deletes_the_volumes_that_an_image_makes_for_itself(image: str, stack: TinyStack) -> None:
    with_image(stack, image, f"FROM {IMAGE}\nVOLUME /extra\n")
    stranger = docker("volume", "create")
    try:
        stack.up()
        mounts = '{{range .Mounts}}{{if eq .Destination "/extra"}}{{.Name}}{{end}}{{end}}'
        unnamed = docker("inspect", "--format", mounts, compose(stack, "ps", "--quiet", "one"))
        assert unnamed in docker("volume", "ls", "--quiet").split()
        stack.down()
        assert unnamed in docker("volume", "ls", "--quiet").split()
        docker("volume", "rm", unnamed)

        stack.up()
        unnamed = docker("inspect", "--format", mounts, compose(stack, "ps", "--quiet", "one"))
        stack.down(volumes=True)
        left = docker("volume", "ls", "--quiet").split()
        assert unnamed not in left
        assert stranger in left
    finally:
        docker("volume", "rm", stranger)


def test_plain_compose_operates_a_stack_that_spokectl_brought_up(stack: TinyStack) -> None:
    stack.up()
    pids = {name: answer["pid"] for name, answer in stack.wait_for_answers("one", "two").items()}
    assert compose(stack, "ps", "--services").split() == ["one", "two"]
    assert "listening" in compose(stack, "logs", "one")
    compose(stack, "up", "--detach")
    assert {name: stack.ask(name)["pid"] for name in pids} == pids
    compose(stack, "stop", "one")
    assert stack.inspect("one").state is RunState.STOPPED
    compose(stack, "start", "one")
    assert stack.wait_for_answer("one")["pid"] != pids["one"]
    compose(stack, "down", "--volumes")
    assert stack.inspect("one").state is RunState.ABSENT
    assert docker("volume", "ls", "--quiet", "--filter", "label=com.docker.compose.project=tinyengine") == ""


def test_spokectl_operates_a_stack_that_plain_compose_brought_up(stack: TinyStack) -> None:
    compose(stack, "up", "--detach")
    before = {name: answer["pid"] for name, answer in stack.wait_for_answers("one", "two").items()}
    assert brought_up_by_compose("tinyengine") == stack.stack.files[0]
    stack.up()
    assert {name: stack.ask(name)["pid"] for name in before} == before
    stack.kill(["two"])
    assert stack.inspect("two").state is RunState.STOPPED
    stack.down(volumes=True)
    assert compose(stack, "ps", "--all", "--quiet") == ""
    assert docker("network", "ls", "--quiet", "--filter", "label=com.docker.compose.project=tinyengine") == ""
