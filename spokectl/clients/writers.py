"""Clients of a load: each writes entries that can be told apart, and reads them back. They repeat nothing by themselves.

One object is one client, with connections of its own; it is used by one thread at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import psycopg
import redis
from psycopg.pq import DiagnosticField, Escaping, ExecStatus
from psycopg.pq.abc import PGconn
from redis.sentinel import Sentinel

from spokectl.clients.http import httpx
from spokectl.clients.postgres import Credentials, PostgresUnavailable, await_answer, conninfo_of_primary
from spokectl.clients.redis import NO_RETRY
from spokectl.errors import Failed
from spokectl.wait import Deadline

API_TIMEOUT_S = 60.0
"""As long as spokectl's own client of the registry waits for an answer."""
_SQL_TIMEOUT_S = 30.0
_REDIS_TIMEOUT_S = 2.0
_PAGE = 200
TABLE = "spokectl_drill"
# Of which a server says for sure that nothing was written: it is a standby, is full, shuts down before it begins.
_ENDED = ("57", "08", "40003")


class WriteRefused(Exception):
    """The write was not applied for sure."""


class Absent(Exception):
    """A read was answered: the entry is not there."""


class Different(Exception):
    """A read was answered: the entry is there, with another content than was written."""


@contextmanager
def failing(what: str) -> Iterator[None]:
    """Failed (`load_failed`) with the cause, where one of the libraries below gives up `what`."""
    try:
        yield
    except (httpx.HTTPError, psycopg.Error, PostgresUnavailable, WriteRefused, redis.RedisError) as error:
        raise Failed("load_failed", f"{what}: {error}", actions=["spokectl status"]) from error


def _client(url: str, timeout_s: float = API_TIMEOUT_S) -> httpx.Client:
    # A proxy that the environment names would be measured with it.
    return httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)


class Writer(Protocol):
    """Where one client of a load writes to."""

    def write(self, key: str) -> None:
        """Returns once the write is acknowledged. WriteRefused, or any other error that leaves it in doubt."""

    def read(self, key: str) -> None:
        """Absent or Different are answers, any other error is none."""

    def close(self) -> None:
        """Ends its connections."""


