"""Which secrets are made, which are refused, and where a password that everybody knows may be used."""

import re
from pathlib import Path

import pytest

from spokectl.errors import ExitCode, Refused
from spokectl.model import Stack
from spokectl.operations import services
from spokectl.operations.context import Context
from spokectl.operations.secret_settings import (
    WELL_KNOWN,
    chosen,
    expected_of_secret,
    exposed,
    is_loopback,
    is_secret,
    require_no_database,
    require_own_secrets,
)
from spokectl.settings import StackState
from spokectl.stackfile import default_stack_file, load_stack
from tests.unit.test_readiness import SeenRuntime, unheard

SECRETS = {
    "SPOKE_POSTGRES_PASSWORD",
    "SPOKE_POSTGRES_REPLICATION_PASSWORD",
    "SPOKE_POSTGRES_OPERATOR_PASSWORD",
    "SPOKE_REDIS_PASSWORD",
    "SPOKE_S3_SECRET_KEY",
}
OWN = dict.fromkeys(SECRETS, "Nobody-else-has-this")
SERVERS = ["postgres-primary", "postgres-replica", "redis-master", "redis-replica", "minio"]


def stack_of(**env_file: str) -> Stack:
    return load_stack("second", [default_stack_file()], shell={}, env_file=env_file)


def test_every_secret_of_the_stack_is_known_as_one_and_its_default_as_one_that_everybody_knows() -> None:
    found = {each.name: each.default for each in stack_of().settings.values() if is_secret(each.name)}
    assert found.keys() == SECRETS
    assert {name for name, default in found.items() if default not in WELL_KNOWN} == set()


def test_a_secret_is_made_for_each_that_nobody_has_set_and_no_two_are_alike() -> None:
    made = chosen(stack_of(SPOKE_REDIS_PASSWORD="mine", SPOKE_LOG_LEVEL="debug"))
    assert made.keys() == SECRETS - {"SPOKE_REDIS_PASSWORD"}
    assert len({*made.values(), *chosen(stack_of()).values()}) == len(made) + len(SECRETS)
    # Nothing in it that a shell, a URL or a server's configuration reads as its own: 62 ** 31 is more than 2 ** 128.
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]{31,}", value, re.ASCII) for value in made.values())
    assert [name for name, value in made.items() if expected_of_secret(name, value)] == []


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("SPOKE_REDIS_PASSWORD", " '\"\\$%@:/ #ü€\U0001f600${HOME}\\", True),
        ("SPOKE_REDIS_PASSWORD", "x" * 512, True),
        ("SPOKE_REDIS_PASSWORD", "x" * 513, False),
        ("SPOKE_REDIS_PASSWORD", "ü" * 257, False),
        ("SPOKE_POSTGRES_PASSWORD", "a\tb", False),
        ("SPOKE_POSTGRES_PASSWORD", "a\nb", False),
        ("SPOKE_POSTGRES_PASSWORD", "a\x7f", False),
        ("SPOKE_POSTGRES_PASSWORD", "a\u2028b", False),
        ("SPOKE_S3_SECRET_KEY", "1234567", False),
        ("SPOKE_S3_SECRET_KEY", "12345678", True),
        ("SPOKE_S3_SECRET_KEY", "1234 5678", True),
        ("SPOKE_S3_SECRET_KEY", " 123456789", False),
        ("SPOKE_S3_SECRET_KEY", "123456789 ", False),
    ],
)
def test_a_secret_that_a_server_would_not_take_is_refused(name: str, value: str, taken: bool) -> None:
    assert (expected_of_secret(name, value) is None) is taken


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "::ffff:127.0.0.1")],
        *[(host, False) for host in ("0.0.0.0", "::", "[::]", "192.168.1.5", "10.0.0.1", "fe80::1", "", "some.host")],
        *[(host, False) for host in ("127.0.0.1.example.org", "localhost.", "::ffff:10.0.0.1", "128.0.0.1")],
    ],
)
def test_only_this_machine_reaches_the_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("bind", ["0.0.0.0", "[::]", "192.168.1.5"])
def test_a_server_that_others_reach_is_refused_a_password_that_everybody_knows(bind: str) -> None:
    stack = stack_of(SPOKE_BIND=bind)
    with pytest.raises(Refused) as caught:
        require_own_secrets(stack, stack.services, lambda: False)
    error = caught.value
    assert (error.code, error.exit_code) == ("well_known_passwords", ExitCode.REFUSED)
    assert error.details == {"settings": sorted(SECRETS), "addresses": [bind.strip("[]")], "services": SERVERS}
    assert all(name in error.message for name in SECRETS)
    assert not any(value in error.message for value in WELL_KNOWN if "-" in value)
    assert error.actions == (
        "spokectl up --generate-secrets --stack second",
        "or passwords of your own: spokectl config set SPOKE_POSTGRES_OPERATOR_PASSWORD=- --stack second < FILE",
        "or stay on this machine: spokectl config set SPOKE_BIND=127.0.0.1 --stack second",
    )


