"""The statements that read. Lookups of one row take many keys at a time, so that they can share a query."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spoke_server.errors import ApiError, bad_request
from spoke_server.registry import is_module_name
from spoke_server.storage.nodes import Connection
from spoke_server.storage.rows import fetch_all, fetch_one
from spoke_server.storage.versions import Stored


class VersionName(NamedTuple):
    """Names one version."""

    module: str
    version: str


class Listed(NamedTuple):
    """A version in a list: what a page needs to know before its bytes are fetched."""

    id: int
    size_bytes: int


class ModuleView(NamedTuple):
    """A module's JSON without its versions, and these, newest first."""

    revision: str
    body: bytes
    deleted_at: dt.datetime | None
    versions: tuple[Listed, ...]


_LIVE = "v.deleted_at IS NULL AND m.deleted_at IS NULL"


async def version_digests(connection: Connection, names: Sequence[VersionName]) -> Mapping[VersionName, str]:
    """The digests of those versions that are there and not deleted."""
    rows = await fetch_all(
        connection,
        f"""
        SELECT m.name, v.version, v.body_digest
        FROM unnest(%s::text[], %s::text[]) AS given(module, version)
        JOIN modules m ON m.name = given.module JOIN versions v ON v.module_id = m.id AND v.version = given.version
        WHERE {_LIVE}
        """,  # noqa: S608 - a constant
        [name.module for name in names],
        [name.version for name in names],
    )
    return {VersionName(module, version): digest for module, version, digest in rows}


async def latest_versions(connection: Connection, modules: Sequence[str]) -> Mapping[str, str]:
    """The highest version of those modules that have one."""
    rows = await fetch_all(
        connection,
        """
        SELECT m.name, v.version FROM unnest(%s::text[]) AS given(module) JOIN modules m ON m.name = given.module
        JOIN LATERAL (
            SELECT version FROM versions WHERE module_id = m.id AND deleted_at IS NULL
            ORDER BY sort_key DESC, created_at DESC, id DESC LIMIT 1
        ) v ON true
        WHERE m.deleted_at IS NULL
        """,
        list(modules),
    )
    return dict(rows)


async def module_revisions(connection: Connection, modules: Sequence[str]) -> Mapping[str, str]:
    """The revisions of those modules that are there and not deleted."""
    sql = "SELECT name, revision::text FROM modules WHERE name = ANY(%s) AND deleted_at IS NULL"
    return dict(await fetch_all(connection, sql, list(modules)))


async def version(connection: Connection, name: VersionName, *, deleted: bool) -> tuple[Stored, dt.datetime | None] | None:
    """A version's bytes and when it was deleted; one that is deleted only when asked for."""
    row = await fetch_one(
        connection,
        f"""
        SELECT v.body_digest, v.body, coalesce(v.deleted_at, m.deleted_at)
        FROM modules m JOIN versions v ON v.module_id = m.id
        WHERE m.name = %s AND v.version = %s AND (%s OR {_LIVE})
        """,  # noqa: S608 - a constant
        name.module,
        name.version,
        deleted,
    )
    return None if row is None else (Stored(row[0], row[1]), row[2])


async def module(connection: Connection, name: str, *, deleted: bool) -> ModuleView | None:
    """A module and which versions it has; deleted ones only when asked for."""
    row = await fetch_one(
        connection,
        """
        SELECT m.revision::text, m.body, m.deleted_at,
               coalesce(jsonb_agg(jsonb_build_array(v.id, octet_length(v.body))
                                  ORDER BY v.created_at DESC, v.id DESC) FILTER (WHERE v.id IS NOT NULL), '[]')::text
        FROM modules m LEFT JOIN versions v ON v.module_id = m.id AND (%s OR v.deleted_at IS NULL)
        WHERE m.name = %s AND (%s OR m.deleted_at IS NULL) GROUP BY m.id
        """,
        deleted,
        name,
        deleted,
    )
    if row is None:
        return None
    return ModuleView(row[0], row[1], row[2], tuple(Listed(*item) for item in json.loads(row[3])))


async def version_bodies(connection: Connection, ids: Sequence[int]) -> list[tuple[bytes, dt.datetime | None]]:
    """The bytes of these versions in this order, and when each was deleted; those gone for good are left out."""
    sql = """
        SELECT v.body, v.deleted_at FROM unnest(%s::bigint[]) WITH ORDINALITY AS given(id, place)
        JOIN versions v USING (id) ORDER BY given.place
    """
    return await fetch_all(connection, sql, list(ids))


async def module_page(connection: Connection, after: str, limit: int, *, deleted: bool) -> list[tuple[str, bytes, bytes]]:
    """Modules by name after a name: the name, the JSON and the versions' JSON without files, comma-separated."""
    return await fetch_all(
        connection,
        """
        SELECT m.name,
               CASE WHEN m.deleted_at IS NULL THEN m.body ELSE substring(m.body for octet_length(m.body) - 1)
                    || convert_to(',"deleted_at":"' || to_char(m.deleted_at AT TIME ZONE 'UTC',
                                                               'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}', 'UTF8') END,
               coalesce(v.summaries, '')
        FROM modules m LEFT JOIN LATERAL (
            SELECT string_agg(summary, ','::bytea ORDER BY created_at DESC, id DESC) AS summaries
            FROM versions WHERE module_id = m.id AND (%s OR deleted_at IS NULL)
        ) v ON true
        WHERE m.name > %s AND (%s OR m.deleted_at IS NULL) ORDER BY m.name LIMIT %s
        """,
        deleted,
        after,
        deleted,
        limit,
    )


async def version_page(
    connection: Connection, name: str, before: tuple[dt.datetime, int] | None, limit: int, *, deleted: bool
) -> list[tuple[dt.datetime, int, int]] | None:
    """A module's versions from the newest on, before a place: when made, id and size; None without the module."""
    row = await fetch_one(connection, "SELECT id FROM modules WHERE name = %s AND (%s OR deleted_at IS NULL)", name, deleted)
    if row is None:
        return None
    moment, last_id = before or (dt.datetime.max.replace(tzinfo=dt.UTC, year=9000), 0)
    return await fetch_all(
        connection,
        """
        SELECT created_at, id, octet_length(body) FROM versions
        WHERE module_id = %s AND (created_at, id) < (%s, %s) AND (%s OR deleted_at IS NULL)
        ORDER BY created_at DESC, id DESC LIMIT %s
        """,
        row[0],
        moment,
        last_id,
        deleted,
        limit,
    )


def encode_cursor(*parts: object) -> str:
    """Where a page ended, as a text that nobody needs to understand."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def decode_name(cursor: str) -> str:
    """The name after which a page of modules begins."""
    match _decode(cursor):
        case [str(name)] if is_module_name(name):
            return name
    raise _no_cursor()


def decode_place(cursor: str) -> tuple[dt.datetime, int]:
    """The place after which a page of versions begins."""
    match _decode(cursor):
        case [str(moment), int(last_id)] if 0 < last_id < 1 << 63:
            try:
                return dt.datetime.fromisoformat(moment).astimezone(dt.UTC), last_id
            except (ValueError, OverflowError):
                raise _no_cursor() from None
    raise _no_cursor()


def _decode(cursor: str) -> object:
    try:
        return json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        raise _no_cursor() from None


def _no_cursor() -> ApiError:
    return bad_request("invalid_cursor", "cursor: not one that this registry gave")
