"""Reading: modules, versions and files as answers ready to send.

A version's bytes never change, but it can be deleted, and a delete must show everywhere within a second. So an entry in
memory is sent without asking only for CONFIRMED_S after PostgreSQL said that the version is there; then it is asked
again, by one indexed lookup of the digest that all waiting requests share. Nothing is announced between instances, so
there is no announcement to miss: not with Redis down, not in a failover, not in an instance that was frozen. When no
node of PostgreSQL can answer, nothing is sent. What Redis holds is believed only if its digest is PostgreSQL's.

A module can change at any time, so its revision is asked each time; its bytes are kept while that stays the same.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from spoke_server import wire
from spoke_server.cache import Entry, LruCache
from spoke_server.errors import ApiError, module_not_found, version_not_found
from spoke_server.registry import Dependency, File
from spoke_server.storage import reads
from spoke_server.storage.batch import Batch
from spoke_server.storage.nodes import Connection
from spoke_server.storage.postgres import Postgres
from spoke_server.storage.reads import Listed, VersionName
from spoke_server.storage.shared_cache import SharedCache

CONFIRMED_S = 0.5
# Beyond this an answer is made and sent piece by piece.
WHOLE_ANSWER_BYTES = 4 << 20
PAGE_MODULES = 500
_MAX_IMPORTED_VERSIONS = 50
_MAX_IMPORTED_BYTES = 32 << 20

IMMUTABLE = b"public, max-age=31536000, immutable"
REVALIDATE = b"no-cache"


class CacheObserver(Protocol):
    """Hears where a version's bytes came from."""

    def cache_hit(self, tier: str) -> None:
        """The bytes came from this tier."""

    def cache_miss(self, tier: str) -> None:
        """This tier did not have them."""


class Found(NamedTuple):
    """A version and where its bytes came from: memory, redis or miss."""

    entry: Entry
    source: str


class Streamed(NamedTuple):
    """An answer that is made while it is sent."""

    digest: str
    parts: AsyncIterator[bytes]


class Page(NamedTuple):
    """Part of a list, and where the next part begins, if there is one."""

    body: bytes | AsyncIterator[bytes]
    next_cursor: str | None


@dataclass(frozen=True)
class ModuleName:
    """Names a module's answer in the cache. No tuple: those would be equal to the names of versions."""

    module: str


@dataclass(frozen=True)
class FileName:
    """Names a file's answer in the cache, by the digest of its version."""

    version_digest: str
    path: str


_N = TypeVar("_N")


