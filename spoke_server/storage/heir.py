"""The standby that may become primary: pools to it that are open in the moment of its promotion.

While the role moves every write waits. To notice the new primary and to log in there only then would be half of that
time. Sessions on a standby outlive its promotion, and take writes from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from spoke_server.settings import Settings
from spoke_server.storage.nodes import Connection, Node, as_found, hang_up
from spoke_server.storage.pools import Pool, open_pools

POLL_S = 0.02
ANSWER_WITHIN_S = 2.0


class Heir:
    """One standby. `pools` (for writes, for reads) are its own until somebody takes them."""

    def __init__(self, standby: Node, connection: Connection) -> None:
        self.node = as_found(standby, connection, "read-write")
        self.connection = connection
        self.pools: tuple[Pool, Pool] | None = None
        self.is_primary = False

    async def prepare(self, settings: Settings) -> None:
        """Opens the pools and returns once the node takes writes. Any error when it does not answer any more."""
        try:
            self.pools = await open_pools(settings, self.node, self._parameters)
            while not await self._takes_writes():
                await asyncio.sleep(POLL_S)
        except BaseException:
            hang_up(self.connection)
            raise
        self.is_primary = True

    def _parameters(self) -> Mapping[str, Any]:
        # As long as it is a standby no connection would get through to it as to a primary.
        return {} if self.is_primary else {"target_session_attrs": "any"}

    async def _takes_writes(self) -> bool:
        asked = asyncio.create_task(_ask(self.connection))
        done, _ = await asyncio.wait({asked}, timeout=ANSWER_WITHIN_S)
        if not done:
            asked.add_done_callback(lambda task: task.cancelled() or task.exception())
            raise TimeoutError(f"{self.node.address} has not answered within {ANSWER_WITHIN_S:g} s")
        return asked.result()


async def _ask(connection: Connection) -> bool:
    cursor = await connection.execute("SELECT NOT pg_is_in_recovery()")
    return (await cursor.fetchone()) == (True,)
