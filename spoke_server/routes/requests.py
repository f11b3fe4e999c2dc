"""What a handler needs to know about a request, read with limits."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request

from spoke_server.errors import ApiError, bad_request
from spoke_server.settings import Settings

MAX_LIMIT = 1000
T = TypeVar("T")
_FLAGS = {"": True, "true": True, "1": True, "false": False, "0": False}


async def read_body(request: Request, settings: Settings) -> bytes:
    """The body, refused while it comes in once it is larger than allowed, or when it comes too slowly."""
    declared = request.headers.get("content-length", "")
    limit = settings.max_body_bytes
    try:
        async with asyncio.timeout(settings.read_timeout_s or None):
            if declared.isascii() and declared.isdigit() and int(declared) > limit:
                await _discard(request, limit)
                raise _too_large(limit)
            chunks: list[bytes] = []
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    await _discard(request, limit)
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise ApiError(408, "request_timeout", f"the body did not come within {settings.read_timeout_s:g} s") from None
    except ClientDisconnect:
        raise ApiError(400, "incomplete_body", "the body ended before its announced length") from None
    return b"".join(chunks)


async def carry_out(request: Request, write: Coroutine[Any, Any, T]) -> T:
    """Carries a write out, as long as its client waits for it.

    The load balancer hangs up on a try that takes long and asks the next instance. A try that went on could be applied
    after what the client did next.
    """
    work, gone = asyncio.create_task(write), asyncio.create_task(_until_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise ApiError(499, "client_gone", "the client went away before the answer")
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.wait({work, gone})


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _discard(request: Request, limit: int) -> None:
    """Reads on for as much again: a client that is still sending would otherwise see a reset and not the answer."""
    left = limit
    with contextlib.suppress(ClientDisconnect, RuntimeError):
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                return


def _too_large(limit: int) -> ApiError:
    return ApiError(413, "body_too_large", f"the body is larger than {limit >> 20} MiB")


def deadline(request: Request, settings: Settings) -> float:
    """Until when a write may be applied, in seconds since 1970: the retry budget after the load balancer received it."""
    now = time.time()
    text = request.headers.get("x-spoke-received")
    if text is None:
        return now + settings.retry_budget_s
    if not re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text, re.ASCII):
        raise bad_request("invalid_header", "X-Spoke-Received: expected seconds since 1970, such as 1764000000.123")
    received = min(float(text), now)
    if received + settings.retry_budget_s < now:
        raise ApiError(
            503, "request_expired", "the write is older than the retry budget and was not applied", retry_after_s=1
        )
    return received + settings.retry_budget_s


def flag(query: QueryParams, name: str) -> bool:
    """A parameter that is true or false; absent is false."""
    text = query.get(name, "false")
    if text.lower() not in _FLAGS:
        raise bad_request("invalid_parameter", f"{name}: expected true or false")
    return _FLAGS[text.lower()]


def page(query: QueryParams) -> tuple[int | None, str | None]:
    """The limit and the cursor of a list; neither given means all of it."""
    cursor = query.get("cursor")
    text = query.get("limit")
    if text is None:
        return (100 if cursor is not None else None), cursor
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not 1 <= int(text) <= MAX_LIMIT:
        raise bad_request("invalid_parameter", f"limit: expected a whole number from 1 to {MAX_LIMIT}")
    return int(text), cursor
