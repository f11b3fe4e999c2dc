"""What is known about the object store's contents without asking it, which costs as much as a read of each.

A row is written after its object. It is believed for BELIEVED_S; after that the object is looked at, so that a bucket
that somebody emptied fills again with what is pushed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from spoke_server.errors import ApiError
from spoke_server.storage.nodes import Connection
from spoke_server.storage.postgres import Postgres
from spoke_server.storage.rows import fetch_all

BELIEVED_S = 3600


async def believed(connection: Connection, hashes: Iterable[str]) -> dict[str, bool]:
    """Which of these contents have ever been stored, and of each whether that is recent enough to be believed."""
    rows = await fetch_all(
        connection,
        """
        SELECT content_hash::text, stored_at BETWEEN now() - make_interval(secs => %s) AND now() FROM stored_blobs
        WHERE content_hash = ANY(%s::char(64)[])
        """,
        BELIEVED_S,
        list(hashes),
    )
    return dict(rows)


async def record(connection: Connection, hashes: Iterable[str]) -> None:
    """Notes that these contents are stored. Does not wait for the standby: what a failover loses is put again.

    In the order of the hashes, so that pushes of the same contents do not wait for each other in a circle.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = off")
        await connection.execute(
            """
            INSERT INTO stored_blobs (content_hash, stored_at) SELECT hash, now() FROM unnest(%s::text[]) AS hash
            ON CONFLICT (content_hash) DO UPDATE SET stored_at = excluded.stored_at
            """,
            (sorted(hashes),),
        )


class Notes:
    """Records what is stored while more is being stored: putting never waits for PostgreSQL.

    What was told is recorded also when the push is given up meanwhile, until the deadline (seconds since 1970).
    """

    # asyncio itself does not keep tasks alive.
    _writers: ClassVar[set[asyncio.Task[None]]] = set()

    def __init__(self, postgres: Postgres, deadline: float) -> None:
        self._postgres = postgres
        self._deadline = deadline
        self._told: list[str] = []
        self._writer: asyncio.Task[None] | None = None

    def stored(self, hashes: Iterable[str]) -> None:
        """Hears what is stored."""
        self._told += hashes
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._record())
            self._writers.add(self._writer)
            self._writer.add_done_callback(self._writers.discard)

    async def recorded(self) -> None:
        """Waits until everything told is recorded, or cannot be."""
        if self._writer is not None:
            await asyncio.shield(self._writer)

    async def _record(self) -> None:
        while self._told:
            hashes, self._told = self._told, []
            with contextlib.suppress(ApiError):
                await self._postgres.on_primary(self._deadline, partial(record, hashes=hashes))
