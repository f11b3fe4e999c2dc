"""What an error of PostgreSQL says: whether its node is lost, and whether the same work may succeed later. Pure."""

from __future__ import annotations

from typing import TypeAlias

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from spoke_server.storage.nodes import NobodyAnswers

LATE_WRITE = "SP001"
# The server goes down, starts up, is not the primary (any more) or has lost the schema: find the primary again.
_NODE_TROUBLE = ("08", "57P", "25006", "25P03", "42P01", "3D000", "28")
# The server is fine and says to try again: conflicts, locks, resources, cancelled statements.
_TRY_AGAIN = ("40", "55P03", "53", "58", "57014")
# psycopg_pool derives these from OperationalError, but they say nothing about the node.
_NO_CONNECTION_FREE: TypeAlias = PoolTimeout | PoolClosed | TooManyRequests


class TryAgain(Exception):
    """A transaction found what another one is just changing; running it again will find it settled."""


class AttemptTimeout(Exception):
    """An attempt took too long; whether it was applied is not known."""


class NoStandby(Exception):
    """No standby has replayed everything that it received."""


def is_node_trouble(error: BaseException) -> bool:
    """Whether the connection's node should not be used again."""
    if isinstance(error, AttemptTimeout):
        return True
    if not isinstance(error, psycopg.Error) or isinstance(error, _NO_CONNECTION_FREE):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_NODE_TROUBLE)


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is run again."""
    if isinstance(error, TryAgain | NobodyAnswers | _NO_CONNECTION_FREE):
        return True
    if isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_TRY_AGAIN):
        return True
    return is_node_trouble(error)
