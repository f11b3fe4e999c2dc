"""Answers: ready bytes with their entity tag, lists with a link to their next part, and errors."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from spoke_server import wire
from spoke_server.cache import Entry, Headers
from spoke_server.catalog import REVALIDATE, Found, Page, Streamed
from spoke_server.errors import ApiError

JSON = "application/json"


class Ready:
    """Sends bytes with headers that were made before; nothing is computed a second time."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self._start = {"type": "http.response.start", "status": status, "headers": headers}
        self._body = {"type": "http.response.body", "body": body}

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Sends it (ASGI)."""
        await send(self._start)
        await send(self._body)


def from_entry(request: Request, entry: Entry, extra: Headers | None = None) -> Ready:
    """An entry of the cache, or 304 when the client has these bytes."""
    headers = entry.headers + (extra or [])
    if _has(request, entry.digest):
        return Ready(304, [pair for pair in headers if pair[0] not in (b"content-type", b"content-length")], b"")
    return Ready(200, headers, entry.body)


def from_version(request: Request, found: Found, *, immutable: bool = True) -> Ready:
    """A version or a file of one; `latest` may be another one next time, so it is to be asked for again."""
    source = [(b"x-spoke-cache", found.source.encode())]
    if immutable:
        return from_entry(request, found.entry, source)
    headers = [pair for pair in found.entry.headers if pair[0] != b"cache-control"]
    return from_entry(
        request, Entry(found.entry.digest, found.entry.body, [*headers, (b"cache-control", REVALIDATE)]), source
    )


def from_module(request: Request, found: Entry | Streamed) -> Ready | Response:
    """A module, whole or in pieces."""
    if isinstance(found, Entry):
        return from_entry(request, found)
    headers = {"etag": f'"{found.digest}"', "cache-control": REVALIDATE.decode()}
    if _has(request, found.digest):
        return Response(status_code=304, headers=headers)
    return StreamingResponse(found.parts, media_type=JSON, headers=headers)


def from_page(request: Request, page: Page) -> Response:
    """A plain array; the address of what follows is in the headers, so clients that know no pages see no change."""
    headers = {"cache-control": REVALIDATE.decode()}
    if page.next_cursor is not None:
        path = quote(request.scope["path"])
        query = urlencode({**dict(request.query_params), "cursor": page.next_cursor})
        headers |= {"link": f'<{path}?{query}>; rel="next"', "x-next-cursor": page.next_cursor}
    if isinstance(page.body, bytes):
        return Response(page.body, media_type=JSON, headers=headers)
    return StreamingResponse(page.body, media_type=JSON, headers=headers)


def from_error(error: ApiError, *, plain: bool = False) -> Response:
    """An error; plain text where an old client would take any JSON for success."""
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    if error.status in (408, 413):
        headers["connection"] = "close"
    if plain:
        return Response(f"{error.message}\n", error.status, headers, "text/plain")
    body = wire.encode({"error": error.message, "code": error.code})
    return Response(body, error.status, headers, JSON)


def _has(request: Request, digest: str) -> bool:
    """Whether If-None-Match names these bytes (RFC 9110 section 13.1.2: weak comparison)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    tags = (tag.strip().removeprefix("W/") for tag in given.split(","))
    return any(tag in ("*", f'"{digest}"') for tag in tags)
