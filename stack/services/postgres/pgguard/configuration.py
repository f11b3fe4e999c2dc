"""The files that the server reads: rendered from the settings at each start, so that none is ever another node's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgguard.settings import STANDBY_NAME, SUPERUSER, SYNCHRONOUS_NAMES, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INCLUDED = "spoke.conf"
_HEADER = "# Written by the guard at each start; an edit here does not last.\n"


def write_configuration(
    settings: Settings, directory: Path, major_version: int, extra: Sequence[str], *, waits: bool
) -> None:
    """Writes spoke.conf and pg_hba.conf into a data directory and has postgresql.conf include the first.

    `waits`: commits wait for the standby. It stands here rather than in postgresql.auto.conf, which base backups and
    rewinds carry from node to node: this file is written anew before each start, from what the record says then.

    Everything stands in files inside the data directory because the single-user recovery in and before pg_rewind sees
    neither command-line settings nor files elsewhere; without wal_keep_size it removes the WAL that pg_rewind needs.
    """
    options = {
        **_options(settings, major_version),
        "synchronous_standby_names": SYNCHRONOUS_NAMES if waits else "",
        **_named_options(extra),
    }
    lines = [f"{name} = {_quote(value)}" for name, value in options.items()]
    write_private(directory / INCLUDED, _HEADER + "\n".join(lines) + "\n")
    write_private(directory / "pg_hba.conf", _HEADER + _hba(settings))
    main = directory / "postgresql.conf"
    text = main.read_text()
    include = f"include_if_exists = '{INCLUDED}'"
    if include not in text.splitlines():
        write_private(main, f"{text.rstrip()}\n{include}\n")


def refuse_reserved(extra: Sequence[str]) -> None:
    """Raises SettingsError when an argument sets what only the guard may set."""
    if "synchronous_standby_names" in _named_options(extra):
        raise SettingsError("synchronous_standby_names is the guard's own: use SPOKE_POSTGRES_SYNCHRONOUS=on or off")


def command_line(settings: Settings, extra: Sequence[str]) -> list[str]:
    """Returns the arguments for `postgres`: what no postgresql.auto.conf may override, then the extra ones."""
    own = _node_options(settings)
    return [
        "-D",
        str(settings.data_dir),
        *(part for name, value in own.items() for part in ("-c", f"{name}={value}")),
        *extra,
    ]


def write_passfile(settings: Settings) -> None:
    """Writes the passwords of the roles that PostgreSQL's own programs log in with, readable by nobody else."""
    lines = [
        f"*:*:*:{_colons(login.user)}:{_colons(login.password)}\n" for login in (settings.replicator, settings.operator)
    ]
    write_private(settings.passfile, "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Replaces a file in one step; only its owner can read it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.rename(path)


def conninfo(**parameters: object) -> str:
    """Renders a libpq connection string."""

    def quote(value: object) -> str:
        return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"

    return " ".join(f"{name}={quote(value)}" for name, value in parameters.items())


def role_statements(settings: Settings) -> str:
    """Returns the SQL for roles, database and slot, for single-user mode with `-j`, where `;` and an empty line end one.

    The grants are made in template1 first, so that the database created from it has them: function rights are per database.
    pg_rewind's functions are those that its documentation lists for a role without superuser.
    """
    application, replicator, operator = settings.application, settings.replicator, settings.operator
    functions = (
        "pg_promote(boolean, integer)",
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    )
    who = _identifier(operator.user)
    statements = [
        f"CREATE ROLE {_identifier(application.user)} LOGIN PASSWORD {_literal(application.password)} IN ROLE pg_monitor",
        f"CREATE ROLE {_identifier(replicator.user)} LOGIN REPLICATION PASSWORD {_literal(replicator.password)}",
        f"CREATE ROLE {who} LOGIN REPLICATION PASSWORD {_literal(operator.password)}"
        " IN ROLE pg_monitor, pg_checkpoint, pg_use_reserved_connections",
        *(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {who}" for function in functions),
        f"CREATE DATABASE {_identifier(settings.database)} OWNER {_identifier(application.user)}",
        f"SELECT pg_create_physical_replication_slot({_literal(settings.slot)}, true)",
    ]
    return "".join(f"{statement};\n\n" for statement in statements)


def _node_options(settings: Settings) -> dict[str, str]:
    return {
        "port": str(settings.listen.port),
        "listen_addresses": settings.listen.host,
        "cluster_name": settings.node,
        "unix_socket_directories": str(settings.socket_dir or ""),
    }


def _options(settings: Settings, major_version: int) -> dict[str, str]:
    options = {
        **_node_options(settings),
        **settings.server_options,
        # Only the server's own user and root may use the socket, where no password is asked.
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "reserved_connections": "3",
        "wal_level": "replica",
        "wal_log_hints": "on",
        "hot_standby": "on",
        "hot_standby_feedback": "off",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "wal_retrieve_retry_interval": "200ms",
        # Below the stop grace: a fast shutdown waits for a standby that has frozen at most this long.
        "wal_sender_timeout": "10s",
        "wal_receiver_timeout": "10s",
        "wal_receiver_status_interval": "1s",
        "primary_conninfo": conninfo(
            host=settings.peer.host,
            port=settings.peer.port,
            user=settings.replicator.user,
            passfile=settings.passfile,
            application_name=STANDBY_NAME,
            connect_timeout=5,
            sslmode="disable",
        ),
        "primary_slot_name": settings.slot,
        "restart_after_crash": "on",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "jit": "off",
        # Nothing here uses logical replication; its launcher would be one more process.
        "max_logical_replication_workers": "0",
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_line_prefix": "%m [%p] ",
        "log_timezone": "UTC",
    }
    if major_version >= 18:
        # 18's default keeps three I/O worker processes per server for a database that fits into memory.
        options["io_method"] = "sync"
    return options


def _named_options(extra: Sequence[str]) -> dict[str, str]:
    """Finds `-c name=value`, `-cname=value` and `--name=value` among extra arguments."""
    named, arguments = {}, list(extra)
    for position, argument in enumerate(arguments):
        if argument == "-c" and position + 1 < len(arguments):
            pair = arguments[position + 1]
        elif argument.startswith(("--", "-c")):
            pair = argument[2:]
        else:
            continue
        name, equals, value = pair.partition("=")
        if equals:
            named[name.replace("-", "_")] = value
    return named


def _hba(settings: Settings) -> str:
    def name(user: str) -> str:
        return '"' + user.replace('"', '""') + '"'

    replicators = f"{name(settings.replicator.user)},{name(settings.operator.user)}"
    return (
        "# Only the server's own user and root may open the socket (unix_socket_permissions), so it asks for no password.\n"
        "local all all trust\n"
        "local replication all trust\n"
        f"host all {name(SUPERUSER)} all reject\n"
        f"host replication {replicators} all scram-sha-256\n"
        "host all all all scram-sha-256\n"
    )


def _quote(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _identifier(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _colons(value: str) -> str:
    return value.replace("\\", "\\\\").replace(":", "\\:")
