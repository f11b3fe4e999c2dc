from pathlib import Path

import pytest

from spokectl.compose import raw_services
from spokectl.errors import UsageError
from spokectl.model import HealthProbe, Kind, Mount, Port, Stack
from spokectl.stackfile import default_stack_file, load_stack

SERVICE = """
services:
  one:
    labels: {spokectl.kind: spoke, spokectl.role: instance, spokectl.health: job}
"""


def load(
    tmp_path: Path, text: str, *more: str, shell: dict[str, str] | None = None, env: dict[str, str] | None = None
) -> Stack:
    files = []
    for index, content in enumerate((text, *more)):
        files.append(tmp_path / f"stack{index}.yml")
        files[-1].write_text(content)
    return load_stack("test", files, shell=shell or {}, env_file=env or {})


def test_the_shipped_stack_has_every_service_of_the_design() -> None:
    stack = load_stack("spoke", [default_stack_file()], shell={}, env_file={})
    assert {name: [port.published for port in service.ports] for name, service in stack.services.items()} == {
        "postgres-primary": [5432],
        "postgres-replica": [5433],
        "redis-master": [6379],
        "redis-replica": [6380],
        "redis-sentinel-1": [26379],
        "redis-sentinel-2": [26380],
        "redis-sentinel-3": [26381],
        "minio": [9000, 9001],
        "minio-init": [],
        "spoke-1": [8081, 9091],
        "spoke-2": [8082, 9092],
        "spoke-3": [8083, 9093],
        "nginx": [8080],
        "otel-collector": [4317, 4318, 8889, 13133],
    }
    assert stack.notices == ()
    assert all(port.host == "127.0.0.1" for service in stack.services.values() for port in service.ports)
    names = {name: service.container_name for name, service in stack.services.items()}
    assert names["spoke-1"] == "spoke-1"
    assert names["postgres-primary"] == "spoke-postgres-primary"
    assert stack.services["postgres-primary"].environment["SPOKE_POSTGRES_PASSWORD"] == "spoke-password"


def test_a_stack_of_another_name_has_other_container_names() -> None:
    stack = load_stack("second", [default_stack_file()], shell={"SPOKE_STACK": "third"}, env_file={})
    assert stack.services["spoke-1"].container_name == "second-1"


def test_a_service_is_read_with_all_its_parts(tmp_path: Path) -> None:
    stack = load(
        tmp_path,
        """
x-base: &base {restart: unless-stopped, stop_grace_period: 1m30s}
services:
  one:
    <<: *base
    labels: {spokectl.kind: redis, spokectl.role: master, spokectl.health: "redis:6379"}
    environment: [A=1, "B=x y", C]
    ports: ["127.0.0.1:${P:-7000}:6379"]
    volumes: ["data:/data", "./conf:/conf:ro"]
    command: redis-server --maxmemory "256 mb"
    deploy: {resources: {limits: {memory: 1G}}}
volumes: {data: {}}
""",
    )
    one = stack.services["one"]
    assert one.kind is Kind.REDIS
    assert one.health == HealthProbe("redis", 6379)
    assert one.environment == {"A": "1", "B": "x y", "C": ""}
    assert one.ports == (Port("127.0.0.1", 7000, 6379),)
    assert one.mounts == (Mount("data", "/data", named=True), Mount("./conf", "/conf", named=False, read_only=True))
    assert one.command == ("redis-server", "--maxmemory", "256 mb")
    assert (one.restart, one.stop_grace_s, one.memory_limit_bytes) == ("unless-stopped", 90.0, 1024**3)
    assert stack.port_settings == {"P": 7000}


def test_the_shell_comes_before_the_env_file_and_that_before_the_default(tmp_path: Path) -> None:
    text = SERVICE + "    environment: {A: '${A:-default}', B: '${B:-default}', C: '${C:-default}'}\n"
    stack = load(tmp_path, text, shell={"A": "shell"}, env={"A": "file", "B": "file"})
    assert stack.services["one"].environment == {"A": "shell", "B": "file", "C": "default"}
    assert [(s.name, s.value, s.default, s.source) for s in stack.settings.values()] == [
        ("A", "shell", "default", "shell"),
        ("B", "file", "default", "file"),
        ("C", "default", "default", "default"),
    ]


