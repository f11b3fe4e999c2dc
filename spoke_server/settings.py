"""The server's settings, read once from the environment."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

_DURATION_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_LOG_LEVELS = ("debug", "info", "warn", "warning", "error")
_T = TypeVar("_T")


class SettingsError(Exception):
    """A variable of the environment that cannot be used; the message names it and says what was expected."""


def parse_duration_s(text: str) -> float:
    """Reads a Go duration (`300ms`, `1m30s`, `0`) as seconds; ValueError when it is none or negative."""
    if text == "0":
        return 0.0
    total_s, end = 0.0, 0
    for match in _DURATION_PART.finditer(text):
        if match.start() != end:
            break
        total_s += float(match[1]) * _DURATION_UNITS_S[match[2]]
        end = match.end()
    if not text or end != len(text):
        raise ValueError(f"{text!r} is not a duration such as 300ms, 15s or 1m30s")
    return total_s


@dataclass(frozen=True)
class RedisSettings:
    """Where the shared cache is: behind Sentinels, at a URL, or nowhere."""

    sentinels: tuple[tuple[str, int], ...]
    master_name: str
    url: str
    password: str
    database: int
    pool_size: int

    @property
    def configured(self) -> bool:
        """Whether there is a shared cache at all."""
        return bool(self.sentinels or self.url)


@dataclass(frozen=True)
class S3Settings:
    """Where the blobs are."""

    endpoint: str
    region: str
    bucket: str
    access_key: str
    secret_key: str
    path_style: bool


@dataclass(frozen=True)
class OtelSettings:
    """Where telemetry goes when it is sent (OTLP over HTTP)."""

    enabled: bool
    endpoint: str
    service_name: str
    service_version: str
    trace_ratio: float
    interval_s: float


@dataclass(frozen=True)
class Settings:
    """Everything that the environment decides."""

    node: str
    host: str
    port: int
    health_port: int
    read_timeout_s: float
    idle_timeout_s: float
    shutdown_timeout_s: float
    drain_delay_s: float
    postgres_url: str
    postgres_password: str
    postgres_min_connections: int
    postgres_max_connections: int
    postgres_timeout_s: float
    retry_budget_s: float
    max_body_bytes: int
    cache_enabled: bool
    l1_cache_bytes: int
    log_level: str
    metrics_enabled: bool
    redis: RedisSettings
    s3: S3Settings
    otel: OtelSettings

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Reads the variables that docs/registry-api.md lists; SettingsError names the first that cannot be used."""
        read = _Reader(environment)
        _refuse_other_storage(read.text("SPOKE_STORAGE_TYPE", "postgres"))
        settings = cls(
            node=read.text("SPOKE_NODE", socket.gethostname()),
            host=read.text("SPOKE_HOST", "0.0.0.0"),  # noqa: S104 - upstream's default; the stack sets an address
            port=read.integer("SPOKE_PORT", 8080, 0, 65535),
            health_port=read.integer("SPOKE_HEALTH_PORT", 9090, 0, 65535),
            read_timeout_s=read.duration_s("SPOKE_READ_TIMEOUT", "15s"),
            idle_timeout_s=read.duration_s("SPOKE_IDLE_TIMEOUT", "75s"),
            shutdown_timeout_s=read.duration_s("SPOKE_SHUTDOWN_TIMEOUT", "30s"),
            drain_delay_s=read.duration_s("SPOKE_DRAIN_DELAY", "1s"),
            postgres_url=read.text("SPOKE_POSTGRES_URL", ""),
            postgres_password=read.secret("SPOKE_POSTGRES_PASSWORD"),
            postgres_min_connections=read.integer("SPOKE_POSTGRES_MIN_CONNS", 2, 0, 1000),
            postgres_max_connections=read.integer("SPOKE_POSTGRES_MAX_CONNS", 20, 1, 1000),
            postgres_timeout_s=read.duration_s("SPOKE_POSTGRES_TIMEOUT", "4s"),
            retry_budget_s=read.duration_s("SPOKE_RETRY_BUDGET", "15s"),
            max_body_bytes=read.integer("SPOKE_MAX_BODY_MIB", 10, 1, 256) << 20,
            cache_enabled=read.boolean("SPOKE_CACHE_ENABLED", True),
            l1_cache_bytes=read.integer("SPOKE_L1_CACHE_SIZE", 10 << 20, 0, 1 << 40),
            log_level=read.choice("SPOKE_LOG_LEVEL", "info", _LOG_LEVELS),
            metrics_enabled=read.boolean("SPOKE_METRICS_ENABLED", True),
            redis=_redis(read),
            s3=_s3(read),
            otel=_otel(read),
        )
        if settings.port and settings.port == settings.health_port:
            raise SettingsError(f"SPOKE_PORT and SPOKE_HEALTH_PORT must differ, both are {settings.port}")
        if not settings.postgres_url:
            raise SettingsError("SPOKE_POSTGRES_URL is not set: expected postgresql://user@host:port,host:port/database")
        return settings


