"""The statements about what versions need: who is shown has all that it declares. All take a connection in a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from spoke_server.errors import conflict
from spoke_server.registry import Dependency
from spoke_server.storage.nodes import Connection
from spoke_server.storage.rows import fetch_all

SHOWN_DEPENDENCIES = 10
_NEW_DEPENDENCIES = """
INSERT INTO version_dependencies (version_id, dependency_module, dependency_version)
SELECT %s, * FROM unnest(%s::text[], %s::text[])
"""
_SHARE_DEPENDENCIES = """
SELECT 1 FROM versions v JOIN modules m ON m.id = v.module_id
WHERE (m.name, v.version) IN (SELECT * FROM unnest(%s::text[], %s::text[])) ORDER BY v.id FOR KEY SHARE OF v
"""
_MISSING_DEPENDENCIES = """
SELECT given.module, given.version FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS given(module, version, place)
WHERE NOT EXISTS (
    SELECT 1 FROM modules m JOIN versions v ON v.module_id = m.id
    WHERE m.name = given.module AND v.version = given.version AND m.deleted_at IS NULL AND v.deleted_at IS NULL
) ORDER BY given.place
"""
_DEPENDENCIES_OF_MODULE = """
SELECT DISTINCT d.dependency_module, d.dependency_version
FROM version_dependencies d JOIN versions v ON v.id = d.version_id
WHERE v.module_id = %s AND v.deleted_at IS NULL ORDER BY 1, 2
"""


async def insert_dependencies(connection: Connection, version_id: int, dependencies: Sequence[Dependency]) -> None:
    """Notes what a new version declares."""
    if dependencies:
        await connection.execute(_NEW_DEPENDENCIES, (version_id, *_columns(dependencies)))


async def dependencies_of_module(connection: Connection, module_id: int) -> list[Dependency]:
    """What the module's versions need, without those that are deleted by themselves."""
    return [Dependency(*row) for row in await fetch_all(connection, _DEPENDENCIES_OF_MODULE, module_id)]


async def hold_dependencies(connection: Connection, dependencies: Sequence[Dependency]) -> None:
    """Keeps the dependencies from being deleted before this transaction ends, and refuses those that are gone.

    Two statements: the second one sees what was committed while the first waited for a lock.
    """
    if dependencies:
        await connection.execute(_SHARE_DEPENDENCIES, _columns(dependencies))
        await refuse_missing_dependencies(connection, dependencies)


async def refuse_missing_dependencies(connection: Connection, dependencies: Sequence[Dependency]) -> None:
    """Refuses dependencies that the registry does not have, or hides; names them.

    Without a transaction it only refuses early: the one that follows looks again.
    """
    if not dependencies:
        return
    missing = await fetch_all(connection, _MISSING_DEPENDENCIES, *_columns(dependencies))
    if missing:
        names = ", ".join(str(Dependency(*row)) for row in missing[:SHOWN_DEPENDENCIES])
        more = f" and {len(missing) - SHOWN_DEPENDENCIES} more" if len(missing) > SHOWN_DEPENDENCIES else ""
        raise conflict("dependency_not_found", f"dependency not found: {names}{more}; push it first")


def _columns(dependencies: Sequence[Dependency]) -> tuple[list[str], list[str]]:
    return [each.module for each in dependencies], [each.version for each in dependencies]
