"""The server's own routes, rules and wire format over a dictionary, so that its contract with the client needs no database.

Only what PostgreSQL, Redis and S3 do is replaced; every request is parsed, judged and answered by the server's code.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from spoke_server import wire
from spoke_server.app import Application
from spoke_server.body import NewModule
from spoke_server.cache import Entry
from spoke_server.catalog import Found, Page
from spoke_server.errors import ApiError, conflict, module_not_found, version_not_found
from spoke_server.registry import NewVersion, content_digest, version_sort_key
from spoke_server.routes.services import Services
from spoke_server.settings import Settings
from spoke_server.storage.reads import VersionName, decode_name, decode_place, encode_cursor
from spoke_server.storage.versions import Stored
from spoke_server.telemetry import Telemetry

NOW = dt.datetime(2026, 11, 23, 5, 41, 4, 444625, tzinfo=dt.UTC)


@dataclass
class KeptVersion:
    new: NewVersion
    created_at: dt.datetime
    deleted_at: dt.datetime | None = None

    def body(self, *, with_files: bool = True) -> bytes:
        return wire.with_deleted_at(wire.version_body(self.new, self.created_at, with_files=with_files), self.deleted_at)


@dataclass
class KeptModule:
    name: str
    description: str
    deleted_at: dt.datetime | None = None
    versions: dict[str, KeptVersion] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return wire.with_deleted_at(wire.module_body(self.name, self.description, NOW, NOW), self.deleted_at)

    def newest_first(self, *, deleted: bool = False) -> list[KeptVersion]:
        shown = [each for each in self.versions.values() if deleted or each.deleted_at is None]
        return sorted(shown, key=lambda each: each.created_at, reverse=True)


class MemoryRegistry:
    """Stands where the server's Catalog and Publisher stand."""

    def __init__(self) -> None:
        self.kept: dict[str, KeptModule] = {}
        self.failures: list[ApiError] = []
        """What the next requests fail with, one each."""
        self.requests = 0

    def _alive(self, name: str) -> KeptModule:
        self._met()
        module = self.kept.get(name)
        if module is None or module.deleted_at is not None:
            raise module_not_found(name)
        return module

    def _met(self) -> None:
        self.requests += 1
        if self.failures:
            raise self.failures.pop(0)

    # Catalog

    async def modules(self, limit: int | None, cursor: str | None, *, deleted: bool) -> Page:
        self._met()
        after = "" if cursor is None else decode_name(cursor)
        names = sorted(name for name, each in self.kept.items() if name > after and (deleted or each.deleted_at is None))
        page = names[:limit]
        bodies = [self._with_versions(self.kept[name], deleted=deleted, with_files=False) for name in page]
        return Page(_array(bodies), encode_cursor(page[-1]) if len(page) < len(names) else None)

    async def module(self, name: str) -> Entry:
        return _entry(self._with_versions(self._alive(name), deleted=False, with_files=True))

    async def versions(self, module: str, limit: int | None, cursor: str | None, *, deleted: bool) -> Page:
        found = self._alive(module).newest_first(deleted=deleted)
        if cursor is not None:
            before, _ = decode_place(cursor)
            found = [each for each in found if each.created_at < before]
        page = found[:limit]
        following = encode_cursor(page[-1].created_at.isoformat(), 0) if len(page) < len(found) else None
        return Page(_array(each.body() for each in page), following)

    async def version(self, name: VersionName) -> Found:
        try:
            version = self._alive(name.module).versions[name.version]
        except KeyError:
            raise version_not_found(*name) from None
        if version.deleted_at is not None:
            raise version_not_found(*name)
        return Found(_entry(version.body()), "miss")

    async def latest(self, module: str) -> Found:
        found = self._alive(module).newest_first()
        if not found:
            raise version_not_found(module, "latest")
        return Found(_entry(max(found, key=lambda each: version_sort_key(each.new.version)).body()), "miss")

    async def file(self, name: VersionName, path: str) -> Found:
        if name.version == "latest":
            name = VersionName(name.module, max(self._alive(name.module).versions, key=version_sort_key))
        await self.version(name)
        for file in self.kept[name.module].versions[name.version].new.files:
            if file.path == path:
                return Found(_entry(wire.encode(file._asdict())), "miss")
        raise ApiError(404, "file_not_found", f"file not found: {name.module}@{name.version}:{path}")

    def _with_versions(self, module: KeptModule, *, deleted: bool, with_files: bool) -> bytes:
        bodies = [each.body(with_files=with_files) for each in module.newest_first(deleted=deleted)]
        return wire.with_versions(module.body, b",".join(bodies))

    # Publisher

    async def create_module(self, new: NewModule, deadline: float) -> bytes:
        self._met()
        module = self.kept.setdefault(new.name, KeptModule(new.name, new.description))
        if module.description != new.description:
            raise conflict("module_exists", f"module {new.name} exists with another description; change it with PATCH")
        module.deleted_at = None
        return module.body

    async def patch_module(self, name: str, description: str | None, deadline: float) -> bytes:
        module = self._alive(name)
        module.description = module.description if description is None else description
        return module.body

    async def delete_module(self, name: str, deadline: float, *, permanent: bool) -> None:
        self._met()
        if name not in self.kept:
            raise module_not_found(name)
        if permanent:
            del self.kept[name]
        else:
            self.kept[name].deleted_at = NOW

    async def push(self, new: NewVersion, deadline: float) -> Stored:
        module = self._alive(new.module)
        created_at = NOW + dt.timedelta(seconds=len(module.versions))
        kept = module.versions.setdefault(new.version, KeptVersion(new, created_at))
        if _digest(kept.new) != _digest(new):
            raise conflict("version_exists", f"{new.module}@{new.version} exists with other content; versions never change")
        kept.deleted_at = None
        return Stored(wire.digest(kept.body()), kept.body())

    async def delete_version(self, name: VersionName, deadline: float, *, permanent: bool) -> None:
        module = self._alive(name.module)
        if name.version not in module.versions:
            raise version_not_found(*name)
        if any(f"{name.module}@{name.version}" in map(str, each.new.dependencies) for each in self._everything()):
            raise conflict("version_in_use", f"something depends on {name.module}@{name.version}; delete it first")
        if permanent:
            del module.versions[name.version]
        else:
            module.versions[name.version].deleted_at = NOW

    def _everything(self) -> Iterator[KeptVersion]:
        for module in self.kept.values():
            yield from module.versions.values()


def application(registry: MemoryRegistry) -> Application:
    """The server's own application over the memory."""
    environment = {"SPOKE_POSTGRES_URL": "postgresql://nobody@localhost/none", "SPOKE_METRICS_ENABLED": "false"}
    settings = Settings.from_environment(environment)
    memory = cast("Any", registry)
    return Application(Services(settings, memory, memory), Telemetry(settings), lambda: False)


def _array(items: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def _entry(body: bytes) -> Entry:
    length = str(len(body)).encode()
    return Entry(wire.digest(body), body, [(b"content-type", b"application/json"), (b"content-length", length)])


def _digest(new: NewVersion) -> str:
    return content_digest(new.file_hashes.items(), new.dependencies)
