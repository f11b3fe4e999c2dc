"""Which registry is meant, and a connection to it: the load balancer of a stack, or any address."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from spokectl.errors import Failed, SpokectlError, UsageError
from spokectl.printable import quoted, shortened
from spokectl.settings import command_line

if TYPE_CHECKING:
    from spokectl.clients.registry import Page, RegistryClient
    from spokectl.model import Stack

_MAX_BODY_BYTES = 10 << 20
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a port may be bound to, not bound here

Noun = TypeVar("Noun")
Observe = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """The registry at `url`, else that of the stack. `waiting` hears why a request is repeated, `trace` of every answer."""

    stack: str
    file: Path | None
    url: str | None
    timeout_s: float
    waiting: Observe
    trace: Observe

    def command(self, words: str) -> str:
        """What to type for `words` to mean this registry."""
        return command_line(self.stack, words) if self.url is None else f"spokectl {words} --url {word(self.url)}"


def registry_url(target: Target) -> str:
    """The address of the registry. UsageError (`bad_url`) when it cannot be one."""
    if target.url is not None:
        return _checked_url(target.url)
    return address_of(_stack(target.stack, target.file))


def address_of(stack: "Stack") -> str:
    """The address of the stack's registry. Refused (`no_load_balancer`) when the stack file has none."""
    from spokectl.operations.context import load_balancer

    service = load_balancer(stack)
    return url_at(service.address(service.health.port))


def url_at(address: tuple[str, int]) -> str:
    """The URL of what is published there, as it is reached from this machine."""
    host, port = reached(address)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reached(address: tuple[str, int]) -> tuple[str, int]:
    """Where a published address is reached from this machine: one of all interfaces at the loopback."""
    host, port = address
    return _ANY_ADDRESS.get(host, host), port


def max_body_bytes(target: Target) -> int:
    """What the registry takes in one request, as far as this side can know; more is a 413."""
    setting = None if target.url is not None else _stack(target.stack, target.file).settings.get("SPOKE_MAX_BODY_MIB")
    return int(setting.value) << 20 if setting is not None and setting.value.isdecimal() else _MAX_BODY_BYTES


def connect(target: Target) -> "RegistryClient":
    """A client for the registry; nothing is sent yet. What mends a stack that is down is part of its errors."""
    from spokectl.clients.registry import RegistryClient

    of_stack = target.url is None
    return RegistryClient(
        registry_url(target),
        timeout_s=target.timeout_s,
        waiting=target.waiting,
        trace=target.trace,
        when_down=[target.command("up")] if of_stack else ["check the address (--url, SPOKECTL_URL)"],
        when_failing=[target.command("status")] if of_stack else [],
    )


def every(fetch: Callable[[str | None], "Page[Noun]"]) -> Iterator[Noun]:
    """The items of all pages; `fetch` gets the cursor of each, None first."""
    page = fetch(None)
    yield from page.items
    while page.next_cursor is not None:
        asked = page.next_cursor
        page = fetch(asked)
        yield from page.items
        if page.next_cursor == asked:
            raise Failed("bad_answer", "the registry's pages go round in a circle")


@cache
def _stack(name: str, file: Path | None) -> "Stack":
    from spokectl.operations.context import open_stack, require_known

    require_known(name)
    return open_stack(name, file)


@contextmanager
def hints(**actions: str) -> Iterator[None]:
    """Adds what to type next to an error of the registry, by the registry's own code."""
    try:
        yield
    except SpokectlError as error:
        action = actions.get(str(error.details.get("code", "")))
        if action is not None and not error.actions:
            error.actions = (action,)
        raise


def word(text: str) -> str:
    """The text as one word of a command to type."""
    return shlex.quote(shortened(text, 200))


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username is not None or " " in url:
        raise UsageError(
            "bad_url",
            f"{quoted(_without_user(url), 200)} is not the address of a registry",
            actions=["write it like --url http://127.0.0.1:8080"],
        )
    return url


def _without_user(url: str) -> str:
    """The address without what may be a password."""
    scheme, separator, rest = url.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]