def test_yaml_values_reach_the_environment_as_they_stand(tmp_path: Path) -> None:
    stack = load(tmp_path, SERVICE + "    environment: {T: true, N: 5, F: '05', E: }\n")
    assert stack.services["one"].environment == {"T": "true", "N": "5", "F": "05", "E": ""}


def test_the_env_file_beside_the_stack_file_is_read_as_compose_reads_it(tmp_path: Path) -> None:
    """It was passed to Compose and not read here: `up` made containers on its ports and waited for others to answer."""
    (tmp_path / ".env").write_text("A=beside\nB=beside\n# by hand\nC='beside too'\n")
    text = SERVICE + "    environment: {A: '${A:-default}', B: '${B:-default}', C: '${C:-default}', D: '${D:-default}'}\n"
    stack = load(tmp_path, text, shell={"A": "shell"}, env={"B": "file"})
    assert stack.services["one"].environment == {"A": "shell", "B": "file", "C": "beside too", "D": "default"}
    assert [setting.source for setting in stack.settings.values()] == ["shell", "file", "dotenv", "default"]


def test_a_second_file_adds_to_the_first_as_in_compose(tmp_path: Path) -> None:
    stack = load(
        tmp_path,
        SERVICE + "    environment: {A: '1', B: '2'}\n    ports: ['127.0.0.1:1:1']\n    command: [a]\n",
        "services: {one: {environment: [B=3], ports: ['127.0.0.1:2:2'], command: [b]}}",
    )
    one = stack.services["one"]
    assert one.environment == {"A": "1", "B": "3"}
    assert [port.target for port in one.ports] == [1, 2]
    assert one.command == ("b",)


def test_a_service_scaled_to_zero_is_not_there(tmp_path: Path) -> None:
    two = SERVICE + SERVICE.replace("services:\n", "").replace("one", "two")
    assert list(load(tmp_path, two, "services: {two: {scale: 0}}").services) == ["one"]


def test_an_unknown_key_is_a_notice_with_its_place(tmp_path: Path) -> None:
    stack = load(tmp_path, SERVICE + "    shm_size: 1g\nsecrets: {}\n")
    assert stack.notices == (
        "stack0.yml, line 6: 'secrets' is not known here: no effect in the local runtime",
        "stack0.yml, line 5: one: 'shm_size' is not known here: no effect in the local runtime",
    )


@pytest.mark.parametrize(
    "limit",
    ["deploy: {resources: {limits: {cpus: '1'}}}", "deploy: {resources: {reservations: {memory: 1G}}}", "mem_limit: 1g"],
)
def test_limits_of_whatever_kind_are_one_notice_that_names_the_services(tmp_path: Path, limit: str) -> None:
    one = SERVICE + f"    {limit}\n"
    two = one.replace("services:\n", "").replace("one", "two")
    assert load(tmp_path, one + two).notices == (
        "stack0.yml, line 5: limits and `deploy` have no effect in the local runtime: one, two",
    )


@pytest.mark.parametrize(
    "limit",
    ["deploy: {resources: {limits: {cpus: '0', memory: '${M:-0}'}}}", "mem_limit: 0", "mem_limit: 0m", "deploy: {}"],
)
def test_a_limit_of_zero_is_none(tmp_path: Path, limit: str) -> None:
    stack = load(tmp_path, SERVICE + f"    {limit}\n")
    assert (stack.notices, stack.services["one"].memory_limit_bytes) == ((), None)


def test_volumes_that_are_read_only_in_containers_alone_are_one_notice(tmp_path: Path) -> None:
    one = SERVICE + "    volumes: ['data:/data', './conf:/conf:ro']\n"
    two = one.replace("services:\n", "").replace("one", "two").replace(":ro", ":ro,z")
    three = SERVICE.replace("services:\n", "").replace("one", "three") + "    volumes: ['data:/data:rw']\n"
    assert load(tmp_path, one + two + three + "volumes: {data: {}}\n").notices == (
        "stack0.yml, line 5: read-only volumes can be written to in the local runtime: one, two",
    )


