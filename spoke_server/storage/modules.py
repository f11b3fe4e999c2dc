"""The statements about modules. Functions that change take a connection inside a transaction.

A change locks the module's row first. The lock is also what makes a repeated write honest: locking writes WAL, so the
COMMIT that answers a repeat waits for the synchronous standby, and with it for the write that is being repeated.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from spoke_server import wire
from spoke_server.errors import conflict, module_not_found
from spoke_server.storage.nodes import Connection
from spoke_server.storage.postgres import TryAgain

TOUCH = "UPDATE modules SET revision = gen_random_uuid() WHERE id = %s"


class ModuleRow(NamedTuple):
    """A module, deleted or not."""

    id: int
    description: str
    created_at: dt.datetime
    deleted_at: dt.datetime | None
    body: bytes


async def fetch_all(connection: Connection, sql: str, *parameters: object) -> list[Any]:
    """The rows of a query; bytes come in binary, so that ready JSON is copied and never converted."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(sql.encode(), parameters)
        return await cursor.fetchall()


async def fetch_one(connection: Connection, sql: str, *parameters: object) -> Any:
    """The first row of a query, or None."""
    rows = await fetch_all(connection, sql, *parameters)
    return rows[0] if rows else None


async def lock(connection: Connection, name: str, strength: str = "NO KEY UPDATE") -> ModuleRow | None:
    """Locks a module's row against other changes."""
    row = await fetch_one(
        connection,
        f"SELECT id, description, created_at, deleted_at, body FROM modules WHERE name = %s FOR {strength}",  # noqa: S608 - two constants
        name,
    )
    return None if row is None else ModuleRow(*row)


async def create(connection: Connection, name: str, description: str) -> bytes:
    """Makes a module, or finds it made with the same description, or restores it; another description is a conflict."""
    await _insert(connection, name, description)
    row = await lock(connection, name)
    if row is None:
        raise TryAgain
    if row.description != description:
        if row.deleted_at is not None:
            raise conflict("module_deleted", f"module {name} is deleted and had another description")
        raise conflict("module_exists", f"module {name} exists with another description; change it with PATCH")
    if row.deleted_at is not None:
        await _restore(connection, row)
    return row.body


async def put(connection: Connection, name: str, description: str) -> tuple[bytes, bool]:
    """Makes a module or gives it this description; says whether it was made."""
    created = await _insert(connection, name, description)
    row = await lock(connection, name)
    if row is None:
        raise TryAgain
    if row.deleted_at is not None:
        if row.description != description:
            raise conflict("module_deleted", f"module {name} is deleted and had another description")
        await _restore(connection, row)
    return await _describe(connection, name, row, description), created


async def patch(connection: Connection, name: str, description: str | None) -> bytes:
    """Gives an existing module this description; None leaves it as it is."""
    row = await lock(connection, name)
    if row is None or row.deleted_at is not None:
        raise module_not_found(name)
    return await _describe(connection, name, row, row.description if description is None else description)


async def delete(connection: Connection, name: str, *, permanent: bool) -> None:
    """Hides a module, or removes it for good with all its versions; again is no error."""
    row = await lock(connection, name, "UPDATE")
    if row is None:
        if await fetch_one(connection, "SELECT 1 FROM retired_modules WHERE module_name = %s", name):
            return
        raise module_not_found(name)
    if row.deleted_at is not None and not permanent:
        return
    # Whoever is just pushing a version that depends on one of these holds a share of its lock.
    await connection.execute("SELECT 1 FROM versions WHERE module_id = %s ORDER BY id FOR UPDATE", (row.id,))
    dependent = await fetch_one(
        connection,
        """
        SELECT m.name, v.version, d.dependency_version
        FROM version_dependencies d JOIN versions v ON v.id = d.version_id JOIN modules m ON m.id = v.module_id
        WHERE d.dependency_module = %s AND m.name <> %s AND v.deleted_at IS NULL AND m.deleted_at IS NULL LIMIT 1
        """,
        name,
        name,
    )
    if dependent is not None:
        raise conflict("module_in_use", "{0}@{1} depends on {3}@{2}; delete it first".format(*dependent, name))
    if not permanent:
        await connection.execute(
            "UPDATE modules SET deleted_at = now(), revision = gen_random_uuid() WHERE id = %s", (row.id,)
        )
        return
    await connection.execute(
        """
        INSERT INTO retired_versions (module_name, version) SELECT %s, version FROM versions WHERE module_id = %s
        ON CONFLICT DO NOTHING
        """,
        (name, row.id),
    )
    await connection.execute("INSERT INTO retired_modules (module_name) VALUES (%s) ON CONFLICT DO NOTHING", (name,))
    await connection.execute("DELETE FROM modules WHERE id = %s", (row.id,))


async def _insert(connection: Connection, name: str, description: str) -> bool:
    now = dt.datetime.now(dt.UTC)
    cursor = await connection.execute(
        """
        INSERT INTO modules (name, description, created_at, updated_at, body) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (name) DO NOTHING
        """,
        (name, description, now, now, wire.module_body(name, description, now, now)),
    )
    return cursor.rowcount == 1


async def _restore(connection: Connection, row: ModuleRow) -> None:
    await connection.execute("UPDATE modules SET deleted_at = NULL, revision = gen_random_uuid() WHERE id = %s", (row.id,))


async def _describe(connection: Connection, name: str, row: ModuleRow, description: str) -> bytes:
    if description == row.description:
        return row.body
    now = dt.datetime.now(dt.UTC)
    body = wire.module_body(name, description, row.created_at, now)
    await connection.execute(
        """
        UPDATE modules SET description = %s, updated_at = %s, body = %s, revision = gen_random_uuid() WHERE id = %s
        """,
        (description, now, body, row.id),
    )
    return body
