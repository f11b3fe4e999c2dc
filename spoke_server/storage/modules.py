"""The statements about modules. Functions that change take a connection inside a transaction.

A change locks the module's row first. The lock is also what makes a repeated write honest: locking writes WAL, so the
COMMIT that answers a repeat waits for the synchronous standby, and with it for the write that is being repeated.

What is changed in place remembers when the load balancer received the write that changed it (`received`, in seconds since
1970): a Spoke may be frozen before it asks for the lock, and be outrun by what its client did next.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import NamedTuple

from spoke_server import wire
from spoke_server.errors import conflict, module_not_found, request_outrun
from spoke_server.storage.dependencies import dependencies_of_module, hold_dependencies
from spoke_server.storage.nodes import Connection
from spoke_server.storage.rows import fetch_one
from spoke_server.storage.trouble import TryAgain

# Writes that come together are taken in the order of their locks. Only one that was held up can have been outrun, so a
# clock that is set back refuses nothing.
HELD_UP_AFTER_S = 1.0
TOUCH = "UPDATE modules SET revision = gen_random_uuid() WHERE id = %s"

_COLUMNS = "id, description, created_at, deleted_at, body, changed_by_write_of"


class ModuleRow(NamedTuple):
    """A module, deleted or not."""

    id: int
    description: str
    created_at: dt.datetime
    deleted_at: dt.datetime | None
    body: bytes
    changed_by_write_of: float


def refuse_outrun(what: str, changed_by_write_of: float, received: float) -> None:
    """Refuses a write that was held up and came to the lock after one that was received later."""
    if received < changed_by_write_of and time.time() - received > HELD_UP_AFTER_S:
        raise request_outrun(what)


async def refuse_outrun_by_end(connection: Connection, name: str, received: float) -> None:
    """Refuses a write that was held up while the module it meant was removed for good."""
    retired = await fetch_one(connection, "SELECT retired_by_write_of FROM retired_modules WHERE module_name = %s", name)
    if retired is not None:
        refuse_outrun(f"module {name}", retired[0], received)


async def lock(connection: Connection, name: str, strength: str = "NO KEY UPDATE") -> ModuleRow | None:
    """Locks a module's row against other changes."""
    row = await fetch_one(
        connection,
        f"SELECT {_COLUMNS} FROM modules WHERE name = %s FOR {strength}",  # noqa: S608 - constants
        name,
    )
    return None if row is None else ModuleRow(*row)


async def create(connection: Connection, name: str, description: str, received: float) -> bytes:
    """Makes a module, or finds it made with the same description, or restores it; another description is a conflict."""
    await _insert(connection, name, description, received)
    row = await lock(connection, name)
    if row is None:
        raise TryAgain
    if row.description != description:
        if row.deleted_at is not None:
            raise conflict("module_deleted", f"module {name} is deleted and had another description")
        raise conflict("module_exists", f"module {name} exists with another description; change it with PATCH")
    if row.deleted_at is not None:
        await _restore(connection, name, row, received)
    return await _describe(connection, name, row, description, received)


async def put(connection: Connection, name: str, description: str, received: float) -> tuple[bytes, bool]:
    """Makes a module or gives it this description; says whether it was made."""
    created = await _insert(connection, name, description, received)
    row = await lock(connection, name)
    if row is None:
        raise TryAgain
    if row.deleted_at is not None:
        if row.description != description:
            raise conflict("module_deleted", f"module {name} is deleted and had another description")
        await _restore(connection, name, row, received)
    return await _describe(connection, name, row, description, received), created


async def patch(connection: Connection, name: str, description: str | None, received: float) -> bytes:
    """Gives an existing module this description; None leaves it as it is."""
    row = await lock(connection, name)
    if row is None or row.deleted_at is not None:
        raise module_not_found(name)
    return row.body if description is None else await _describe(connection, name, row, description, received)


