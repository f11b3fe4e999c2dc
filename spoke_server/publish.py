"""Writing: every write may be repeated, by the client, by the load balancer and by this server itself.

A write is judged against its deadline: the moment the load balancer received it plus the retry budget. Until then it is
tried again through lost connections and failovers; after it PostgreSQL itself refuses to commit it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from spoke_server.body import NewModule
from spoke_server.catalog import Catalog
from spoke_server.errors import unavailable
from spoke_server.protobuf.check import ProtobufChecker
from spoke_server.registry import NewVersion, content_digest
from spoke_server.storage import modules, versions
from spoke_server.storage.blobs import Blobs
from spoke_server.storage.postgres import Postgres
from spoke_server.storage.reads import VersionName
from spoke_server.storage.versions import Stored


class Publisher:
    """Carries writes out. Deadlines are in seconds since 1970."""

    def __init__(
        self,
        postgres: Postgres,
        blobs: Blobs,
        checker: ProtobufChecker,
        catalog: Catalog,
        pushed: Callable[[], None] = lambda: None,
    ) -> None:
        self._postgres = postgres
        self._blobs = blobs
        self._checker = checker
        self._catalog = catalog
        self._pushed = pushed

    async def create_module(self, new: NewModule, deadline: float) -> bytes:
        """Makes a module; made already with the same description it is the same answer."""
        work = partial(modules.create, name=new.name, description=new.description)
        return await self._postgres.write(deadline, work)

    async def put_module(self, name: str, description: str, deadline: float) -> tuple[bytes, bool]:
        """Makes a module or gives it this description; says whether it was made."""
        return await self._postgres.write(deadline, partial(modules.put, name=name, description=description))

    async def patch_module(self, name: str, description: str | None, deadline: float) -> bytes:
        """Gives an existing module this description."""
        return await self._postgres.write(deadline, partial(modules.patch, name=name, description=description))

    async def delete_module(self, name: str, deadline: float, *, permanent: bool) -> None:
        """Hides a module, or removes it for good."""
        await self._postgres.write(deadline, partial(modules.delete, name=name, permanent=permanent))
        self._catalog.forget_module(name)

    async def delete_version(self, name: VersionName, deadline: float, *, permanent: bool) -> None:
        """Hides a version, or removes it for good."""
        work = partial(versions.delete, module_name=name.module, version=name.version, permanent=permanent)
        await self._postgres.write(deadline, work)
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
            push = partial(versions.push, new=new, content_digest=digest, stored=ready)
            if (stored := await self._postgres.write(deadline, push)) is not None:
                self._pushed()
                return stored
            await self._prepare(new, deadline)
            ready = True
        raise unavailable("database_unavailable", f"{new.module}@{new.version} kept changing; send it again")

    async def _prepare(self, new: NewVersion, deadline: float) -> None:
        imports = await self._catalog.files_of(new.dependencies)
        await self._checker.check(new.files, imports, deadline)
        contents = {hashed: file.content.encode() for file, hashed in zip(new.files, new.file_hashes.values(), strict=True)}
        await self._blobs.put_missing(contents, deadline)
