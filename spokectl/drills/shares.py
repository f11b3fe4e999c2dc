"""How a load balancer spreads requests, from who answered them and from what its own pages say. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

_LOGGED = re.compile(r'\bid=(?P<id>\S+) instance="(?P<instances>[^"]*)"')
_COUNTED = re.compile(r"^upstream (?P<name>\S+) requests (?P<requests>\d+) failed (?P<failed>\d+)$", re.MULTILINE)


def most_of_one(instances: int) -> float:
    """The largest share that one of them may have: half way from its even share to all."""
    return (1 + 1 / instances) / 2


def uneven(answered_by: Sequence[str], instances: Sequence[str]) -> list[str]:
    """What speaks against requests being spread over the instances, a sentence each; nothing when they are."""
    counts = Counter(answered_by)
    said = [f"{name} was not used" for name in instances if not counts[name]]
    said += [f"{name or 'nobody by name'} answered" for name in counts if name not in instances]
    most = most_of_one(len(instances))
    shares = ((name, count / len(answered_by)) for name, count in counts.items())
    return said + [f"{name} had {share:.0%}, more than {most:.0%}" for name, share in shares if share > most]


def told(counts: Mapping[str, int]) -> str:
    """`spoke-1 20, spoke-2 19`."""
    return ", ".join(f"{name or '?'} {count}" for name, count in sorted(counts.items()))


def logged(lines: Iterable[str], prefix: str) -> Counter[str]:
    """Which instance the load balancer's log names for the requests whose id begins so: of several tries the last."""
    found = (_LOGGED.search(line) for line in lines)
    return Counter(
        each["instances"].rpartition(", ")[2] for each in found if each is not None and each["id"].startswith(prefix)
    )


def counted(status_page: str) -> dict[str, tuple[int, int]]:
    """Requests and failed tries of each instance, by the load balancer's status page."""
    return {each["name"]: (int(each["requests"]), int(each["failed"])) for each in _COUNTED.finditer(status_page)}