def _refuse_other_storage(storage: str) -> None:
    if storage not in ("postgres", "hybrid"):
        raise SettingsError(f"SPOKE_STORAGE_TYPE: expected postgres, got {storage!r}")


def _redis(read: _Reader) -> RedisSettings:
    return RedisSettings(
        sentinels=read.addresses("SPOKE_REDIS_SENTINELS"),
        master_name=read.text("SPOKE_REDIS_MASTER_NAME", "spoke-redis"),
        url=read.text("SPOKE_REDIS_URL", ""),
        password=read.secret("SPOKE_REDIS_PASSWORD"),
        database=read.integer("SPOKE_REDIS_DB", 0, 0, 1 << 16),
        pool_size=read.integer("SPOKE_REDIS_POOL_SIZE", 10, 1, 1000),
    )


def _s3(read: _Reader) -> S3Settings:
    endpoint = read.text("SPOKE_S3_ENDPOINT", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    return S3Settings(
        endpoint=endpoint,
        region=read.text("SPOKE_S3_REGION", "us-east-1"),
        bucket=read.text("SPOKE_S3_BUCKET", "spoke-storage"),
        access_key=read.text("SPOKE_S3_ACCESS_KEY", ""),
        secret_key=read.secret("SPOKE_S3_SECRET_KEY"),
        path_style=read.boolean("SPOKE_S3_USE_PATH_STYLE", False) or read.boolean("SPOKE_S3_FORCE_PATH_STYLE", False),
    )


def _otel(read: _Reader) -> OtelSettings:
    endpoint = read.text("SPOKE_OTEL_ENDPOINT", "localhost:4318")
    if "://" not in endpoint:
        scheme = "http" if read.boolean("SPOKE_OTEL_INSECURE", True) else "https"
        endpoint = f"{scheme}://{endpoint}"
    return OtelSettings(
        enabled=read.boolean("SPOKE_OTEL_ENABLED", False),
        endpoint=endpoint.rstrip("/"),
        service_name=read.text("SPOKE_OTEL_SERVICE_NAME", "spoke-registry"),
        service_version=read.text("SPOKE_OTEL_SERVICE_VERSION", "1.0.0"),
        trace_ratio=read.ratio("SPOKE_OTEL_TRACE_RATIO", 0.01),
        interval_s=read.duration_s("SPOKE_OTEL_INTERVAL", "10s"),
    )


class _Reader:
    """Reads one variable after another; an empty value counts as unset, as in Compose."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name, "").strip() or default

    def secret(self, name: str) -> str:
        """The value as it stands: blanks around a password are part of it."""
        return self._environment.get(name, "")

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        def convert(text: str) -> int:
            value = int(text)
            if not low <= value <= high:
                raise ValueError
            return value

        return self._convert(name, default, convert, f"a whole number from {low} to {high}")

    def ratio(self, name: str, default: float) -> float:
        def convert(text: str) -> float:
            value = float(text)
            if not 0.0 <= value <= 1.0:
                raise ValueError
            return value

        return self._convert(name, default, convert, "a number from 0 to 1")

    def duration_s(self, name: str, default: str) -> float:
        expected = "a duration such as 300ms, 15s or 1m30s"
        return self._convert(name, parse_duration_s(default), parse_duration_s, expected)

    def boolean(self, name: str, default: bool) -> bool:
        words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}

        def convert(text: str) -> bool:
            if text.lower() not in words:
                raise ValueError
            return words[text.lower()]

        return self._convert(name, default, convert, "true or false")

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        def convert(text: str) -> str:
            if text.lower() not in choices:
                raise ValueError
            return text.lower()

        return self._convert(name, default, convert, "one of " + ", ".join(choices))

    def addresses(self, name: str) -> tuple[tuple[str, int], ...]:
        def convert(text: str) -> tuple[tuple[str, int], ...]:
            pairs = (part.strip().rpartition(":") for part in text.split(",") if part.strip())
            found = tuple((host, int(port)) for host, _, port in pairs)
            if not all(host and 0 < port < 65536 for host, port in found):
                raise ValueError
            return found

        return self._convert(name, (), convert, "host:port,host:port")

    def _convert(self, name: str, default: _T, convert: Callable[[str], _T], expected: str) -> _T:
        text = self.text(name, "")
        if not text:
            return default
        try:
            return convert(text)
        except ValueError:
            raise SettingsError(f"{name}: expected {expected}, got {text!r}") from None