async def delete(connection: Connection, name: str, received: float, *, permanent: bool) -> None:
    """Hides a module, or removes it for good with all its versions; again is no error."""
    row = await lock(connection, name, "UPDATE")
    if row is None:
        again = await connection.execute(
            """
            UPDATE retired_modules SET retired_by_write_of = greatest(retired_by_write_of, %s) WHERE module_name = %s
            """,
            (received, name),
        )
        if again.rowcount == 0:
            raise module_not_found(name)
        return
    if row.deleted_at is not None and not permanent:
        await _write_down(connection, row, received)
        return
    refuse_outrun(f"module {name}", row.changed_by_write_of, received)
    # Whoever is just pushing a version that depends on one of these holds a share of its lock.
    await connection.execute("SELECT 1 FROM versions WHERE module_id = %s ORDER BY id FOR UPDATE", (row.id,))
    last = await fetch_one(connection, "SELECT max(changed_by_write_of) FROM versions WHERE module_id = %s", row.id)
    # What was pushed since would go with it.
    refuse_outrun(f"module {name}", last[0] or 0.0, received)
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
            """
            UPDATE modules SET deleted_at = now(), revision = gen_random_uuid(),
                               changed_by_write_of = greatest(changed_by_write_of, %s) WHERE id = %s
            """,
            (received, row.id),
        )
        return
    await connection.execute(
        """
        INSERT INTO retired_versions (module_name, version) SELECT %s, version FROM versions WHERE module_id = %s
        ON CONFLICT DO NOTHING
        """,
        (name, row.id),
    )
    await connection.execute(
        """
        INSERT INTO retired_modules AS r (module_name, retired_by_write_of) VALUES (%s, %s)
        ON CONFLICT (module_name) DO UPDATE
            SET retired_by_write_of = greatest(r.retired_by_write_of, excluded.retired_by_write_of)
        """,
        (name, received),
    )
    await connection.execute("DELETE FROM modules WHERE id = %s", (row.id,))


async def _insert(connection: Connection, name: str, description: str, received: float) -> bool:
    now = dt.datetime.now(dt.UTC)
    cursor = await connection.execute(
        """
        INSERT INTO modules (name, description, created_at, updated_at, body, changed_by_write_of)
        VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO NOTHING
        """,
        (name, description, now, now, wire.module_body(name, description, now, now), received),
    )
    if cursor.rowcount == 0:
        return False
    await refuse_outrun_by_end(connection, name, received)
    return True


async def _restore(connection: Connection, name: str, row: ModuleRow, received: float) -> None:
    """Shows a module again with its versions; what they need may have been deleted while they were hidden."""
    refuse_outrun(f"module {name}", row.changed_by_write_of, received)
    await connection.execute(
        """
        UPDATE modules SET deleted_at = NULL, revision = gen_random_uuid(),
                           changed_by_write_of = greatest(changed_by_write_of, %s) WHERE id = %s
        """,
        (received, row.id),
    )
    # After the change: its versions may need each other.
    await hold_dependencies(connection, await dependencies_of_module(connection, row.id))


async def _write_down(connection: Connection, row: ModuleRow, received: float) -> None:
    """Nothing changes, but what was received before must not change it either."""
    if received > row.changed_by_write_of:
        await connection.execute("UPDATE modules SET changed_by_write_of = %s WHERE id = %s", (received, row.id))


async def _describe(connection: Connection, name: str, row: ModuleRow, description: str, received: float) -> bytes:
    if description != row.description:
        refuse_outrun(f"module {name}", row.changed_by_write_of, received)
    else:
        await _write_down(connection, row, received)
        return row.body
    now = dt.datetime.now(dt.UTC)
    body = wire.module_body(name, description, row.created_at, now)
    await connection.execute(
        """
        UPDATE modules SET description = %s, updated_at = %s, body = %s, revision = gen_random_uuid(),
                           changed_by_write_of = greatest(changed_by_write_of, %s) WHERE id = %s
        """,
        (description, now, body, received, row.id),
    )
    return body
