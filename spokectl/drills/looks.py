"""What drills ask a stack beside how its services are: who answers, what metrics say."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from spokectl.clients.visitor import Visit, Visitor
from spokectl.drills import series, shares
from spokectl.model import Kind, Service
from spokectl.operations.context import Context
from spokectl.operations.health import probe
from spokectl.operations.metrics import read_pages
from spokectl.operations.registry import address_of

_TIMEOUT_S = 5.0
_LOOK_S = 0.05


def visits(context: Context, path: str, count: int, request_ids: str = "") -> list[Visit]:
    """Asks the load balancer, one request after the other. `request_ids`: what the logs call them, with a number behind."""
    with Visitor(address_of(context.stack)) as visitor:
        return [visitor.get(path, f"{request_ids}{number}" if request_ids else "") for number in range(count)]


def counted(context: Context) -> dict[str, tuple[int, int]]:
    """Requests and failed tries of each instance, as the load balancer counts them."""
    return shares.counted(visits(context, "/nginx_status", 1)[0].text)


def totals(name: str, sources: Sequence[Service]) -> dict[str, float]:
    """What the services' pages of metrics say of the series, by instance; nothing for one that does not answer."""
    found: dict[str, float] = {}
    for page in read_pages(sources):
        found |= series.totals(page.samples, name, "" if page.kind is Kind.COLLECTOR else page.service)
    return found


@contextmanager
def roles_said(service: Service) -> Iterator[list[str]]:
    """Asks the service for its role all the time, and keeps what it says; silence is left out."""
    said: list[str] = []
    over = threading.Event()

    def listen() -> None:
        while not over.wait(_LOOK_S):
            if role := probe(service, timeout_s=_TIMEOUT_S).role:
                said.append(role)

    listener = threading.Thread(target=listen, name=f"roles of {service.name}", daemon=True)
    listener.start()
    try:
        yield said
    finally:
        over.set()
        listener.join(timeout=2 * _TIMEOUT_S)