def test_one_well_known_password_among_own_ones_is_enough_and_is_the_one_that_is_named() -> None:
    stack = stack_of(**OWN | {"SPOKE_BIND": "0.0.0.0", "SPOKE_S3_SECRET_KEY": "minioadmin"})
    with pytest.raises(Refused) as caught:
        require_own_secrets(stack, stack.services, lambda: True)
    assert caught.value.details["settings"] == ["SPOKE_S3_SECRET_KEY"]
    # The store keeps no password: its data may stay.
    assert caught.value.actions[:2] == (
        "spokectl config unset SPOKE_S3_SECRET_KEY --stack second",
        "spokectl up --generate-secrets --stack second",
    )


def test_what_is_to_be_done_about_a_database_that_has_the_password_is_said_first() -> None:
    stack = stack_of(SPOKE_BIND="0.0.0.0")
    with pytest.raises(Refused) as caught:
        require_own_secrets(stack, stack.services, lambda: True)
    assert caught.value.actions[0].startswith("spokectl down --volumes --stack second  # deletes all data")


def test_an_empty_password_in_the_settings_is_the_well_known_default() -> None:
    assert exposed(stack_of(**OWN | {"SPOKE_BIND": "0.0.0.0", "SPOKE_REDIS_PASSWORD": ""}), SERVERS)


@pytest.mark.parametrize("values", [{}, {"SPOKE_BIND": "127.0.0.2"}, OWN | {"SPOKE_BIND": "0.0.0.0"}])
def test_loopback_takes_any_password_and_own_passwords_any_address(values: dict[str, str]) -> None:
    stack = stack_of(**values)
    require_own_secrets(stack, stack.services, lambda: True)


def test_a_password_that_the_stack_file_itself_holds_counts_as_well(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text(
        "services:\n"
        "  db:\n"
        "    labels: {spokectl.kind: postgres, spokectl.health: 'postgres:5432'}\n"
        "    environment: {SPOKE_POSTGRES_PASSWORD: changeme}\n"
        "    ports: ['5432:5432']\n"
        "  api:\n"
        "    labels: {spokectl.kind: spoke, spokectl.health: 'http:8080/'}\n"
        "    environment: {SPOKE_POSTGRES_PASSWORD: changeme}\n"
        "    ports: ['8080:8080']\n"
    )
    stack = load_stack("second", [file], shell={}, env_file={})
    # Compose publishes to everybody where no address is named. A Spoke asks nobody for that password.
    assert [(each.service, each.host) for each in exposed(stack, stack.services)] == [("db", "0.0.0.0")]
    assert exposed(stack, ["api"]) == []


def test_new_secrets_are_refused_where_a_database_has_the_old_ones() -> None:
    require_no_database(stack_of(), SECRETS, lambda: False)
    require_no_database(stack_of(), ["SPOKE_REDIS_PASSWORD", "SPOKE_S3_SECRET_KEY"], lambda: True)
    with pytest.raises(Refused) as caught:
        require_no_database(stack_of(), SECRETS, lambda: True)
    assert (caught.value.code, caught.value.exit_code) == ("secrets_in_use", ExitCode.REFUSED)
    assert set(caught.value.details["settings"]) == {name for name in SECRETS if "POSTGRES" in name}  # type: ignore[call-overload]
    assert "down --volumes --stack second" in caught.value.actions[0]


@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_single_service_is_not_started_for_others_with_a_well_known_password(
    action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A native process that is started anew listens where the settings say by then."""
    context = Context(stack_of(SPOKE_BIND="0.0.0.0"), StackState("second", tmp_path), SeenRuntime([{}]))
    monkeypatch.setattr(services, "_running", lambda name, file: context)
    with pytest.raises(Refused) as caught:
        services.act("second", None, action, ["redis-master"], 1.0, unheard)
    assert caught.value.code == "well_known_passwords"
    assert caught.value.details["services"] == ["redis-master"]
    # Who asks for no password, or is only stopped, is not refused; this runtime then says that it is touched.
    for other, name in ((action, "spoke-1"), ("stop", "redis-master")):
        with pytest.raises(AssertionError, match="changes nothing"):
            services.act("second", None, other, [name], 1.0, unheard)
