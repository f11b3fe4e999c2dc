"""How clients reach a stack: its load balancer, its primary, its master. Each way with what it keeps at the end."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TypeVar

from spokectl.clients.object_store import ObjectStoreError
from spokectl.clients.writers import RedisWriter, RegistryWriter, SqlWriter, content_of, pushed, remove_module
from spokectl.drills.checker import Kept
from spokectl.drills.faults import Undo, undo_act
from spokectl.drills.figures import API, POSTGRES, REDIS
from spokectl.drills.history import Request, Write
from spokectl.drills.links import Link
from spokectl.drills.workload import Client, Saw, clients_of
from spokectl.errors import Failed
from spokectl.model import Kind, Stack
from spokectl.operations.context import Context, load_balancer
from spokectl.operations.health import application_credentials
from spokectl.operations.registry import address_of, reached
from spokectl.operations.shell import bucket_of
from spokectl.wait import Deadline

API_CLIENTS = 4
DIRECT_CLIENTS = 1
# What a drill leaves behind in Redis is gone by itself, but not before it is looked for.
_KEYS_OUTLIVE_S = 3600.0
_STORED_BELOW = "proto-files/sha256/"
T = TypeVar("T")


def balancer_of(stack: Stack) -> tuple[str, int]:
    """Where the load balancer is reached from this machine."""
    service = load_balancer(stack)
    return reached(service.address(service.health.port))


class Ways:
    """The ways into one stack for one trial, which writes under the name `name`.

    Of `links` there is one or none: every second client of the registry goes through it. `lasts_s`: how long a script may go
    on beyond what drills take else.
    """

    def __init__(
        self, context: Context, name: str, *, direct: bool, links: Sequence[Link] = (), lasts_s: float = 0.0
    ) -> None:
        self._stack, self._name, self._direct = context.stack, name, direct
        self._lasts_s = lasts_s + _KEYS_OUTLIVE_S
        self._links = links
        self.url = address_of(context.stack)

    def clients(self, saw: Saw) -> list[Client]:
        """All clients, not started."""
        clients = clients_of(self._name, API, API_CLIENTS, saw, self._registry)
        if self._direct:
            clients += clients_of(f"{self._name}-sql", POSTGRES, DIRECT_CLIENTS, saw, lambda _: self._sql())
            clients += clients_of(f"{self._name}-key", REDIS, DIRECT_CLIENTS, saw, lambda _: self._redis())
        return clients

    def _registry(self, client: str) -> RegistryWriter:
        for link in self._links:
            if int(client.rpartition("-")[2]) % 2 == 0:
                link.users.append(client)
                return RegistryWriter(link.url)
        return RegistryWriter(self.url)

    def prepare(self) -> None:
        """Makes a module for each client of the registry, and a table for the others."""
        with closing(RegistryWriter(self.url)) as registry:
            for module in self._modules:
                registry.prepare(module)
        if self._direct:
            self._on_table(lambda sql: sql.prepare())

    def remove(self) -> None:
        """Removes what `prepare` made and the clients wrote, where it is there. In Redis it goes by itself."""
        for module in self._modules:
            remove_module(self.url, module)
        if self._direct:
            self._on_table(lambda sql: sql.remove())

    @property
    def written(self) -> Undo:
        """How what the clients write is removed again, for the journal of faults."""
        return Undo("remove_load", values={"name": self._name, "direct": self._direct})

    def kept(self, requests: list[Request]) -> dict[str, list[Kept]]:
        """What each way has now of what was written. A version is whole with its content in the object store."""
        stored = self._stored()
        listed = [each for module in self._modules for each in pushed(self.url, module)]
        found = {API: [Kept(key, whole and _object_of(key) in stored) for key, whole in listed]}
        if self._direct:
            keys = [each.key for each in requests if each.layer == REDIS and isinstance(each, Write)]
            found[POSTGRES] = list(map(Kept, self._on_table(lambda sql: sql.kept())))
            found[REDIS] = list(map(Kept, self._in_redis(keys)))
        return found

    def _stored(self) -> set[str]:
        try:
            return {each.key for each in bucket_of(self._stack).objects(_STORED_BELOW)}
        except ObjectStoreError as error:
            raise Failed("load_failed", f"the object store lists nothing: {error}") from error

    @property
    def _modules(self) -> list[str]:
        return [f"{self._name}-{number}" for number in range(1, API_CLIENTS + 1)]

    def _on_table(self, act: Callable[[SqlWriter], T]) -> T:
        with closing(self._sql()) as sql:
            return act(sql)

    def _in_redis(self, keys: list[str]) -> list[str]:
        with closing(self._redis()) as master:
            return master.kept(keys)

    def _sql(self) -> SqlWriter:
        nodes = self._stack.of_kind(Kind.POSTGRES)
        return SqlWriter([reached(node.address(node.health.port)) for node in nodes], application_credentials(nodes[0]))

    def _redis(self) -> RedisWriter:
        sentinels = self._stack.of_kind(Kind.SENTINEL)
        environment = sentinels[0].environment
        # In containers Sentinels name a node by its service and its own port.
        published = {
            (node.name, port.target): reached((port.host, port.published))
            for node in self._stack.of_kind(Kind.REDIS)
            for port in node.ports
        }
        return RedisWriter(
            [reached(sentinel.address(sentinel.health.port)) for sentinel in sentinels],
            environment["SPOKE_REDIS_MASTER_NAME"],
            environment["SPOKE_REDIS_PASSWORD"],
            published,
            self._lasts_s,
        )


def _object_of(key: str) -> str:
    """Where a Spoke keeps the content of a version that the load has pushed."""
    digest = hashlib.sha256(content_of(key).encode()).hexdigest()
    return f"{_STORED_BELOW}{digest[:2]}/{digest[2:]}"


def removal_of(module: str) -> Undo:
    """How a module that a script made besides is removed again."""
    return Undo("remove_module", values={"name": module})


@undo_act("remove_module")
def _remove_module(context: Context, undo: Undo, _: Deadline) -> None:
    remove_module(address_of(context.stack), str(undo.values["name"]))


@undo_act("remove_load")
def _remove_load(context: Context, undo: Undo, _: Deadline) -> None:
    Ways(context, str(undo.values["name"]), direct=bool(undo.values["direct"])).remove()
