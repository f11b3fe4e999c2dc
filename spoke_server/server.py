"""The running server: both ports in one process and one event loop, from start to drained."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Generator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from spoke_server.app import Application
from spoke_server.cache import LruCache
from spoke_server.catalog import Catalog
from spoke_server.health import Check, Health
from spoke_server.protobuf.check import ProtobufChecker
from spoke_server.publish import Publisher
from spoke_server.routes.services import Services
from spoke_server.settings import Settings
from spoke_server.storage.blobs import Blobs
from spoke_server.storage.postgres import Postgres
from spoke_server.storage.shared_cache import SharedCache
from spoke_server.telemetry import Telemetry
from spoke_server.whole_answers import WholeAnswers

logger = logging.getLogger(__name__)

BACKLOG = 2048
LINGER_S = 0.3
FIRST_REQUEST_S = 3.0


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that leaves signals to the process it shares with another one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Does nothing."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops listening without resetting anybody, answers who is already connected, then ends as uvicorn does.

        Closing a listener resets connections that the kernel has accepted and the process has not, and uvicorn closes
        connections whose first request is still on its way.
        """
        waiting = [connection for listener in sockets or [] for connection in _accept_waiting(listener)]
        for server in self.servers:
            server.close()
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        stopped_s = time.monotonic()
        while self.server_state.connections and time.monotonic() < stopped_s + self._linger_s():
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)

    def _linger_s(self) -> float:
        """How long connections are waited for: longer while one has asked nothing yet, as a slow client's first request."""
        silent = any(isinstance(each, WholeAnswers) and each.cycle is None for each in self.server_state.connections)
        return FIRST_REQUEST_S if silent else LINGER_S

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn makes it
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class Server:
    """All parts together. Starts without any of its dependencies and is ready when they come."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.draining = False
        self.telemetry = Telemetry(settings)
        self.postgres = Postgres(settings)
        self.blobs = Blobs(settings.s3)
        self.checker = ProtobufChecker()
        self.memory = LruCache(settings.l1_cache_bytes if settings.cache_enabled else 0)
        self.shared = SharedCache(settings.redis, enabled=settings.cache_enabled)
        self.versions_pushed = 0
        catalog = Catalog(self.postgres, self.memory, self.shared, self.telemetry)
        budget_s = settings.retry_budget_s
        publisher = Publisher(self.postgres, self.blobs, self.checker, catalog, budget_s, self._count_push)
        services = Services(settings, catalog, publisher)
        self.api = Application(services, self.telemetry, lambda: self.draining, lambda: self.postgres.has_primary)
        self.health = self._health()
        self._observe()

    async def run(self) -> int:
        """Serves until SIGTERM or SIGINT and everything begun before is answered; returns the exit code."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        settings = self.settings
        api_socket, health_socket = _listen(settings.host, settings.port), _listen(settings.host, settings.health_port)
        api, health = self._uvicorn(self.api), self._uvicorn(self.health)
        await self.postgres.start()
        tidying = asyncio.create_task(self.checker.remove_leftovers())
        serving = asyncio.create_task(api.serve([api_socket]))
        serving_health = asyncio.create_task(health.serve([health_socket]))
        logger.info(
            "listening", extra={"fields": {"api": _name(api_socket), "health": _name(health_socket), "node": settings.node}}
        )
        await _first(serving, serving_health, asyncio.create_task(stop.wait()))
        failed = not stop.is_set()
        await self._drain(api, serving)
        health.should_exit = True
        await asyncio.wait({serving_health, tidying}, timeout=2)
        await self._close()
        logger.info("stopped")
        return 1 if failed else 0

    async def _drain(self, api: uvicorn.Server, serving: asyncio.Task[None]) -> None:
        """Says that it is not ready, serves on until that is known, then answers what has begun."""
        self.draining = True
        logger.info("draining")
        await asyncio.wait({serving}, timeout=self.settings.drain_delay_s)
        api.should_exit = True
        await asyncio.wait({serving}, timeout=self.settings.shutdown_timeout_s + 1)
        if not serving.done():
            logger.warning("requests were still open after %g s", self.settings.shutdown_timeout_s)

    async def _close(self) -> None:
        self.blobs.close()
        await asyncio.gather(
            asyncio.to_thread(self.telemetry.shutdown),
            self.checker.close(),
            self.shared.close(),
            self.postgres.close(),
        )

    def _uvicorn(self, app: ASGIApp) -> _Uvicorn:
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=WholeAnswers,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            backlog=BACKLOG,
            # Longer than NGINX keeps an idle connection, so that it never sends on one that is just being closed.
            timeout_keep_alive=int(self.settings.idle_timeout_s),
            timeout_graceful_shutdown=max(1, int(self.settings.shutdown_timeout_s)),
        )
        return _Uvicorn(config)

    def _health(self) -> Health:
        others: dict[str, Check] = {"storage": self.blobs.ping}
        if self.settings.redis.configured and self.settings.cache_enabled:
            others["redis"] = self.shared.ping
        return Health(
            self.settings.node,
            self.settings.otel.service_version,
            self.telemetry,
            self.postgres.ping,
            others,
            lambda: self.draining,
        )

    def _count_push(self) -> None:
        self.versions_pushed += 1

    def _observe(self) -> None:
        show, count = self.telemetry.gauge, self.telemetry.counter
        for key in ("active", "idle", "waiting"):
            read = _reader_of(self.postgres, key)
            show(f"db.connections.{key}", f"Connections to the PostgreSQL primary: {key}", read)
        show("db.primary.available", "1 when a PostgreSQL primary is connected", lambda: int(self.postgres.has_primary))
        count("db.retries", "Attempts that PostgreSQL made necessary again", lambda: self.postgres.retries)
        count("db.primary.changes", "Times a PostgreSQL primary was found", lambda: self.postgres.primary_changes)
        show("cache.size", "Bytes kept in memory", lambda: self.memory.used_bytes, "By")
        count("cache.evictions", "Entries let go of for want of memory", lambda: self.memory.evictions)
        show("redis.breaker.open", "1 while Redis is left alone", lambda: int(self.shared.breaker.is_open))
        count("redis.errors", "Operations on Redis that failed", lambda: self.shared.errors)
        count("storage.errors", "Operations on the object store that failed", lambda: self.blobs.errors)
        count("storage.blobs.stored", "Contents put in the object store", lambda: self.blobs.stored)
        count("versions.pushed", "Pushes of versions that were answered with success", lambda: self.versions_pushed)


def _reader_of(postgres: Postgres, key: str) -> Callable[[], float]:
    return lambda: postgres.pool_statistics()[key]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def _accept_waiting(listener: socket.socket) -> list[socket.socket]:
    """All connections that wait to be accepted."""
    listener.setblocking(False)
    accepted = []
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            accepted.append(connection)
    return accepted


def _name(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


async def _first(*tasks: asyncio.Task[Any]) -> None:
    """Waits for the first to end."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
