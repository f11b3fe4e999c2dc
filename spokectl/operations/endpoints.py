"""Where to connect. Ports belong to nodes, roles move: so each address comes with the role observed there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spokectl.model import Kind, Service, Stack
from spokectl.runtime.base import served_ports

_SCHEMES = {Kind.POSTGRES: "postgresql", Kind.REDIS: "redis", Kind.SENTINEL: "redis"}
_PORT_NAMES: dict[tuple[Kind, int], str] = {
    (Kind.LOAD_BALANCER, 8080): "API",
    (Kind.SPOKE, 8080): "API",
    (Kind.SPOKE, 9090): "health",
    (Kind.POSTGRES, 5432): "PostgreSQL",
    (Kind.REDIS, 6379): "Redis",
    (Kind.SENTINEL, 26379): "Sentinel",
    (Kind.S3, 9000): "S3",
    (Kind.S3, 9001): "S3 console",
    (Kind.COLLECTOR, 4317): "OTLP/gRPC",
    (Kind.COLLECTOR, 4318): "OTLP/HTTP",
    (Kind.COLLECTOR, 8889): "metrics",
    (Kind.COLLECTOR, 13133): "health",
}
_PATHS = {(Kind.SPOKE, 9090): "/health/ready", (Kind.COLLECTOR, 8889): "/metrics"}
ORDER = [Kind.LOAD_BALANCER, Kind.SPOKE, Kind.POSTGRES, Kind.REDIS, Kind.SENTINEL, Kind.S3, Kind.COLLECTOR]
"""In which a person looks for them: as a request goes."""


@dataclass(frozen=True)
class Endpoint:
    """`role` is what the server said it is; empty when it was not asked or did not answer."""

    name: str
    service: str
    url: str
    role: str


def endpoints(stack: Stack, roles: Mapping[str, str], without: Mapping[str, str]) -> list[Endpoint]:
    """Every published port in the order a person looks for them, but the services and `service:port`s in `without`.

    One without a `service` leads to whichever node has the role.
    """
    found = []
    for kind in ORDER:
        for service in stack.of_kind(kind):
            for port in served_ports(service, without):
                name = _PORT_NAMES.get((kind, port.target), f"port {port.target}")
                scheme = _SCHEMES.get(kind, "http")
                url = f"{scheme}://{_host(port.host)}:{port.published}{_PATHS.get((kind, port.target), '')}"
                found.append(Endpoint(name, service.name, url, roles.get(service.name, "")))
        if kind is Kind.POSTGRES and (nodes := stack.of_kind(kind)):
            found.append(Endpoint("PostgreSQL", "", _database_url(nodes), "primary"))
    return found


def environment(stack: Stack, *, show_secrets: bool) -> dict[str, str]:
    """Variables for clients of the stack, for `eval`: they hold through a failover, since they name every node."""
    values: dict[str, str] = {}
    for balancer in stack.of_kind(Kind.LOAD_BALANCER)[:1]:
        values["SPOKECTL_URL"] = f"http://{_address(balancer.address(balancer.health.port))}"
    nodes = stack.of_kind(Kind.POSTGRES)
    if nodes:
        values["DATABASE_URL"] = _database_url(nodes)
        if show_secrets:
            values["PGPASSWORD"] = nodes[0].environment["SPOKE_POSTGRES_PASSWORD"]
    sentinels = stack.of_kind(Kind.SENTINEL)
    if sentinels:
        values["REDIS_SENTINELS"] = ",".join(_address(node.address(node.health.port)) for node in sentinels)
        values["REDIS_MASTER_NAME"] = sentinels[0].environment["SPOKE_REDIS_MASTER_NAME"]
        if show_secrets:
            values["REDISCLI_AUTH"] = sentinels[0].environment["SPOKE_REDIS_PASSWORD"]
    for store in stack.of_kind(Kind.S3)[:1]:
        values["AWS_ENDPOINT_URL"] = f"http://{_address(store.address(store.health.port))}"
        values["AWS_ACCESS_KEY_ID"] = store.environment["SPOKE_S3_ACCESS_KEY"]
        values["AWS_DEFAULT_REGION"] = store.environment["SPOKE_S3_REGION"]
        if show_secrets:
            values["AWS_SECRET_ACCESS_KEY"] = store.environment["SPOKE_S3_SECRET_KEY"]
    return values


def _database_url(nodes: Sequence[Service]) -> str:
    """Leads to whichever node is the primary."""
    user, database = (nodes[0].environment.get(f"SPOKE_POSTGRES_{key}", "") for key in ("USER", "DATABASE"))
    hosts = ",".join(_address(node.address(node.health.port)) for node in nodes)
    return f"postgresql://{user}@{hosts}/{database}?target_session_attrs=read-write"


def _address(address: tuple[str, int]) -> str:
    return f"{_host(address[0])}:{address[1]}"


def _host(host: str) -> str:
    """The address as typed into a client: a bind address for all interfaces is reached at the loopback."""
    if host == "127.0.0.1" or host == "0.0.0.0":  # noqa: S104 - compared, not bound
        return "localhost" if host == "127.0.0.1" else "127.0.0.1"
    return f"[{host}]" if ":" in host else host
