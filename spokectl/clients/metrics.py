"""What a page of metrics in Prometheus's text form says."""

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from spokectl.clients.probe import NoAnswer, get

_LIMIT_BYTES = 8 << 20


@dataclass(frozen=True)
class Sample:
    """One line: a series' name, its labels and its value. `kind` is the page's word: counter, gauge, histogram, unknown."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float
    kind: str = "unknown"

    def label(self, name: str) -> str:
        """Empty without it."""
        return dict(self.labels).get(name, "")


def read_metrics(host: str, port: int, path: str = "/metrics", *, timeout_s: float) -> list[Sample]:
    """Every sample of the page. NoAnswer when there is none, or what comes is no such page."""
    answer = get(host, port, path, timeout_s=timeout_s, limit_bytes=_LIMIT_BYTES)
    if answer.status != 200:
        raise NoAnswer(f"{path} is answered by {answer.status}")
    try:
        return samples(answer.body.decode("utf-8", "replace"))
    except ValueError as error:
        raise NoAnswer(f"{path} is no page of metrics: {error}") from error


def samples(text: str) -> list[Sample]:
    """ValueError for a text of another form."""
    try:
        families = list(text_string_to_metric_families(text))
    except IndexError:  # the library looks behind the end of some
        raise ValueError("a line ends too early") from None
    return [
        Sample(str(each.name), tuple(sorted(each.labels.items())), float(each.value), str(family.type))
        for family in families
        for each in family.samples
    ]
