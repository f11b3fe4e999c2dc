"""Brings a database's schema up to date, once, whichever instance comes first."""

from __future__ import annotations

import asyncio
import logging
import re
from importlib import resources
from typing import Any

import psycopg

logger = logging.getLogger(__name__)

# Any number that nobody else takes an advisory lock on.
_LOCK = 5_309_420_117
# A node may freeze just when it has been connected to.
_LOOK_TIMEOUT_S = 5
_APPLY_TIMEOUT_S = 60

_CREATE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


def migrations() -> list[tuple[int, str, str]]:
    """All migrations in order: number, name and SQL."""
    folder = resources.files("spoke_server").joinpath("migrations")
    return sorted(
        (int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    )


async def migrate(connection: psycopg.AsyncConnection[Any]) -> None:
    """Applies what is missing, all in one transaction under a lock; instances that race wait for the first one.

    Migrations that only a newer server knows are left alone, so that instances can be upgraded one by one.
    """
    wanted = migrations()
    async with asyncio.timeout(_LOOK_TIMEOUT_S):
        if await _applied(connection) >= {number for number, _, _ in wanted}:
            return
    async with asyncio.timeout(_APPLY_TIMEOUT_S), connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '30s'")
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(_CREATE)
        applied = await _applied(connection)
        for number, name, sql in wanted:
            if number in applied:
                continue
            await connection.execute(sql.encode())
            await connection.execute("INSERT INTO schema_migrations (number, name) VALUES (%s, %s)", (number, name))
            logger.info("applied migration %04d_%s", number, name)


async def _applied(connection: psycopg.AsyncConnection[Any]) -> set[int]:
    cursor = await connection.execute("SELECT to_regclass('schema_migrations')::text")
    if (await cursor.fetchone()) == (None,):
        return set()
    cursor = await connection.execute("SELECT number FROM schema_migrations")
    return {number for (number,) in await cursor.fetchall()}
