"""A shell in whichever node has the role now: psql in the primary, redis-cli in the master, a look into the bucket."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spokectl.errors import Failed, NotFound, UsageError
from spokectl.model import Kind, Stack
from spokectl.operations.context import require_node, running_context
from spokectl.operations.health import ServiceStatus, observe
from spokectl.operations.services import execute
from spokectl.settings import command_line

if TYPE_CHECKING:
    from spokectl.clients.object_store import Bucket

# Each in its own service, whose environment has the address and the password: neither shows among the arguments.
_PSQL = """PGPASSWORD="$SPOKE_POSTGRES_PASSWORD" exec psql \\
  -h "${SPOKE_LISTEN_ADDRESS:-127.0.0.1}" -p "$SPOKE_POSTGRES_PORT" \\
  -U "$SPOKE_POSTGRES_USER" -d "$SPOKE_POSTGRES_DATABASE" "$@"
"""
_REDIS_CLI = """REDISCLI_AUTH="$SPOKE_REDIS_PASSWORD" exec redis-cli \\
  -h "${SPOKE_LISTEN_ADDRESS:-127.0.0.1}" -p "$SPOKE_REDIS_PORT" "$@"
"""
_STORE_TIMEOUT_S = 10.0


def psql(name: str, file: Path | None, node: str | None, arguments: Sequence[str]) -> int:
    """psql as the application's user in the primary, or in `node`, with this process's own streams; gives its exit code."""
    where = _node(name, file, Kind.POSTGRES, "primary", node)
    return execute(name, file, where, ["sh", "-c", _PSQL, "psql", *arguments])


def redis_cli(name: str, file: Path | None, node: str | None, arguments: Sequence[str]) -> int:
    """redis-cli in the master, or in `node`, as above."""
    where = _node(name, file, Kind.REDIS, "master", node)
    return execute(name, file, where, ["sh", "-c", _REDIS_CLI, "redis-cli", *arguments])


def _node(name: str, file: Path | None, kind: Kind, role: str, chosen: str | None) -> str:
    context = running_context(name, file)
    if chosen is not None:
        require_node(context.stack, kind, chosen)
        return chosen
    return node_with(role, observe(context, [each.name for each in context.stack.of_kind(kind)]), kind, name)


def node_with(role: str, statuses: Sequence[ServiceStatus], kind: Kind, stack: str) -> str:
    """The one node that says it has the role; NotFound (`no_primary`, `no_master`) when none or several do. Pure."""
    found = [each.service for each in statuses if each.role == role]
    if len(found) == 1:
        return found[0]
    seen = "; ".join(f"{each.service}: {each.role or each.reason or each.health}" for each in statuses)
    several = f"{' and '.join(found)} both say {role}" if found else f"no node says that it is the {role}"
    raise NotFound(
        f"no_{role}", f"{several} ({seen}); choose one: --node NAME", actions=[command_line(stack, f"{kind} status")]
    )


def bucket_of(stack: Stack) -> "Bucket":
    """The bucket of the stack's Spokes. NotFound (`no_store`) when the stack has no store of its own."""
    from spokectl.clients.object_store import Bucket

    stores, spokes = (stack.of_kind(kind) for kind in (Kind.S3, Kind.SPOKE))
    if not stores or not spokes:
        raise NotFound("no_store", f"the stack {stack.name} has no S3 store of its own")
    environment = stores[0].environment
    host, port = stores[0].address(stores[0].health.port)
    return Bucket(
        f"http://{host}:{port}",
        spokes[0].environment["SPOKE_S3_BUCKET"],
        environment["SPOKE_S3_REGION"],
        environment["SPOKE_S3_ACCESS_KEY"],
        environment["SPOKE_S3_SECRET_KEY"],
        timeout_s=_STORE_TIMEOUT_S,
    )


class Store:
    """The stack's bucket for a person: lines to print, bytes to write."""

    def __init__(self, name: str, file: Path | None) -> None:
        self._bucket = bucket_of(running_context(name, file).stack)

    @property
    def bucket(self) -> str:
        return self._bucket.name

    def answer(self, words: Sequence[str]) -> Iterator[bytes]:
        """What `ls [PREFIX]` or `cat KEY` has to say. UsageError for anything else, Failed when the store says no."""
        from spokectl.clients.object_store import ObjectStoreError

        try:
            match list(words):
                case ["ls"]:
                    yield from self._listed("")
                case ["ls", prefix]:
                    yield from self._listed(prefix)
                case ["cat", key]:
                    yield from self._bucket.content(key)
                case _:
                    raise UsageError("unknown_command", "say `ls [PREFIX]`, or `cat KEY`")
        except ObjectStoreError as error:
            raise Failed("store_refused", f"the store says: {error}") from error

    def _listed(self, prefix: str) -> Iterator[bytes]:
        for each in self._bucket.objects(prefix):
            yield f"{each.changed_at:%Y-%m-%d %H:%M:%S}  {each.size_bytes:>12}  {each.key}\n".encode()
