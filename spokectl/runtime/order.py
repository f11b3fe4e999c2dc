"""In which order services stop. Pure."""

from collections.abc import Callable, Iterable

from spokectl.model import Kind, Service

_FIRST = frozenset({Kind.LOAD_BALANCER, Kind.SPOKE, Kind.JOB})


def stop_stages(services: Iterable[Service], is_standby: Callable[[Service], bool]) -> list[list[str]]:
    """Groups that stop together, one group after the other.

    Who asks goes before who answers, so that no request meets a server that has gone; and a standby before its primary,
    which can then end without waiting for it.
    """
    stages: list[list[str]] = [[], [], []]
    for service in services:
        if service.kind in _FIRST:
            stages[0].append(service.name)
        elif service.kind is Kind.POSTGRES and not is_standby(service):
            stages[2].append(service.name)
        else:
            stages[1].append(service.name)
    return [stage for stage in stages if stage]
