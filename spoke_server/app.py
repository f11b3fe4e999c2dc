"""The API as an ASGI application: finds the handler, and does what every answer needs around it."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from spoke_server import routes
from spoke_server.cache import Headers
from spoke_server.errors import ApiError
from spoke_server.routes.answers import from_error
from spoke_server.routes.services import Services
from spoke_server.telemetry import Telemetry

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("spoke_server.access")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_UNKNOWN_ROUTE = "other"


class Application:
    """Serves the API; every answer names the instance and the request, every error is one of the API's."""

    def __init__(
        self,
        services: Services,
        telemetry: Telemetry,
        is_draining: Callable[[], bool],
        has_primary: Callable[[], bool] = lambda: True,
    ) -> None:
        self._services = services
        self._telemetry = telemetry
        self._is_draining = is_draining
        self._has_primary = has_primary
        self._instance = (b"x-spoke-instance", services.settings.node.encode("ascii", "replace"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request (ASGI)."""
        if scope["type"] != "http":
            raise RuntimeError(f"unexpected ASGI scope {scope['type']}")
        reads = scope["method"] in ("GET", "HEAD")
        exchange = _Exchange(self._header_list(scope), send, self._has_primary if reads else _always)
        resolved = routes.resolve(scope["path"])
        template = resolved[0].template if resolved else _UNKNOWN_ROUTE
        started_s = time.perf_counter()
        try:
            with self._telemetry.span(scope, template) as span:
                await self._answer(scope, receive, exchange, resolved)
                span.set_status_code(exchange.status)
        finally:
            duration_s = time.perf_counter() - started_s
            self._telemetry.record_request(scope["method"], template, exchange.status, duration_s)
            if access_logger.isEnabledFor(logging.DEBUG):
                fields = {"method": scope["method"], "path": scope["path"], "status": exchange.status}
                access_logger.debug("request", extra={"fields": {**fields, "duration_ms": round(duration_s * 1e3, 3)}})

    async def _answer(
        self, scope: Scope, receive: Receive, exchange: _Exchange, resolved: tuple[routes.Route, dict[str, str]] | None
    ) -> None:
        try:
            answer = await self._handle(scope, receive, resolved)
            await answer(scope, receive, exchange.send)
        except Exception as error:
            if exchange.started:
                # Half an answer cannot be taken back: the connection ends, and the client sees that it is incomplete.
                logger.exception("an answer broke off")
                raise
            await self._failure(scope, error)(scope, receive, exchange.send)

    async def _handle(self, scope: Scope, receive: Receive, resolved: tuple[routes.Route, dict[str, str]] | None) -> ASGIApp:
        if resolved is None:
            raise ApiError(404, "not_found", f"no such address: {scope['path']}")
        route, parameters = resolved
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        handler = route.handlers.get(method)
        if handler is None:
            response = from_error(ApiError(405, "method_not_allowed", f"{scope['method']} is not possible here"))
            response.headers["allow"] = route.allow
            return response
        scope["path_params"] = parameters
        scope["services"] = self._services
        return await handler(Request(scope, receive))

    def _failure(self, scope: Scope, error: Exception) -> ASGIApp:
        if not isinstance(error, ApiError):
            logger.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            error = ApiError(500, "internal_error", "internal error; the server's log says more")
        # Upstream's `pull` takes any JSON answer but 404 for success, so failures of what it reads are no JSON.
        plain = error.status >= 500 and scope["method"] in ("GET", "HEAD") and "/versions/" in scope["path"]
        return from_error(error, plain=plain)

    def _header_list(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        headers = [self._instance, (b"x-request-id", request_id)]
        if self._is_draining():
            headers.append((b"connection", b"close"))
        return headers


class _Exchange:
    """Adds headers to an answer on its way out, and remembers its status.

    What was read while there was no primary comes from a standby, and how much that one lacks cannot be known: a primary
    that is gone and one that only this instance cannot reach look the same. So the answer says so, and is not for keeping.
    """

    def __init__(self, headers: list[tuple[bytes, bytes]], send: Send, has_primary: Callable[[], bool]) -> None:
        self._headers = headers
        self._send = send
        self._has_primary = has_primary
        self._had_primary = has_primary()
        self.status = 500
        self.started = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Passes a message on (ASGI)."""
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            message["headers"] = [*self._marked(message["headers"]), *self._headers]
        await self._send(message)

    def _marked(self, headers: Headers) -> Headers:
        if self.status >= 500 or (self._had_primary and self._has_primary()):
            return headers
        kept = [pair for pair in headers if pair[0] != b"cache-control"]
        return [*kept, (b"cache-control", b"no-store"), (b"x-spoke-read", b"standby")]


def _always() -> bool:
    return True