class Catalog:
    """Answers reads."""

    def __init__(self, postgres: Postgres, memory: LruCache, shared: SharedCache, observer: CacheObserver) -> None:
        self._postgres = postgres
        self._memory = memory
        self._shared = shared
        self._observer = observer
        self._digests = Batch[VersionName, str](partial(self._lookup, reads.version_digests))
        self._latest = Batch[str, str](partial(self._lookup, reads.latest_versions))
        self._revisions = Batch[str, str](partial(self._lookup, reads.module_revisions))
        self._background: set[asyncio.Task[None]] = set()

    async def _lookup(
        self, query: Callable[[Connection, Sequence[_N]], Awaitable[Mapping[_N, str]]], keys: list[_N]
    ) -> Mapping[_N, str]:
        return await self._postgres.read(lambda connection: query(connection, keys))

    # -- versions --------------------------------------------------------------------------------------------------

    async def version(self, name: VersionName) -> Found:
        """A version by its number."""
        now = time.monotonic()
        entry = self._memory.get(name)
        if entry is not None and now < entry.confirmed_s:
            self._observer.cache_hit("memory")
            return Found(entry, "memory")
        if entry is None:
            self._observer.cache_miss("memory")
            return await self._version_not_in_memory(name, now)
        digest = await self._digests.get(name)
        if digest is None:
            self._memory.discard(name)
            raise version_not_found(*name)
        if digest != entry.digest:
            # A failover that lost writes let the number be taken by another content.
            return await self._version_from_database(name, now)
        entry.confirmed_s = now + CONFIRMED_S
        self._observer.cache_hit("memory")
        return Found(entry, "memory")

    async def latest(self, module: str) -> Found:
        """The highest version of a module."""
        version = await self._latest.get(module)
        if version is None:
            raise version_not_found(module, "latest")
        return await self.version(VersionName(module, version))

    async def deleted_version(self, name: VersionName) -> bytes:
        """A version that may be deleted; then it says when."""
        found = await self._postgres.read(partial(reads.version, name=name, deleted=True))
        if found is None:
            raise version_not_found(*name)
        stored, deleted_at = found
        return wire.with_deleted_at(stored.body, deleted_at)

    async def file(self, name: VersionName, path: str) -> Found:
        """One file of a version."""
        found = await (self.latest(name.module) if name.version == "latest" else self.version(name))
        key = FileName(found.entry.digest, path)
        entry = self._memory.get(key)
        if entry is None:
            files = json.loads(found.entry.body)["files"]
            file = next((file for file in files if file["path"] == path), None)
            if file is None:
                raise ApiError(404, "file_not_found", f"file not found: {name.module}@{name.version}:{path}")
            entry = _entry(wire.encode(file))
            self._memory.put(key, entry)
        return Found(entry, found.source)

    async def _version_not_in_memory(self, name: VersionName, now: float) -> Found:
        body = await self._shared.get(*name)
        if body is not None:
            digest = await self._digests.get(name)
            if digest is None:
                self._later(self._shared.forget(name))
                raise version_not_found(*name)
            if digest == wire.digest(body):
                self._observer.cache_hit("redis")
                return Found(self._remember(name, digest, body, now), "redis")
        self._observer.cache_miss("redis")
        return await self._version_from_database(name, now)

    async def _version_from_database(self, name: VersionName, now: float) -> Found:
        found = await self._postgres.read(partial(reads.version, name=name, deleted=False))
        if found is None:
            raise version_not_found(*name)
        stored, _ = found
        self._later(self._shared.put(*name, stored.body))
        return Found(self._remember(name, stored.digest, stored.body, now), "miss")

    def _remember(self, name: VersionName, digest: str, body: bytes, now: float) -> Entry:
        entry = _entry(body, digest)
        entry.confirmed_s = now + CONFIRMED_S
        self._memory.put(name, entry)
        return entry

    def forget(self, name: VersionName) -> None:
        """Lets go of a version that was deleted here; other instances notice by themselves."""
        self._memory.discard(name)
        self._later(self._shared.forget(name))

    def forget_module(self, module: str) -> None:
        """Lets go of all versions of a module that was deleted here."""
        for key in self._memory.keys():  # noqa: SIM118 - no mapping
            if isinstance(key, VersionName) and key.module == module:
                self.forget(key)

    async def files_of(self, dependencies: Sequence[Dependency]) -> list[File]:
        """The files of declared dependencies and of theirs, as far as the registry has them, within limits."""
        files: dict[str, File] = {}
        queue, seen, size = list(dependencies), set(dependencies), 0
        while queue and len(seen) <= _MAX_IMPORTED_VERSIONS and size < _MAX_IMPORTED_BYTES:
            dependency = queue.pop(0)
            found = await self._postgres.read(partial(reads.version, name=VersionName(*dependency), deleted=False))
            if found is None:
                continue
            body = found[0].body
            size += len(body)
            version = json.loads(body)
            for file in version["files"]:
                files.setdefault(file["path"], File(file["path"], file["content"]))
            further = [Dependency(*text.split("@", 1)) for text in version.get("dependencies", [])]
            queue += [each for each in further if each not in seen]
            seen.update(further)
        return list(files.values())

    # -- modules ---------------------------------------------------------------------------------------------------

    async def module(self, name: str) -> Entry | Streamed:
        """A module with its versions and their files, newest first."""
        key = ModuleName(name)
        entry = self._memory.get(key)
        if entry is not None:
            revision = await self._revisions.get(name)
            if revision == entry.digest:
                return entry
            self._memory.discard(key)
            if revision is None:
                raise module_not_found(name)
        view = await self._module_view(name, deleted=False)
        head, tail = view.body[:-1] + b',"versions":[', b"]}"
        if sum(listed.size_bytes for listed in view.versions) > WHOLE_ANSWER_BYTES:
            return Streamed(view.revision, self._stream(head, view.versions, tail))
        parts = [part async for part in self._bodies(view.versions)]
        entry = _entry(b"".join((head, b",".join(parts), tail)), view.revision, REVALIDATE)
        if len(parts) == len(view.versions):
            self._memory.put(key, entry)
        return entry

    async def deleted_module(self, name: str) -> Streamed:
        """A module that may be deleted, with versions that may be; they say when."""
        view = await self._module_view(name, deleted=True)
        head = wire.with_deleted_at(view.body, view.deleted_at)[:-1] + b',"versions":['
        return Streamed(view.revision, self._stream(head, view.versions, b"]}"))

    async def _module_view(self, name: str, *, deleted: bool) -> reads.ModuleView:
        view = await self._postgres.read(partial(reads.module, name=name, deleted=deleted))
        if view is None:
            raise module_not_found(name)
        return view

    # -- lists -----------------------------------------------------------------------------------------------------

    async def versions(self, module: str, limit: int | None, cursor: str | None, *, deleted: bool) -> Page:
        """A module's versions with their files, newest first."""
        before = None
        if cursor is not None:
            before = reads.decode_place(cursor)
        wanted = 1 << 31 if limit is None else limit + 1
        rows = await self._postgres.read(
            partial(reads.version_page, name=module, before=before, limit=wanted, deleted=deleted)
        )
        if rows is None:
            raise module_not_found(module)
        next_cursor = None
        if limit is not None and len(rows) > limit:
            rows = rows[:limit]
            next_cursor = reads.encode_cursor(rows[-1][0].isoformat(), rows[-1][1])
        listed = [Listed(row[1], row[2]) for row in rows]
        parts = self._stream(b"[", listed, b"]")
        if sum(each.size_bytes for each in listed) > WHOLE_ANSWER_BYTES:
            return Page(parts, next_cursor)
        return Page(b"".join([part async for part in parts]), next_cursor)

    async def modules(self, limit: int | None, cursor: str | None, *, deleted: bool) -> Page:
        """All modules by name, with their versions but without files."""
        after = "" if cursor is None else reads.decode_name(cursor)
        size = PAGE_MODULES if limit is None else limit
        rows = await self._module_rows(after, size + 1, deleted)
        more = len(rows) > size
        last = rows[size - 1][0] if more else ""
        body = b",".join(wire.with_versions(row[1], row[2]) for row in rows[:size])
        if limit is None and more:
            return Page(self._all_modules(body, last, deleted), None)
        return Page(b"[%s]" % body, reads.encode_cursor(last) if more else None)

    async def _module_rows(self, after: str, limit: int, deleted: bool) -> list[tuple[str, bytes, bytes]]:
        return await self._postgres.read(partial(reads.module_page, after=after, limit=limit, deleted=deleted))

    async def _all_modules(self, first: bytes, after: str, deleted: bool) -> AsyncIterator[bytes]:
        yield b"[" + first
        while rows := await self._module_rows(after, PAGE_MODULES, deleted):
            after = rows[-1][0]
            yield b"".join(b"," + wire.with_versions(row[1], row[2]) for row in rows)
        yield b"]"

    # -- pieces ----------------------------------------------------------------------------------------------------

    async def _stream(self, head: bytes, versions: Sequence[Listed], tail: bytes) -> AsyncIterator[bytes]:
        yield head
        separator = b""
        async for body in self._bodies(versions):
            yield separator + body
            separator = b","
        yield tail

    async def _bodies(self, versions: Sequence[Listed]) -> AsyncIterator[bytes]:
        """The versions' bytes, fetched a few megabytes at a time, so that no connection waits for a slow client."""
        waiting, size = [], 0
        for index, listed in enumerate(versions):
            waiting.append(listed.id)
            size += listed.size_bytes
            if size >= WHOLE_ANSWER_BYTES or index == len(versions) - 1:
                for body, deleted_at in await self._postgres.read(partial(reads.version_bodies, ids=waiting)):
                    yield wire.with_deleted_at(body, deleted_at)
                waiting, size = [], 0

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _entry(body: bytes, digest: str | None = None, cache_control: bytes = IMMUTABLE) -> Entry:
    digest = wire.digest(body) if digest is None else digest
    return Entry(
        digest,
        body,
        [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"etag", b'"%s"' % digest.encode()),
            (b"cache-control", cache_control),
        ],
    )
