"""Which settings are secret, which values everybody knows, and what may be done with those. Pure."""

import ipaddress
import re
import string
from collections.abc import Callable, Collection
from dataclasses import dataclass

from spokectl.errors import Refused
from spokectl.model import Kind, Stack
from spokectl.settings import command_line

# What stands in this project's own files and texts, and what every list of passwords begins with.
WELL_KNOWN = frozenset(
    {
        *("spoke-password", "replicator-password", "operator-password", "spoke-redis-password"),
        *("admin", "changeme", "minioadmin", "password", "postgres", "redis", "secret", "spoke", "test"),
    }
)
SECRET_WORDS = ("PASSWORD", "SECRET", "TOKEN")
_OF_A_DATABASE = re.compile(r"SPOKE_POSTGRES_(\w+_)?(USER|PASSWORD|DATABASE)\Z")
# Who asks for a password. A Spoke only knows those of others.
_ASKS = frozenset({Kind.POSTGRES, Kind.REDIS, Kind.S3})
# 190 bits. Letters and digits mean nothing to any shell, file or address, and a letter first is neither option nor number.
_FIRST, _ALPHABET = string.ascii_letters, string.ascii_letters + string.digits
_LENGTH = 32
# MinIO takes no secret key of fewer characters and cuts blanks off its ends, Redis no password of more bytes.
_SHORTEST_KEY, _LONGEST_BYTES = 8, 512


def is_secret(name: str) -> bool:
    return any(word in name for word in SECRET_WORDS)


def is_of_a_database(name: str) -> bool:
    """Whether the value goes into PostgreSQL's data, where it stays."""
    return _OF_A_DATABASE.match(name) is not None


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches the address. A name other than localhost may mean any address."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def chosen(stack: Stack) -> dict[str, str]:
    """A random value for every secret setting of the stack that nobody has set."""
    left = [each.name for each in stack.settings.values() if each.source == "default" and each.name.startswith("SPOKE_")]
    return {name: _random() for name in left if is_secret(name)}


def _random() -> str:
    import secrets

    return secrets.choice(_FIRST) + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH - 1))


def expected_of_secret(name: str, value: str) -> str | None:
    """What was expected in place of a secret that one of the servers would not take; None when all take it."""
    if not value.isprintable() or len(value.encode()) > _LONGEST_BYTES:
        return f"characters that can be shown, at most {_LONGEST_BYTES} bytes of them"
    if name.endswith("SECRET_KEY") and len(value.strip()) < max(_SHORTEST_KEY, len(value)):
        return f"at least {_SHORTEST_KEY} characters, no blank first or last, as MinIO wants them"
    return None


@dataclass(frozen=True)
class Exposed:
    """A server that others reach, and the secrets of it that everybody knows."""

    service: str
    host: str
    variables: tuple[str, ...]


def exposed(stack: Stack, services: Collection[str]) -> list[Exposed]:
    """Those of the services that would ask for a well-known password at an address that others reach."""
    found = []
    for service in (stack.services[name] for name in services):
        hosts = [port.host for port in service.ports if not is_loopback(port.host)]
        known = tuple(name for name, value in service.environment.items() if is_secret(name) and value in WELL_KNOWN)
        if service.kind in _ASKS and hosts and known:
            found.append(Exposed(service.name, hosts[0], known))
    return found


def require_own_secrets(stack: Stack, services: Collection[str], has_data: Callable[[], bool]) -> None:
    """Refused (`well_known_passwords`) where anybody in reach could log in with a password that everybody knows."""
    found = exposed(stack, services)
    if not found:
        return
    names = sorted({name for each in found for name in each.variables})
    hosts = sorted({each.host for each in found})
    raise Refused(
        "well_known_passwords",
        f"{', '.join(each.service for each in found)} would listen on {', '.join(hosts)}, where others can log in: "
        f"everybody knows the value of {', '.join(names)}",
        actions=_ways_out(stack, names, has_data=has_data()),
        details={"settings": names, "addresses": hosts, "services": [each.service for each in found]},
    )


def _ways_out(stack: Stack, names: list[str], *, has_data: bool) -> list[str]:
    """The commands that mend it, in the order in which they are to be typed; the last two are other ways."""

    def typed(words: str) -> str:
        return command_line(stack.name, words)

    source = {name: stack.settings[name].source for name in names if name in stack.settings}
    steps = []
    if has_data and any(is_of_a_database(name) for name in names):
        steps.append(typed("down --volumes") + "  # deletes all data: the database keeps its passwords")
    steps += [f"unset {name}" for name, where in source.items() if where == "shell"]
    if kept := [name for name, where in source.items() if where == "file"]:
        steps.append(typed(f"config unset {' '.join(kept)}"))
    return [
        *steps,
        typed("up --generate-secrets"),
        f"or passwords of your own: {typed(f'config set {names[0]}=-')} < FILE",
        f"or stay on this machine: {typed('config set SPOKE_BIND=127.0.0.1')}",
    ]


def require_no_database(stack: Stack, names: Collection[str], has_data: Callable[[], bool]) -> None:
    """Refused (`secrets_in_use`) when new secrets would lock everybody out of a database that exists."""
    fixed = sorted(name for name in names if is_of_a_database(name))
    if not fixed or not has_data():
        return
    raise Refused(
        "secrets_in_use",
        f"the stack {stack.name} has data, and its database keeps the passwords that it was made with: {', '.join(fixed)}",
        actions=[
            command_line(stack.name, "down --volumes") + "  # deletes all data; then: up --generate-secrets",
            "bring up another stack with them: spokectl up --generate-secrets --stack NAME --port-offset 1000",
        ],
        details={"settings": fixed},
    )