class RegistryWriter:
    """Pushes versions through the load balancer: of the key `load-3.17`, `load-3` is the module, and the whole the version.

    The content is made from the key.
    """

    def __init__(self, url: str, *, timeout_s: float = API_TIMEOUT_S) -> None:
        self._http = _client(url, timeout_s)

    def prepare(self, module: str) -> None:
        """Creates the module that the client will write to. Failed (`load_failed`) when the registry does not."""
        with failing(f"the registry does not create the module {module}"):
            self._http.post("/modules", json={"name": module, "description": "written by a load"}).raise_for_status()

    def write(self, key: str) -> None:
        self.created_at(key)

    def created_at(self, key: str) -> str:
        """Writes, and gives when the registry says that the entry was made: the same for every repetition."""
        module = _module_of(key)
        body = {"module_name": module, "version": key, "files": [{"path": "a.proto", "content": content_of(key)}]}
        try:
            answer = self._http.post(f"/modules/{module}/versions", json=body)
        except httpx.ConnectError as error:
            raise WriteRefused(f"no connection: {error}") from error
        if 400 <= answer.status_code < 500:
            raise WriteRefused(f"{answer.status_code} {answer.text}")
        return str(answer.raise_for_status().json()["created_at"])

    def read(self, key: str) -> None:
        answer = self._http.get(f"/modules/{_module_of(key)}/versions/{key}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise Absent(answer.text)
        if not _is_whole(answer.raise_for_status().json()):
            raise Different(answer.text)

    def close(self) -> None:
        self._http.close()


def pushed(url: str, module: str) -> list[tuple[str, bool]]:
    """The versions of a module that the registry has, each with whether it is as it was pushed. Failed (`load_failed`)."""
    found: list[tuple[str, bool]] = []
    query = {"limit": str(_PAGE)}
    with (
        failing(f"the registry does not list {module}"),
        _client(url) as client,
    ):
        while True:
            answer = client.get(f"/modules/{module}/versions", params=query).raise_for_status()
            found += [(str(version["version"]), _is_whole(version)) for version in answer.json()]
            if not (cursor := answer.headers.get("x-next-cursor")):
                return found
            query["cursor"] = cursor


def remove_module(url: str, module: str) -> None:
    """Deletes a module for good, where it is there. Failed (`load_failed`)."""
    with (
        failing(f"the registry does not delete {module}"),
        _client(url) as client,
    ):
        answer = client.delete(f"/modules/{module}", params={"permanent": "true"})
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()


def _module_of(key: str) -> str:
    return key.rpartition(".")[0]


def content_of(version: str) -> str:
    """The one file of a version that a load pushes."""
    return f'syntax = "proto3";\n// {version}\nmessage Written {{\n}}\n'


def _is_whole(version: Mapping[str, Any]) -> bool:
    return [file["content"] for file in version["files"]] == [content_of(str(version["version"]))]


class SqlWriter:
    """Inserts rows into whichever node takes writes, as any client of a URL that names them all does."""

    def __init__(self, nodes: Sequence[tuple[str, int]], credentials: Credentials) -> None:
        self._conninfo = conninfo_of_primary(nodes, credentials)
        self._connection: psycopg.Connection[Any] | None = None

    def prepare(self) -> None:
        """Makes the table, empty. Failed (`load_failed`) when that cannot be, as the three below."""
        with failing("PostgreSQL makes no table"):
            self._ask(f"DROP TABLE IF EXISTS {TABLE}; CREATE TABLE {TABLE} (key text)")

    def remove(self) -> None:
        with failing("PostgreSQL removes no table"):
            self._ask(f"DROP TABLE IF EXISTS {TABLE}")

    def write(self, key: str) -> None:
        connection = self._connected_or_refused()
        self._ask(f"INSERT INTO {TABLE} VALUES ({_literal(connection, key)})")  # noqa: S608 - escaped

    def read(self, key: str) -> None:
        connection = self._connected()
        wanted = _literal(connection, key)
        if not self._ask(f"SELECT key FROM {TABLE} WHERE key = {wanted}"):  # noqa: S608 - escaped
            raise Absent(key)

    def kept(self) -> list[str]:
        """Every row, also one that is there twice."""
        with failing("PostgreSQL reads no table"):
            return self._ask(f"TABLE {TABLE}")

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
        return self._connection

    def _connected_or_refused(self) -> psycopg.Connection[Any]:
        try:
            return self._connected()
        except psycopg.Error as error:
            raise WriteRefused(f"no connection: {error}") from error

    def _ask(self, statement: str) -> list[str]:
        """The first column of the answer. Whatever goes wrong, the next one gets a new connection."""
        connection = self._connected().pgconn
        try:
            await_answer(connection, statement.encode(), Deadline(_SQL_TIMEOUT_S))
            return _first_column(connection)
        except BaseException:
            self.close()
            raise


def _first_column(connection: PGconn) -> list[str]:
    """Of the last of the results that are there to be read."""
    rows: list[str] = []
    while (result := connection.get_result()) is not None:
        if result.status not in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
            raise _sql_error(result.error_field(DiagnosticField.SQLSTATE), result.error_message)
        rows = [(result.get_value(row, 0) or b"").decode() for row in range(result.ntuples)]
    return rows


def _literal(connection: psycopg.Connection[Any], text: str) -> str:
    return bytes(Escaping(connection.pgconn).escape_literal(text.encode())).decode()


def _sql_error(state: bytes | None, message: bytes) -> Exception:
    """A server that refuses a statement has not applied it; one that ends meanwhile may have."""
    said = message.decode("utf-8", "replace").strip()
    if state is None or state.decode().startswith(_ENDED):
        return PostgresUnavailable(said)
    return WriteRefused(said)


class RedisWriter:
    """Sets keys in whichever node the Sentinels name as the master, as any client that follows them does.

    `published`: the address here of each node, by the address under which the Sentinels know it. What is written is gone by
    itself after `lasts_s`.
    """

    def __init__(
        self,
        sentinels: Sequence[tuple[str, int]],
        group: str,
        password: str,
        published: Mapping[tuple[str, int], tuple[str, int]],
        lasts_s: float,
    ) -> None:
        self._lasts_s = round(lasts_s)
        self._sentinels = _Sentinels(sentinels, published)
        self._client = self._sentinels.master_for(  # type: ignore[no-untyped-call]
            group, password=password, socket_timeout=_REDIS_TIMEOUT_S, retry=NO_RETRY, decode_responses=True
        )

    def write(self, key: str) -> None:
        if not self._client.set(key, key, ex=self._lasts_s):
            raise WriteRefused(key)

    def read(self, key: str) -> None:
        found = self._client.get(key)
        if found is None:
            raise Absent(key)
        if found != key:
            raise Different(str(found))

    def kept(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that the master has now. Failed (`load_failed`)."""
        if not keys:
            return []
        with failing("Redis reads no keys"):
            return [key for key, value in zip(keys, self._client.mget(list(keys)), strict=True) if value == key]

    def close(self) -> None:
        self._client.close()
        for sentinel in self._sentinels.sentinels:
            sentinel.close()


class _Sentinels(Sentinel):
    def __init__(self, addresses: Sequence[tuple[str, int]], published: Mapping[tuple[str, int], tuple[str, int]]) -> None:
        super().__init__(list(addresses), socket_timeout=_REDIS_TIMEOUT_S, retry=NO_RETRY)  # type: ignore[no-untyped-call]
        self._published = published

    def discover_master(self, service_name: str) -> tuple[str, int]:
        host, port = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        return self._published.get((host, int(port)), (host, int(port)))
