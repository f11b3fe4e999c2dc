"""The statements that change versions. All take a connection inside a transaction (see storage/modules.py)."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from spoke_server import wire
from spoke_server.errors import conflict, module_not_found, version_not_found
from spoke_server.registry import NewVersion, version_sort_key
from spoke_server.storage.blobs import object_key
from spoke_server.storage.dependencies import hold_dependencies, insert_dependencies
from spoke_server.storage.modules import TOUCH, lock, refuse_outrun, refuse_outrun_by_end
from spoke_server.storage.nodes import Connection
from spoke_server.storage.rows import fetch_one

_NEW_FILES = """
INSERT INTO proto_files (version_id, file_path, content_hash, object_key, file_size)
SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])
"""
# In a hidden module its own versions still need each other: all of them come back with it.
_DEPENDENT = """
SELECT m.name, v.version
FROM version_dependencies d JOIN versions v ON v.id = d.version_id JOIN modules m ON m.id = v.module_id
WHERE d.dependency_module = %s AND d.dependency_version = %s AND v.id <> %s
AND v.deleted_at IS NULL AND (m.deleted_at IS NULL OR m.name = d.dependency_module) LIMIT 1
"""


class Stored(NamedTuple):
    """A version as it is kept: its JSON and the name of these bytes."""

    digest: str
    body: bytes


async def settled(connection: Connection, new: NewVersion) -> bool:
    """Whether the outcome of a push is known without its content: it is there, taken, or its module is missing.

    Needs no transaction: it only spares work, the transaction that follows decides.
    """
    row = await fetch_one(
        connection,
        """
        SELECT m.id IS NULL OR m.deleted_at IS NOT NULL OR v.id IS NOT NULL OR r.version IS NOT NULL
        FROM (SELECT %s::text AS name, %s::text AS version) AS given
        LEFT JOIN modules m ON m.name = given.name
        LEFT JOIN versions v ON v.module_id = m.id AND v.version = given.version
        LEFT JOIN retired_versions r ON r.module_name = given.name AND r.version = given.version
        """,
        new.module,
        new.version,
    )
    return bool(row[0])


async def push(
    connection: Connection, new: NewVersion, content_digest: str, received: float, *, stored: bool
) -> Stored | None:
    """Adds a version, or finds it there with the same content, or restores it; other content is a conflict.

    `stored` says that its blobs are in place; without them a version that must be added is refused with None.
    """
    module = await lock(connection, new.module)
    if module is None or module.deleted_at is not None:
        raise module_not_found(new.module)
    row = await fetch_one(
        connection,
        """
        SELECT id, content_digest, deleted_at, body_digest, body, changed_by_write_of FROM versions
        WHERE module_id = %s AND version = %s
        """,
        module.id,
        new.version,
    )
    if row is None:
        await _refuse_retired(connection, new)
        # The module may be another one than that which was there when the push was received.
        await refuse_outrun_by_end(connection, new.module, received)
        return await _add(connection, module.id, new, content_digest, received) if stored else None
    version_id, found_digest, deleted_at, body_digest, body, changed_by_write_of = row
    if found_digest != content_digest:
        if deleted_at is not None:
            raise conflict("version_deleted", f"{new.module}@{new.version} is deleted and had other content")
        raise conflict("version_exists", f"{new.module}@{new.version} exists with other content; versions never change")
    if deleted_at is not None:
        refuse_outrun(f"{new.module}@{new.version}", changed_by_write_of, received)
        await hold_dependencies(connection, new.dependencies)
        await connection.execute(
            """
            UPDATE versions SET deleted_at = NULL, changed_by_write_of = greatest(changed_by_write_of, %s) WHERE id = %s
            """,
            (received, version_id),
        )
        await connection.execute(TOUCH, (module.id,))
    else:
        await _write_down(connection, version_id, changed_by_write_of, received)
    return Stored(body_digest, body)


async def delete(connection: Connection, module_name: str, version: str, received: float, *, permanent: bool) -> None:
    """Hides a version, or removes it for good; again is no error, and a version that others need is kept."""
    module = await lock(connection, module_name)
    row = None if module is None else await _lock_version(connection, module.id, version)
    if module is None or row is None:
        if await _is_retired(connection, module_name, version):
            return
        raise version_not_found(module_name, version)
    version_id, deleted_at, changed_by_write_of = row
    if deleted_at is not None and not permanent:
        await _write_down(connection, version_id, changed_by_write_of, received)
        return
    refuse_outrun(f"{module_name}@{version}", changed_by_write_of, received)
    if dependent := await fetch_one(connection, _DEPENDENT, module_name, version, version_id):
        needed = f"{module_name}@{version}"
        raise conflict("version_in_use", f"{dependent[0]}@{dependent[1]} depends on {needed}; delete it first")
    if permanent:
        await connection.execute(
            "INSERT INTO retired_versions (module_name, version) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (module_name, version),
        )
        await connection.execute("DELETE FROM versions WHERE id = %s", (version_id,))
    else:
        await connection.execute(
            """
            UPDATE versions SET deleted_at = now(), changed_by_write_of = greatest(changed_by_write_of, %s) WHERE id = %s
            """,
            (received, version_id),
        )
    await connection.execute(TOUCH, (module.id,))


async def _write_down(connection: Connection, version_id: int, changed_by_write_of: float, received: float) -> None:
    """Nothing changes, but what was received before must not change it either."""
    if received > changed_by_write_of:
        await connection.execute("UPDATE versions SET changed_by_write_of = %s WHERE id = %s", (received, version_id))


async def _lock_version(
    connection: Connection, module_id: int, version: str
) -> tuple[int, dt.datetime | None, float] | None:
    sql = """
        SELECT id, deleted_at, changed_by_write_of FROM versions WHERE module_id = %s AND version = %s FOR UPDATE
    """
    row: tuple[int, dt.datetime | None, float] | None = await fetch_one(connection, sql, module_id, version)
    return row


async def _is_retired(connection: Connection, module: str, version: str) -> bool:
    sql = "SELECT 1 FROM retired_versions WHERE module_name = %s AND version = %s"
    return await fetch_one(connection, sql, module, version) is not None


async def _refuse_retired(connection: Connection, new: NewVersion) -> None:
    if await _is_retired(connection, new.module, new.version):
        raise conflict("version_retired", f"{new.module}@{new.version} was deleted for good; its number is never used again")


async def _add(connection: Connection, module_id: int, new: NewVersion, content_digest: str, received: float) -> Stored:
    now = dt.datetime.now(dt.UTC)
    body = wire.version_body(new, now)
    stored = Stored(wire.digest(body), body)
    await hold_dependencies(connection, new.dependencies)
    source = new.source
    row = await fetch_one(
        connection,
        """
        INSERT INTO versions (module_id, version, sort_key, content_digest, source_repository, source_commit_sha,
                              source_branch, created_at, summary, body, body_digest, changed_by_write_of)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
        """,
        module_id,
        new.version,
        version_sort_key(new.version),
        content_digest,
        source.repository,
        source.commit_sha,
        source.branch,
        now,
        wire.version_body(new, now, with_files=False),
        body,
        stored.digest,
        received,
    )
    hashes = new.file_hashes
    sizes = [len(file.content.encode()) for file in new.files]
    keys = [object_key(hashes[file.path]) for file in new.files]
    await connection.execute(_NEW_FILES, (row[0], list(hashes), list(hashes.values()), keys, sizes))
    await insert_dependencies(connection, row[0], new.dependencies)
    await connection.execute(TOUCH, (module_id,))
    return stored