def test_a_limit_that_is_set_is_noticed_for_the_services_of_its_role() -> None:
    stack = load_stack("spoke", [default_stack_file()], shell={"SPOKE_REDIS_MEMORY": "1G"}, env_file={})
    assert [notice.rpartition(": ")[2] for notice in stack.notices] == ["redis-master, redis-replica"]
    limits = {name: service.memory_limit_bytes for name, service in stack.services.items() if service.memory_limit_bytes}
    assert limits == {"redis-master": 1 << 30, "redis-replica": 1 << 30}


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", 1, "mapping"),
        ("services: []", 1, "services"),
        ("services: {}", 1, "services"),
        ("a: [1\nb: 2", 2, "not valid YAML"),
        ("services:\n  one: 5\n", 2, "mapping for the service one"),
        ("services:\n  one: {}\n", 2, "spokectl.kind is missing"),
        (SERVICE.replace("spoke,", "spook,"), 4, "'spook'"),
        (SERVICE.replace("health: job", "health: http"), 4, "PROTOCOL:PORT"),
        (SERVICE.replace("health: job", "health: 'gopher:70'"), 4, "gopher"),
        (SERVICE.replace("health: job", "health: 'http:80/x'"), 4, "port 80, which is not published"),
        (SERVICE + "    ports: ['8080']\n", 5, "ADDRESS:PORT:CONTAINER-PORT"),
        (SERVICE + "    ports: ['127.0.0.1:99999:80']\n", 5, "1 to 65535"),
        (SERVICE + "    ports: ['127.0.0.1:0:80']\n", 5, "1 to 65535"),
        (SERVICE + "    ports:\n      - 127.0.0.1:80:80\n      - 127.0.0.1:80:81\n", 6, "published by one already"),
        (SERVICE + "    volumes: ['data:/data']\n", 5, "not listed under `volumes`"),
        (SERVICE + "    stop_grace_period: soon\n", 5, "not a duration"),
        (SERVICE + "    environment: {A: {B: c}}\n", 5, "single value"),
        (SERVICE + "    environment: 5\n", 5, "environment"),
        (SERVICE + "    command: 'a \"b'\n", 5, "command"),
        (SERVICE + "    restart: ${X:?say how}\n", 5, "X must be set: say how"),
        (SERVICE + "    restart: ${X\n", 5, "without its }"),
        (SERVICE + "    restart: a\n    restart: b\n", 6, "stands twice"),
        (SERVICE + "    deploy: {resources: {limits: {memory: much}}}\n", 5, "not a size"),
        ("x: &x [*x]\n", 1, "services"),
        ("a: b\n? [a, b]\n: c\n", 2, "a key must be a single value"),
        (SERVICE + "    environment: {A: 2026-99-99}\n", 1, "month"),
        ("a: !!python/object:os.system {}\nservices: {}\n", 1, "not valid YAML"),
    ],
)
def test_what_does_not_fit_is_said_with_file_and_line(tmp_path: Path, text: str, line: int, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert caught.value.code == "bad_stack_file"
    assert caught.value.details["line"] == line, caught.value.message
    assert part in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yml") as caught:
        load_stack("test", [tmp_path / "nowhere.yml"], shell={}, env_file={})
    assert caught.value.code == "no_stack_file"


def test_a_value_that_is_not_utf_8_is_refused_where_the_file_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"line 5: the value of A \(shell\) is not UTF-8"):
        load(tmp_path, SERVICE + "    environment: {A: '${A:-}'}\n", shell={"A": "\udcff"})


def test_services_are_given_in_one_form_whatever_the_file_has_them_in(tmp_path: Path) -> None:
    path = tmp_path / "stack.yml"
    path.write_text("services: {one: {environment: [A=1, B], labels: [c=d]}, two: {}}")
    assert raw_services(path) == {
        "one": {"environment": {"A": "1", "B": None}, "labels": {"c": "d"}, "ports": []},
        "two": {"environment": {}, "labels": {}, "ports": []},
    }


def test_each_image_of_the_shipped_stack_is_built_for_one_service_and_a_copied_spoke_builds_none() -> None:
    services = raw_services(default_stack_file())
    built = [raw["image"] for raw in services.values() if "build" in raw]
    assert sorted(built) == sorted({raw["image"] for raw in services.values()})
    assert "build" not in services["spoke-1"]
