"""Whether Redis nodes and Sentinels agree on who is master. Pure: what each of them says in, what is wrong out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spokectl.model import Kind, Service


@dataclass(frozen=True)
class View:
    """What one node or Sentinel says. `role` is empty when it does not answer.

    `master` is whom a replica follows, or whom a Sentinel names: a service's name, else an address.
    """

    service: str
    kind: Kind
    role: str = ""
    master: str = ""


def disagreements(views: Iterable[View]) -> dict[str, str]:
    """What is wrong with each node or Sentinel in the light of what the others say; nothing when they agree.

    A majority of all Sentinels decides, as it does for them. One that does not answer is not judged.
    """
    everybody = list(views)
    nodes = [view for view in everybody if view.kind is Kind.REDIS and view.role]
    sentinels = [view for view in everybody if view.kind is Kind.SENTINEL and view.role]
    named = _named_by_majority(sentinels, sum(view.kind is Kind.SENTINEL for view in everybody))
    return _of_nodes(nodes, named) | _of_sentinels(sentinels, named)


def _named_by_majority(sentinels: Sequence[View], count: int) -> str:
    votes = Counter(view.master for view in sentinels if view.master).most_common(1)
    return votes[0][0] if votes and votes[0][1] * 2 > count else ""


def _of_nodes(nodes: Sequence[View], named: str) -> dict[str, str]:
    masters = [view.service for view in nodes if view.role == "master"]
    words = f"the Sentinels name {named}" if named else "no majority of the Sentinels names one"
    found = {}
    for view in nodes:
        if view.role == "master" and len(masters) > 1:
            found[view.service] = f"{' and '.join(masters)} both say master; {words}"
        elif view.role == "master" and named not in {"", view.service}:
            found[view.service] = f"says master, but {words}"
        elif view.role == "replica" and named == view.service:
            found[view.service] = "says replica, but the Sentinels name it as the master"
        elif view.role == "replica" and named not in {"", view.master}:
            found[view.service] = f"follows {view.master}, but {words}"
    return found


def _of_sentinels(sentinels: Sequence[View], named: str) -> dict[str, str]:
    if not named and len({view.master for view in sentinels}) > 1:
        every = ", ".join(f"{view.service} names {view.master or 'nobody'}" for view in sentinels)
        return {view.service: f"the Sentinels disagree: {every}" for view in sentinels}
    return {
        view.service: f"names {view.master or 'nobody'}, but most Sentinels name {named}"
        for view in sentinels
        if named and view.master != named
    }


def names_by_address(services: Iterable[Service]) -> dict[str, str]:
    """The service at each address that servers may use for it: its own name and port, or where it is published."""
    found = {}
    for service in services:
        for port in service.ports:
            found[f"{service.name}:{port.target}"] = service.name
            # A port that is published on all interfaces is reached at the loopback.
            for host in {port.host, "127.0.0.1"}:
                found[f"{host}:{port.published}"] = service.name
    return found
