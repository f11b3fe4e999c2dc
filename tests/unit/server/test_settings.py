"""The server's settings."""

from __future__ import annotations

import pytest

from spoke_server.settings import Settings, SettingsError, parse_duration_s

LEAST = {"SPOKE_POSTGRES_URL": "postgresql://spoke@a:1,b:2/spoke", "SPOKE_NODE": "spoke-1"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15), ("0", 0), ("300ms", 0.3), ("1m30s", 90), ("1.5h", 5400), ("1h2m3s", 3723), (".5s", 0.5),
     ("2us", 2e-6), ("7ns", 7e-9)],
)  # fmt: skip
def test_durations_are_written_as_in_go(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "15", "s", "5 m", "-1s", "1e3s", "1s2", "nan", "١s", "1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_s(text)


def test_blanks_around_a_password_are_part_of_it() -> None:
    """Those of any other value are not: it was the Spokes alone that could not log in."""
    names = ("SPOKE_POSTGRES_PASSWORD", "SPOKE_REDIS_PASSWORD", "SPOKE_S3_SECRET_KEY", "SPOKE_S3_BUCKET")
    settings = Settings.from_environment(LEAST | dict.fromkeys(names, " it "))
    assert (settings.postgres_password, settings.redis.password, settings.s3.secret_key) == (" it ", " it ", " it ")
    assert settings.s3.bucket == "it"


def test_defaults_are_upstreams() -> None:
    settings = Settings.from_environment(LEAST)
    assert (settings.host, settings.port, settings.health_port) == ("0.0.0.0", 8080, 9090)
    assert (settings.retry_budget_s, settings.shutdown_timeout_s, settings.idle_timeout_s) == (15, 30, 75)
    assert settings.max_body_bytes == 10 << 20
    assert (settings.postgres_min_connections, settings.postgres_max_connections) == (2, 20)
    assert not settings.redis.configured
    assert (settings.cache_enabled, settings.otel.enabled, settings.metrics_enabled) == (True, False, True)


def test_addresses_are_read_with_and_without_a_scheme() -> None:
    settings = Settings.from_environment(
        {
            **LEAST,
            "SPOKE_REDIS_SENTINELS": "s1:1, s2:2,",
            "SPOKE_S3_ENDPOINT": "minio:9000",
            "SPOKE_OTEL_ENDPOINT": "collector:4318",
            "SPOKE_OTEL_INSECURE": "false",
        }
    )
    assert settings.redis.sentinels == (("s1", 1), ("s2", 2))
    assert settings.s3.endpoint == "http://minio:9000"
    assert settings.otel.endpoint == "https://collector:4318"
    url = {**LEAST, "SPOKE_OTEL_ENDPOINT": "http://c:1/"}
    assert Settings.from_environment(url).otel.endpoint == "http://c:1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SPOKE_PORT", "abc"),
        ("SPOKE_PORT", "65536"),
        ("SPOKE_HEALTH_PORT", "8080"),
        ("SPOKE_SHUTDOWN_TIMEOUT", "30"),
        ("SPOKE_POSTGRES_MAX_CONNS", "0"),
        ("SPOKE_CACHE_ENABLED", "perhaps"),
        ("SPOKE_LOG_LEVEL", "loud"),
        ("SPOKE_REDIS_SENTINELS", "host"),
        ("SPOKE_REDIS_SENTINELS", "host:99999"),
        ("SPOKE_OTEL_TRACE_RATIO", "2"),
        ("SPOKE_MAX_BODY_MIB", "0"),
        ("SPOKE_STORAGE_TYPE", "filesystem"),
        ("SPOKE_POSTGRES_URL", " "),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({**LEAST, name: value})


def test_an_empty_value_is_an_unset_one() -> None:
    assert Settings.from_environment({**LEAST, "SPOKE_PORT": "", "SPOKE_LOG_LEVEL": ""}).port == 8080
