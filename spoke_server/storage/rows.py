"""Queries and their rows."""

from __future__ import annotations

from typing import Any

from spoke_server.storage.nodes import Connection


async def fetch_all(connection: Connection, sql: str, *parameters: object) -> list[Any]:
    """The rows of a query; bytes come in binary, so that ready JSON is copied and never converted."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(sql.encode(), parameters)
        return await cursor.fetchall()


async def fetch_one(connection: Connection, sql: str, *parameters: object) -> Any:
    """The first row of a query, or None."""
    rows = await fetch_all(connection, sql, *parameters)
    return rows[0] if rows else None
