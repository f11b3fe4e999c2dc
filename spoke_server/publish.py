"""Writing: every write may be repeated, by the client, by the load balancer and by this server itself.

A write is judged against its deadline: the moment the load balancer received it plus the retry budget. Until then it is
tried again through lost connections and failovers; after it PostgreSQL itself refuses to commit it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from spoke_server.body import NewModule
from spoke_server.catalog import Catalog
from spoke_server.errors import unavailable
from spoke_server.protobuf.check import ProtobufChecker
from spoke_server.registry import NewVersion, content_digest
from spoke_server.storage import modules, stored_blobs, versions
from spoke_server.storage.blobs import Blobs
from spoke_server.storage.dependencies import refuse_missing_dependencies
from spoke_server.storage.postgres import Postgres
from spoke_server.storage.reads import VersionName
from spoke_server.storage.versions import Stored

T = TypeVar("T")


class Publisher:
    """Carries writes out. Deadlines are in seconds since 1970."""

    def __init__(
        self,
        postgres: Postgres,
        blobs: Blobs,
        checker: ProtobufChecker,
        catalog: Catalog,
        retry_budget_s: float,
        pushed: Callable[[], None] = lambda: None,
    ) -> None:
        self._postgres = postgres
        self._blobs = blobs
        self._checker = checker
        self._catalog = catalog
        self._retry_budget_s = retry_budget_s
        self._pushed = pushed

    async def create_module(self, new: NewModule, deadline: float) -> bytes:
        """Makes a module; made already with the same description it is the same answer."""
        return await self._write(deadline, modules.create, name=new.name, description=new.description)

    async def put_module(self, name: str, description: str, deadline: float) -> tuple[bytes, bool]:
        """Makes a module or gives it this description; says whether it was made."""
        return await self._write(deadline, modules.put, name=name, description=description)

    async def patch_module(self, name: str, description: str | None, deadline: float) -> bytes:
        """Gives an existing module this description."""
        return await self._write(deadline, modules.patch, name=name, description=description)

    async def delete_module(self, name: str, deadline: float, *, permanent: bool) -> None:
        """Hides a module, or removes it for good."""
        await self._write(deadline, modules.delete, name=name, permanent=permanent)
        self._catalog.forget_module(name)

    async def delete_version(self, name: VersionName, deadline: float, *, permanent: bool) -> None:
        """Hides a version, or removes it for good."""
        names = {"module_name": name.module, "version": name.version}
        await self._write(deadline, versions.delete, **names, permanent=permanent)
        self._catalog.forget(name)

    async def push(self, new: NewVersion, deadline: float) -> Stored:
        """Adds a version: check, blobs, then one transaction; pushed already with the same content: the same answer.

        What PostgreSQL knows already costs neither a check nor a blob.
        """
        digest = content_digest(new.file_hashes.items(), new.dependencies)
        ready = False
        if not await self._postgres.on_primary(deadline, partial(versions.settled, new=new)):
            await self._prepare(new, deadline)
            ready = True
        for _ in range(2):
            push = self._write(deadline, versions.push, new=new, content_digest=digest, stored=ready)
            if (stored := await push) is not None:
                self._pushed()
                return stored
            await self._prepare(new, deadline)
            ready = True
        raise unavailable("database_unavailable", f"{new.module}@{new.version} kept changing; send it again")

    async def _write(self, deadline: float, change: Callable[..., Awaitable[T]], **what: object) -> T:
        """Runs a change, which is told when the load balancer received the write."""
        return await self._postgres.write(deadline, partial(change, received=deadline - self._retry_budget_s, **what))

    async def _prepare(self, new: NewVersion, deadline: float) -> None:
        missing = partial(refuse_missing_dependencies, dependencies=new.dependencies)
        await self._postgres.on_primary(deadline, missing)
        imports = await self._catalog.files_of(new.dependencies)
        await self._checker.check(new.files, imports, deadline)
        await self._store(new, deadline)

    async def _store(self, new: NewVersion, deadline: float) -> None:
        contents = {hashed: file.content.encode() for file, hashed in zip(new.files, new.file_hashes.values(), strict=True)}
        known = await self._postgres.on_primary(deadline, partial(stored_blobs.believed, hashes=contents))
        wanted = {hashed: content for hashed, content in contents.items() if not known.get(hashed)}
        notes = stored_blobs.Notes(self._postgres, deadline)
        await self._blobs.put(wanted, known, notes.stored, deadline)
        await notes.recorded()
