"""The health port: whether this instance lives, whether it can do its work, and its metrics."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from spoke_server import wire
from spoke_server.errors import ApiError
from spoke_server.routes.answers import JSON, from_error
from spoke_server.telemetry import Telemetry

Check = Callable[[], Awaitable[None]]
CHECK_TIMEOUT_S = 2.5
HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"


class Health:
    """Answers on the health port (ASGI).

    Ready is 503 only without a PostgreSQL primary or while draining; without Redis or the object store the instance
    still answers reads, so then it is degraded and 200.
    """

    def __init__(
        self,
        node: str,
        version: str,
        telemetry: Telemetry,
        database: Check,
        others: Mapping[str, Check],
        is_draining: Callable[[], bool],
    ) -> None:
        self._instance = node
        self._version = version
        self._telemetry = telemetry
        self._checks = {"database": database, **others}
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request (ASGI)."""
        response = await self._answer(Request(scope, receive))
        response.headers["x-spoke-instance"] = self._instance
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            response = from_error(ApiError(405, "method_not_allowed", f"{request.method} is not possible here"))
            response.headers["allow"] = "GET, HEAD"
            return response
        match request.scope["path"]:
            case "/health/live":
                return _json(200, {"status": HEALTHY, "timestamp": _now()})
            case "/health" | "/health/ready":
                return await self._ready()
            case "/metrics":
                shown = self._telemetry.exposition()
                if shown is not None:
                    return Response(shown[0], media_type=shown[1])
        return from_error(ApiError(404, "not_found", f"no such address: {request.scope['path']}"))

    async def _ready(self) -> Response:
        states = await asyncio.gather(*(_state(check) for check in self._checks.values()))
        dependencies = dict(zip(self._checks, states, strict=True))
        if self._is_draining() or dependencies["database"]["status"] != HEALTHY:
            status = UNHEALTHY
        elif any(state["status"] != HEALTHY for state in states):
            status = DEGRADED
        else:
            status = HEALTHY
        body: dict[str, object] = {"status": status, "timestamp": _now(), "version": self._version}
        if self._is_draining():
            body["message"] = "shutting down"
        return _json(503 if status == UNHEALTHY else 200, {**body, "dependencies": dependencies})


async def _state(check: Check) -> dict[str, object]:
    started_s = time.perf_counter()
    state: dict[str, object] = {"status": HEALTHY}
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        message = error.message if isinstance(error, ApiError) else f"{type(error).__name__}: {error}".rstrip(": ")
        state = {"status": UNHEALTHY, "message": message}
    latency_ms = round((time.perf_counter() - started_s) * 1e3, 3)
    return {**state, "latency_ms": latency_ms, "timestamp": _now()}


def _now() -> str:
    return wire.timestamp(dt.datetime.now(dt.UTC))


def _json(status: int, fields: Mapping[str, object]) -> Response:
    return Response(wire.encode(fields), status, media_type=JSON)
