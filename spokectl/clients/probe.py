"""One HTTP request to ask whether a server answers, with the standard library: `status` pays for every import."""

import http.client
from dataclasses import dataclass


class NoAnswer(Exception):
    """The server did not answer in time; the text says why in one line."""


@dataclass(frozen=True)
class HttpAnswer:
    status: int
    body: bytes
    server: str


def get(host: str, port: int, path: str, *, timeout_s: float, limit_bytes: int = 65536) -> HttpAnswer:
    """The answer to a GET, whatever its status. NoAnswer when there is none within `timeout_s` a socket operation."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"User-Agent": "spokectl", "Connection": "close"})
        response = connection.getresponse()
        return HttpAnswer(response.status, response.read(limit_bytes), response.getheader("Server", "") or "")
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error
    finally:
        connection.close()
