"""Stands in for a Spoke: answers on an API and a health port, names itself, and tells what it was sent.

Usage: backend.py NAME API-PORT HEALTH-PORT [HOST]. `/answer/STATUS` answers with that status, `/slow/SECONDS` after a while;
`/budget/SECONDS` gives up, as a Spoke without a database does, so long after the load balancer has received the request.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body leave in one piece, as from the Spoke: nobody can repeat a request whose answer has begun.
    wbufsize = 64 * 1024
    name: ClassVar[str] = ""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, verb, *rest = self.path.split("?")[0].split("/")
        status = int(rest[0]) if verb == "answer" else 200
        if verb == "slow":
            time.sleep(float(rest[0]))
        if verb == "budget":
            time.sleep(max(0.0, float(self.headers["X-Spoke-Received"]) + float(rest[0]) - time.time()))
            status = 503
        told = {
            "instance": self.name,
            "path": self.path,
            "port": self.connection.getsockname()[1],
            "from_port": self.client_address[1],
            "method": self.command,
            "body_bytes": len(body),
            "headers": {key.lower(): value for key, value in self.headers.items()},
        }
        text = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("X-Spoke-Instance", self.name)
        self.send_header("Content-Length", str(len(text)))
        if status == 503:
            self.send_header("Retry-After", "7")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def handle_one_request(self) -> None:
        # The load balancer hangs up on an instance that was frozen too long.
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 # names that http.server looks up

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class's name
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    name, api_port, health_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    Handler.name = name
    host = sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1"
    health = Server((host, health_port), Handler)
    threading.Thread(target=health.serve_forever, daemon=True).start()
    Server((host, api_port), Handler).serve_forever()


if __name__ == "__main__":
    main()
