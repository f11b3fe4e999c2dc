from pathlib import Path

import pytest

from spokectl.model import Kind, Mount, Port, Service, Stack
from spokectl.runtime.local.translate import Translator
from tests.unit.local_runtime.conftest import MakeService, build_service, build_stack

PEERS = (
    build_service("postgres-primary", Kind.POSTGRES, ports=(Port("127.0.0.1", 15432, 5432),)),
    build_service("postgres-replica", Kind.POSTGRES, ports=(Port("127.0.0.1", 15433, 5432),)),
    build_service("minio", Kind.S3, ports=(Port("0.0.0.0", 19000, 9000),)),
    build_service("six", Kind.S3, ports=(Port("::1", 19001, 9000),)),
    build_service("otel-collector", Kind.COLLECTOR, ports=(Port("127.0.0.1", 14318, 4318),)),
)


def stack_of(service: Service) -> Stack:
    return build_stack(service, *PEERS)


def translated(service: Service, left_out: tuple[str, ...] = ()) -> dict[str, str]:
    return Translator(stack_of(service), lambda name: Path("/volumes") / name, left_out).environment(service)


@pytest.mark.parametrize(
    ("value", "native"),
    [
        ("postgres-primary:5432", "127.0.0.1:15432"),
        (
            "postgresql://spoke@postgres-primary:5432,postgres-replica:5432/spoke",
            "postgresql://spoke@127.0.0.1:15432,127.0.0.1:15433/spoke",
        ),
        ("http://minio:9000", "http://127.0.0.1:19000"),
        ("http://minio:9000/path?x=1", "http://127.0.0.1:19000/path?x=1"),
        ("six:9000", "[::1]:19001"),
        ("postgres-primary:5432 postgres-replica:5432", "127.0.0.1:15432 127.0.0.1:15433"),
        ("postgres-primary:9999", "postgres-primary:9999"),
        ("elsewhere:5432", "elsewhere:5432"),
        ("my-postgres-primary:5432", "my-postgres-primary:5432"),
        ("postgres-primary:54321", "postgres-primary:54321"),
        ("minio:9000.5", "minio:9000.5"),
        ("", ""),
    ],
)
def test_an_address_of_a_service_becomes_its_published_address(make_service: MakeService, value: str, native: str) -> None:
    assert translated(make_service(environment={"X": value}))["X"] == native


def test_a_password_that_looks_like_an_address_stays_what_it_is(make_service: MakeService) -> None:
    environment = {"SPOKE_REDIS_PASSWORD": "minio:9000", "SPOKE_S3_SECRET_KEY": "/data", "SPOKE_S3_ACCESS_KEY": "0.0.0.0"}
    service = make_service(environment=environment, mounts=(Mount("notes", "/data", True),))
    assert translated(service).items() >= environment.items()


@pytest.mark.parametrize(
    ("name", "value", "native"),
    [
        ("SPOKE_PORT", "8080", "18080"),
        ("SPOKE_HEALTH_PORT", "9090", "19090"),
        ("SPOKE_PORT", "7070", "7070"),
        ("SPOKE_BACKEND_HEALTH_TARGET", "9090", "9090"),
        ("SPOKE_PORT", "many", "many"),
    ],
)
def test_a_port_variable_with_an_own_container_port_becomes_the_published_port(
    make_service: MakeService, name: str, value: str, native: str
) -> None:
    ports = (Port("127.0.0.1", 18080, 8080), Port("127.0.0.1", 19090, 9090))
    assert translated(make_service(environment={name: value}, ports=ports))[name] == native


def test_listening_everywhere_becomes_listening_where_the_ports_are_published(make_service: MakeService) -> None:
    environment = {"SPOKE_LISTEN_ADDRESS": "0.0.0.0"}
    assert (
        translated(make_service(environment=environment, ports=(Port("127.0.0.2", 1, 1),)))["SPOKE_LISTEN_ADDRESS"]
        == "127.0.0.2"
    )
    assert (
        translated(make_service(environment=environment, ports=(Port("0.0.0.0", 1, 1),)))["SPOKE_LISTEN_ADDRESS"]
        == "0.0.0.0"
    )
    assert translated(make_service(environment=environment))["SPOKE_LISTEN_ADDRESS"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "native"),
    [
        ("/var/lib/postgresql", "/volumes/data"),
        ("/var/lib/postgresql/data", "/volumes/data/data"),
        ("/var/lib/postgresql/", "/volumes/data"),
        ("/var/lib/postgresql/inner/x", "/volumes/inner/x"),
        ("/var/lib/postgresqlx", "/var/lib/postgresqlx"),
        ("/etc/app.conf", "/stack/app.conf"),
        ("/etc/absolute", "/srv/absolute"),
        ("/elsewhere", "/elsewhere"),
    ],
)
def test_a_path_in_a_volume_becomes_the_native_path(make_service: MakeService, path: str, native: str) -> None:
    mounts = (
        Mount("data", "/var/lib/postgresql", True),
        Mount("inner", "/var/lib/postgresql/inner", True),
        Mount("./app.conf", "/etc/app.conf", False),
        Mount("/srv/absolute", "/etc/absolute", False),
    )
    assert translated(make_service(environment={"PGDATA": path}, mounts=mounts))["PGDATA"] == native


def test_every_published_port_is_listed_by_service_name(make_service: MakeService) -> None:
    service = make_service(ports=(Port("127.0.0.1", 18081, 8080), Port("127.0.0.1", 19091, 9090)))
    addresses = translated(service)["SPOKE_ADDRESSES"].split()
    assert addresses[:2] == ["spoke-1:8080=127.0.0.1:18081", "spoke-1:9090=127.0.0.1:19091"]
    assert "minio:9000=127.0.0.1:19000" in addresses


@pytest.mark.parametrize(
    ("endpoint", "left_out", "enabled"),
    [
        ("otel-collector:4318", ("otel-collector",), "false"),
        ("otel-collector:4318", (), "true"),
        ("telemetry.example:4318", ("otel-collector",), "true"),
    ],
)
def test_telemetry_is_off_only_when_its_own_collector_is_left_out(
    make_service: MakeService, endpoint: str, left_out: tuple[str, ...], enabled: str
) -> None:
    service = make_service(environment={"SPOKE_OTEL_ENABLED": "true", "SPOKE_OTEL_ENDPOINT": endpoint})
    assert translated(service, left_out)["SPOKE_OTEL_ENABLED"] == enabled


def test_arguments_are_translated_like_values(make_service: MakeService) -> None:
    service = make_service(
        command=("redis-server", "--replicaof", "minio:9000", "/data/x"), mounts=(Mount("v", "/data", True),)
    )
    translator = Translator(stack_of(service), lambda name: Path("/volumes") / name)
    assert translator.command(service) == ["redis-server", "--replicaof", "127.0.0.1:19000", "/volumes/v/x"]
