"""`cache bench` against the server's own routes: whatever ends it, what it has made is removed, or named."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from spoke_server.errors import ApiError
from spokectl.clients.visitor import Visit, Visitor
from spokectl.errors import ExitCode, Failed, Incomplete, Interrupted, NotFound, OutcomeUnknown, UsageError
from spokectl.model import HealthProbe, Inspection, Kind, Port, RunState, Service, Stack
from spokectl.operations import cache_bench
from spokectl.operations.cache_bench import BenchRequest, bench, read_until_in_memory
from spokectl.operations.context import Context
from spokectl.operations.registry import Target
from spokectl.result import Result, unheard
from spokectl.settings import StackState
from tests.contract.registry_cli.conftest import Running, registry
from tests.unit.test_readiness import SeenRuntime

__all__ = ["registry"]
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def context(registry: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A stack whose load balancer is the registry itself, with no Redis that answers."""
    address = urlsplit(registry.url)
    ports = (Port("127.0.0.1", address.port or 0, 8080),)
    services = {
        "nginx": Service("nginx", Kind.LOAD_BALANCER, "", HealthProbe("http", 8080), {}, "nginx", ports),
        **{name: Service(name, Kind.SPOKE, "", HealthProbe("http", 9090), {}, name) for name in ("spoke-1", "spoke-2")},
    }
    stack = Stack("second", (tmp_path / "stack.yml",), services, (), {})
    seen = {name: Inspection(name, RunState.RUNNING, pid=1) for name in services}
    made = Context(stack, StackState("second", tmp_path), SeenRuntime([seen]))
    monkeypatch.setattr(cache_bench, "running_context", lambda name, file: made)
    return made


def measured(registry: Running, request: BenchRequest, *, timeout_s: float = 60) -> Result:
    target = Target("second", None, registry.url, timeout_s, lambda _: None, lambda _: None)
    return bench("second", None, request, target, unheard)


def test_it_reads_each_of_its_versions_and_leaves_nothing_behind(registry: Running, context: Context) -> None:
    result = measured(registry, BenchRequest(5, 60))
    assert registry.memory.kept == {}
    # This registry keeps nothing in a cache: once, again, and once more than there are Spokes.
    assert [(each.source, each.reads) for each in result.data.sources] == [("miss", 5 * (1 + 1 + 3))]
    assert (result.data.own, result.data.version, result.data.warm) == (True, None, None)
    assert result.data.cold.reads == 25
    assert 0 < result.data.cold.median_ms <= result.data.cold.worst_ms
    assert result.warnings == ("no read was answered by Redis: see spokectl cache stats --stack second",)


def failing(registry: Running, number: int) -> None:
    """The read of that number is answered by an error."""
    original, count = registry.memory.version, 0

    async def version(name: object) -> object:
        nonlocal count
        count += 1
        if count == number:
            raise ApiError(500, "internal_error", "it failed")
        return await original(name)  # type: ignore[arg-type]

    registry.memory.version = version  # type: ignore[method-assign, assignment]


def test_a_read_that_fails_ends_it_and_nothing_is_left(registry: Running, context: Context) -> None:
    failing(registry, 7)
    with pytest.raises(Failed, match="was answered by 500"):
        measured(registry, BenchRequest(5, 60))
    assert registry.memory.kept == {}


def test_at_its_deadline_it_ends_and_nothing_is_left(registry: Running, context: Context) -> None:
    with pytest.raises(OutcomeUnknown, match="not through after 1e-09 s: 0 of 5 versions made"):
        measured(registry, BenchRequest(5, 1e-9))
    assert registry.memory.kept == {}


@pytest.fixture
def undeletable(registry: Running) -> None:
    async def refused(name: str, deadline: float, *, permanent: bool) -> None:
        raise ApiError(409, "version_in_use", "something depends on it")

    registry.memory.delete_module = refused  # type: ignore[method-assign]


@pytest.mark.usefixtures("undeletable")
def test_what_cannot_be_removed_is_named_with_the_command_that_does_it(registry: Running, context: Context) -> None:
    with pytest.raises(Incomplete) as caught:
        measured(registry, BenchRequest(2, 60))
    [module] = registry.memory.kept
    assert caught.value.exit_code == ExitCode.INCOMPLETE
    assert caught.value.message == f"the module {module}, made for this, is left: something depends on it"
    assert caught.value.actions == (f"spokectl modules delete {module} --permanent --yes --url {registry.url}",)


@pytest.mark.usefixtures("undeletable")
def test_it_is_named_also_when_something_else_went_wrong_first(registry: Running, context: Context) -> None:
    failing(registry, 3)
    with pytest.raises(Failed, match="was answered by 500") as caught:
        measured(registry, BenchRequest(2, 60))
    [module] = registry.memory.kept
    assert caught.value.actions[0].startswith(f"spokectl modules delete {module} ")


@pytest.mark.usefixtures("undeletable")
def test_it_is_named_after_ctrl_c(registry: Running, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Visitor, "get", interrupted)
    with pytest.raises(Interrupted) as caught:
        measured(registry, BenchRequest(2, 60))
    [module] = registry.memory.kept
    assert f"the module {module}, made for this, is left" in caught.value.message
    assert caught.value.actions[0].startswith(f"spokectl modules delete {module} ")


def test_ctrl_c_leaves_nothing_behind(registry: Running, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Visitor, "get", interrupted)
    with pytest.raises(Interrupted, match="interrupted; what was made for it is removed"):
        measured(registry, BenchRequest(2, 60))
    assert registry.memory.kept == {}


class Warming:
    """Three Spokes in turn, each of which has in memory what it has read once."""

    def __init__(self) -> None:
        self.reads = 0

    def get(self, path: str) -> Visit:
        assert path == "/x"
        self.reads += 1
        cache = {1: "miss", 2: "redis", 3: "redis"}.get(self.reads, "memory")
        return Visit(200, "", cache, 0.001, "")


@pytest.mark.parametrize(("at_most", "caches"), [(9, ["miss", "redis", "redis", "memory"]), (2, ["miss", "redis"])])
def test_a_version_is_read_until_a_spoke_has_it_in_memory(at_most: int, caches: list[str]) -> None:
    reads = read_until_in_memory(Warming(), "/x", at_most=at_most)  # type: ignore[arg-type]
    assert [each.cache for each in reads] == caches


def test_a_version_of_one_s_own_is_neither_made_nor_removed(
    registry: Running, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[object] = []
    monkeypatch.setattr(cache_bench, "master_of", lambda context: "redis-master")
    monkeypatch.setattr(cache_bench, "asked", lambda context, node, ask: dropped.append(node))
    with pytest.raises(NotFound, match="there is no version payments v1"):
        measured(registry, BenchRequest(3, 60, "payments", "v1"))
    assert dropped == ["redis-master"]
    assert registry.memory.kept == {}


@pytest.mark.parametrize(
    "request_",
    [BenchRequest(0, 60), BenchRequest(501, 60), BenchRequest(5, 60, "payments"), BenchRequest(5, 60, None, "v1")],
)
def test_what_makes_no_sense_is_refused_first(registry: Running, request_: BenchRequest) -> None:
    with pytest.raises(UsageError):
        measured(registry, request_)
    assert registry.memory.requests == 0
