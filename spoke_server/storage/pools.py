"""Pools of connections to one node of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from psycopg_pool import AsyncConnectionPool

from spoke_server.settings import Settings
from spoke_server.storage.nodes import Connection, Node

Pool: TypeAlias = AsyncConnectionPool[Connection]
# Asked at each new connection of a pool; they go before what the node's conninfo says.
Parameters: TypeAlias = Callable[[], Mapping[str, Any]]

WAIT_S = 2.0


async def open_pools(settings: Settings, node: Node, parameters: Parameters = dict) -> tuple[Pool, Pool]:
    """One for writes and one for reads, which together keep to the settings."""
    least, most = settings.postgres_min_connections, settings.postgres_max_connections
    for_reads = max(1, most // 4)
    return (
        await open_pool(node, least - least // 2, max(1, most - for_reads), parameters),
        await open_pool(node, least // 2, for_reads, parameters),
    )


async def open_pool(node: Node, min_size: int, max_size: int, parameters: Parameters = dict) -> Pool:
    """Begins to connect, and returns at once."""
    pool: Pool = AsyncConnectionPool(
        node.conninfo,
        kwargs=lambda: {"autocommit": True, **parameters()},
        min_size=min(min_size, max_size),
        max_size=max_size,
        open=False,
        timeout=WAIT_S,
        reconnect_timeout=0,
        max_idle=300,
        num_workers=1,
    )
    await pool.open()
    return pool
