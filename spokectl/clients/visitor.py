"""One request after the other, as somebody with curl makes them: who answered, from which cache, and how fast."""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from spokectl.clients.http import httpx
from spokectl.errors import Failed

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Visit:
    """An answer. `instance` and `cache` are what its headers name (memory, redis, miss), empty without them."""

    status: int
    instance: str
    cache: str
    took_s: float
    text: str


class Visitor:
    """Asks at one address, over a connection that stays open. Failed (`no_answer`) when none comes."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False)

    def get(self, path: str, request_id: str = "") -> Visit:
        """`request_id` is what the logs will call the request."""
        headers = {"X-Request-ID": request_id} if request_id else {}
        began_s = time.monotonic()
        try:
            answer = self._http.get(path, headers=headers)
        except httpx.HTTPError as error:
            raise Failed("no_answer", f"GET {path}: {error}", actions=["spokectl status"]) from error
        took_s = time.monotonic() - began_s
        named = answer.headers
        return Visit(
            answer.status_code, named.get("x-spoke-instance", ""), named.get("x-spoke-cache", ""), took_s, answer.text
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()
