"""What handlers work with."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from spoke_server.catalog import Catalog
from spoke_server.publish import Publisher
from spoke_server.settings import Settings


@dataclass(frozen=True)
class Services:
    """The parts of the server that answer requests."""

    settings: Settings
    catalog: Catalog
    publisher: Publisher


def services(request: Request) -> Services:
    """The services of the application that the request came to."""
    found: Services = request.scope["services"]
    return found
