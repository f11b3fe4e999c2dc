"""What the guard reads from its environment and what it writes for the server."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

import pytest
from pgguard.configuration import (
    command_line,
    conninfo,
    refuse_reserved,
    role_statements,
    write_configuration,
    write_passfile,
)
from pgguard.settings import Settings, SettingsError, from_environment

if TYPE_CHECKING:
    from pathlib import Path

NASTY = "p'a\"s\\s:$%@/# {}é;--"


def environment(folder: Path, **changes: str) -> dict[str, str]:
    return {
        "SPOKE_NODE": "postgres-primary",
        "SPOKE_POSTGRES_FIRST_ROLE": "primary",
        "SPOKE_POSTGRES_PEER": "postgres-replica:5432",
        "SPOKE_POSTGRES_PEER_NODE": "postgres-replica",
        "SPOKE_LISTEN_ADDRESS": "0.0.0.0",
        "SPOKE_POSTGRES_PORT": "5432",
        "SPOKE_POSTGRES_DATABASE": "spoke",
        "SPOKE_POSTGRES_USER": "spoke",
        "SPOKE_POSTGRES_PASSWORD": NASTY,
        "SPOKE_POSTGRES_REPLICATION_USER": "replicator",
        "SPOKE_POSTGRES_REPLICATION_PASSWORD": NASTY,
        "SPOKE_POSTGRES_OPERATOR_USER": "spoke_operator",
        "SPOKE_POSTGRES_OPERATOR_PASSWORD": NASTY,
        "PGDATA": str(folder / "data"),
        "SPOKE_POSTGRES_CLUSTER_DIR": str(folder / "cluster"),
        "SPOKE_RUN_DIR": str(folder),
        **changes,
    }


def settings(folder: Path, **changes: str) -> Settings:
    return from_environment(environment(folder, **changes))


def written(folder: Path, major_version: int = 18, *extra: str, **changes: str) -> str:
    (folder / "postgresql.conf").write_text("port = 1\n")
    write_configuration(settings(folder, **changes), folder, major_version, extra, waits=True)
    return (folder / "spoke.conf").read_text()


@pytest.mark.parametrize("name", ["SPOKE_NODE", "PGDATA", "SPOKE_POSTGRES_PEER", "SPOKE_POSTGRES_OPERATOR_PASSWORD"])
def test_a_missing_variable_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        settings(tmp_path, **{name: ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SPOKE_POSTGRES_FIRST_ROLE", "leader"),
        ("SPOKE_POSTGRES_PORT", "0"),
        ("SPOKE_POSTGRES_PORT", "65536"),
        ("SPOKE_POSTGRES_PORT", "5432a"),
        ("SPOKE_POSTGRES_PEER", "postgres-replica"),
        ("SPOKE_POSTGRES_SLOT", "Replica-Slot"),
        ("SPOKE_POSTGRES_PASSWORD", "two\nlines"),
        ("SPOKE_POSTGRES_SYNCHRONOUS", "perhaps"),
        ("SPOKE_POSTGRES_DEGRADE_AFTER", "soon"),
        ("SPOKE_POSTGRES_DEGRADE_AFTER", "1s"),
        ("SPOKE_POSTGRES_DEGRADE_AFTER", "-5s"),
        ("SPOKE_POSTGRES_DEGRADE_AFTER", "5 parsecs"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        settings(tmp_path, **{name: value})


def test_a_socket_whose_path_would_be_too_long_is_left_out(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    found = settings(tmp_path, SPOKE_RUN_DIR=str(deep))
    assert found.socket_path is None
    assert "unix_socket_directories=" in command_line(found, [])


def test_the_socket_lies_where_debians_psql_looks_when_no_folder_is_named(tmp_path: Path) -> None:
    found = settings(tmp_path, SPOKE_RUN_DIR="")
    assert str(found.socket_path) == "/var/run/postgresql/.s.PGSQL.5432"


def test_no_password_stands_in_the_servers_files_or_arguments(tmp_path: Path) -> None:
    text = written(tmp_path) + (tmp_path / "pg_hba.conf").read_text() + " ".join(command_line(settings(tmp_path), []))
    assert NASTY not in text
    assert "p'a" not in text.replace("''", "'")


def test_files_of_the_server_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    written(tmp_path)
    write_passfile(settings(tmp_path))
    for name in ("spoke.conf", "pg_hba.conf", "postgresql.conf", "postgres-primary.pgpass"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_passfile_escapes_its_separators(tmp_path: Path) -> None:
    write_passfile(settings(tmp_path, SPOKE_POSTGRES_REPLICATION_PASSWORD="a:b\\c"))
    assert "*:*:*:replicator:a\\:b\\\\c\n" in (tmp_path / "postgres-primary.pgpass").read_text()


def test_the_included_file_is_named_once_however_often_it_is_written(tmp_path: Path) -> None:
    written(tmp_path)
    found = settings(tmp_path)
    write_configuration(found, tmp_path, 18, [], waits=True)
    write_configuration(found, tmp_path, 18, [], waits=True)
    assert (tmp_path / "postgresql.conf").read_text() == "port = 1\ninclude_if_exists = 'spoke.conf'\n"


@pytest.mark.parametrize("extra", [("-c", "work_mem=8MB"), ("-cwork_mem=8MB",), ("--work-mem=8MB",)])
def test_extra_settings_stand_in_the_file_too_where_single_user_recovery_sees_them(
    tmp_path: Path, extra: tuple[str, ...]
) -> None:
    assert "work_mem = '8MB'" in written(tmp_path, 18, *extra)
    assert command_line(settings(tmp_path), extra)[-len(extra) :] == list(extra)


def test_an_extra_setting_wins_over_the_stacks(tmp_path: Path) -> None:
    assert re.findall(r"max_connections = .*", written(tmp_path, 18, "-c", "max_connections=50")) == [
        "max_connections = '50'"
    ]


def test_only_18_and_later_are_told_how_to_do_io(tmp_path: Path) -> None:
    assert "io_method" in written(tmp_path, 18)
    assert "io_method" not in written(tmp_path, 17)


def test_connection_strings_quote_what_they_hold() -> None:
    assert conninfo(host="h", user="o'neil\\") == r"host='h' user='o\'neil\\'"


def test_statements_quote_names_and_passwords(tmp_path: Path) -> None:
    text = role_statements(settings(tmp_path, SPOKE_POSTGRES_USER='we"ird', SPOKE_POSTGRES_PASSWORD="it's"))
    assert "CREATE ROLE \"we\"\"ird\" LOGIN PASSWORD 'it''s' IN ROLE pg_monitor;\n\n" in text
    assert "SUPERUSER" not in text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("", 5.0), ("5s", 5.0), ("7", 7.0), ("2500ms", 2.5), ("2m", 120.0), ("1min", 60.0), ("1h", 3600.0), ("never", None)],
)
def test_when_a_standby_is_given_up_is_a_time_or_never(tmp_path: Path, value: str, seconds: float | None) -> None:
    assert settings(tmp_path, SPOKE_POSTGRES_DEGRADE_AFTER=value).degrade_after_s == seconds


@pytest.mark.parametrize(("value", "on"), [("", True), ("on", True), ("OFF", False), ("no", False), ("1", True)])
def test_replication_is_synchronous_unless_it_is_switched_off(tmp_path: Path, value: str, on: bool) -> None:
    assert settings(tmp_path, SPOKE_POSTGRES_SYNCHRONOUS=value).synchronous is on


def test_whether_commits_wait_stands_in_the_file_that_each_start_writes_anew(tmp_path: Path) -> None:
    assert "synchronous_standby_names = 'ANY 1 (spoke_standby)'\n" in written(tmp_path)
    write_configuration(settings(tmp_path), tmp_path, 18, [], waits=False)
    assert "synchronous_standby_names = ''\n" in (tmp_path / "spoke.conf").read_text()


@pytest.mark.parametrize(
    "extra",
    [("-c", "synchronous_standby_names=*"), ("-csynchronous_standby_names=",), ("--synchronous-standby-names=a",)],
)
def test_an_argument_may_not_say_for_whom_commits_wait(extra: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="SPOKE_POSTGRES_SYNCHRONOUS"):
        refuse_reserved(extra)
    refuse_reserved(["-c", "work_mem=8MB"])
