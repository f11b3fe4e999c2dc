"""What the guard is told by its environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# sun_path holds 104 bytes on macOS and 108 on Linux, with the closing zero.
MAX_SOCKET_PATH_BYTES = 100
SUPERUSER = "postgres"
# The application_name of whichever node is the standby; synchronous_standby_names names it.
STANDBY_NAME = "spoke_standby"
SYNCHRONOUS_NAMES = f"ANY 1 ({STANDBY_NAME})"
# Below this the guard of a standby promoted by hand might not have looked yet when the old primary gives it up.
_MIN_DEGRADE_AFTER_S = 2.0
_UNITS_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


class SettingsError(Exception):
    """A variable of the environment is missing or cannot be used."""


class Address(NamedTuple):
    host: str
    port: int


class Login(NamedTuple):
    user: str
    password: str


class Settings(NamedTuple):
    node: str
    first_role: str
    peer_node: str
    peer: Address
    listen: Address
    database: str
    application: Login
    replicator: Login
    operator: Login
    slot: str
    synchronous: bool
    degrade_after_s: float | None
    server_options: Mapping[str, str]
    data_dir: Path
    cluster_dir: Path
    run_dir: Path
    socket_dir: Path | None
    run_as: str | None

    @property
    def socket_path(self) -> Path | None:
        return self.socket_dir / f".s.PGSQL.{self.listen.port}" if self.socket_dir else None

    @property
    def passfile(self) -> Path:
        return self.run_dir / f"{self.node}.pgpass"

    @property
    def request_path(self) -> Path:
        return self.run_dir / f"{self.node}.request.json"


# The server's settings that the stack file offers, with the defaults for a container started without it.
_SERVER_OPTIONS = {
    "max_connections": ("SPOKE_POSTGRES_MAX_CONNECTIONS", "250"),
    "shared_buffers": ("SPOKE_POSTGRES_SHARED_BUFFERS", "64MB"),
    "wal_keep_size": ("SPOKE_POSTGRES_WAL_KEEP_SIZE", "256MB"),
    "max_slot_wal_keep_size": ("SPOKE_POSTGRES_MAX_SLOT_WAL_KEEP_SIZE", "2GB"),
}


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Reads the guard's settings; raises SettingsError naming the variable that is wrong."""

    def need(name: str) -> str:
        value = environ.get(name, "")
        if not value:
            raise SettingsError(f"{name} is not set: the stack file's postgres services set it")
        if any(ord(character) < ord(" ") for character in value):
            raise SettingsError(f"{name} holds a line break or another control character")
        return value

    first_role = need("SPOKE_POSTGRES_FIRST_ROLE")
    if first_role not in ("primary", "replica"):
        raise SettingsError(f"SPOKE_POSTGRES_FIRST_ROLE is {first_role!r}: expected primary or replica")
    run_dir = Path(environ.get("SPOKE_RUN_DIR") or "/tmp/spoke")  # noqa: S108 -- only in containers, where /tmp is private
    listen = Address(environ.get("SPOKE_LISTEN_ADDRESS") or "127.0.0.1", _port("SPOKE_POSTGRES_PORT", need))
    return Settings(
        node=need("SPOKE_NODE"),
        first_role=first_role,
        peer_node=need("SPOKE_POSTGRES_PEER_NODE"),
        peer=_address("SPOKE_POSTGRES_PEER", need("SPOKE_POSTGRES_PEER")),
        listen=listen,
        database=need("SPOKE_POSTGRES_DATABASE"),
        application=Login(need("SPOKE_POSTGRES_USER"), need("SPOKE_POSTGRES_PASSWORD")),
        replicator=Login(need("SPOKE_POSTGRES_REPLICATION_USER"), need("SPOKE_POSTGRES_REPLICATION_PASSWORD")),
        operator=Login(need("SPOKE_POSTGRES_OPERATOR_USER"), need("SPOKE_POSTGRES_OPERATOR_PASSWORD")),
        slot=_slot(environ.get("SPOKE_POSTGRES_SLOT") or "replica_slot"),
        synchronous=_switch("SPOKE_POSTGRES_SYNCHRONOUS", environ.get("SPOKE_POSTGRES_SYNCHRONOUS") or "on"),
        degrade_after_s=_degrade_after_s(environ.get("SPOKE_POSTGRES_DEGRADE_AFTER") or "5s"),
        server_options={name: environ.get(key) or default for name, (key, default) in _SERVER_OPTIONS.items()},
        data_dir=Path(need("PGDATA")),
        cluster_dir=Path(need("SPOKE_POSTGRES_CLUSTER_DIR")),
        run_dir=run_dir,
        socket_dir=_socket_dir(environ.get("SPOKE_RUN_DIR"), listen.port),
        run_as=environ.get("SPOKE_RUN_AS") or None,
    )


def _port(name: str, need: Callable[[str], str]) -> int:
    return _address(name, f"host:{need(name)}").port


def _address(name: str, value: str) -> Address:
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"{name} is {value.removeprefix('host:')!r}: expected a port (1 to 65535) or host:port")
    return Address(host, int(port))


def _switch(name: str, value: str) -> bool:
    word = value.lower()
    if word not in ("on", "off", "true", "false", "yes", "no", "1", "0"):
        raise SettingsError(f"{name} is {value!r}: expected on or off")
    return word in ("on", "true", "yes", "1")


def _degrade_after_s(value: str) -> float | None:
    if value.lower() == "never":
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|min|m|h)?", value.strip(), re.ASCII)
    seconds = float(found[1]) * _UNITS_S[found[2] or "s"] if found else 0.0
    if seconds < _MIN_DEGRADE_AFTER_S:
        raise SettingsError(
            f"SPOKE_POSTGRES_DEGRADE_AFTER is {value!r}: expected a time of at least {_MIN_DEGRADE_AFTER_S:g}s, or never"
        )
    return seconds


def _slot(name: str) -> str:
    if not name.isascii() or not name.replace("_", "a").isalnum() or name != name.lower() or len(name) > 63:
        raise SettingsError(f"SPOKE_POSTGRES_SLOT is {name!r}: a slot's name has lower-case letters, digits and _ only")
    return name


def _socket_dir(run_dir: str | None, port: int) -> Path | None:
    # Debian's psql and pg_isready look in /var/run/postgresql when nobody names a folder.
    directory = Path(run_dir or "/var/run/postgresql")
    return directory if len(str(directory / f".s.PGSQL.{port}").encode()) <= MAX_SOCKET_PATH_BYTES else None
