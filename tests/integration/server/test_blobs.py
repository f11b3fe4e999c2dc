"""What a push costs the object store: each content once, also when the push is given up half-way and sent again."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from spoke_server.storage.blobs import GROUP, object_key
from spoke_server.storage.stored_blobs import BELIEVED_S
from tests.integration.server.backends import BUCKET, HOST, Spoke
from tests.integration.server.fixtures import Stack

pytestmark = pytest.mark.integration


class CountingStore(ThreadingHTTPServer):
    """An S3 server that knows what it was asked, and takes no more than a number of objects."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, takes: int) -> None:
        super().__init__((HOST, 0), _Handler)
        self.takes = takes
        # Sets: on a busy machine a client may lose patience and ask for the same once more.
        self.objects: set[str] = set()
        self.put_again: set[str] = set()
        self.looks = 0
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingStore

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            known = self.path in self.server.objects
            taken = known or len(self.server.objects) < self.server.takes
            if known:
                self.server.put_again.add(self.path)
            elif taken:
                self.server.objects.add(self.path)
        self._answer(200 if taken else 503)

    def do_HEAD(self) -> None:
        with self.server.lock:
            self.server.looks += 1
        self._answer(404)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def counting_store(takes: int) -> Iterator[CountingStore]:
    with CountingStore(takes) as store:
        thread = threading.Thread(target=store.serve_forever)
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()


def push(spoke: Spoke, module: str, version: str, count: int) -> httpx.Response:
    files = [{"path": f"{number}.txt", "content": f"{module} {number}"} for number in range(count)]
    url = f"{spoke.url}/modules/{module}/versions"
    return httpx.post(url, json={"version": version, "files": files}, timeout=60)


def test_a_push_goes_on_where_one_before_it_ended_through_any_instance(stack: Stack, module: str) -> None:
    count, taken = 4 * GROUP, 3 * GROUP
    with counting_store(takes=taken) as store:
        first, second = (stack.spoke(SPOKE_S3_ENDPOINT=store.endpoint).start() for _ in range(2))
        # Its retry budget is long enough for any machine to bring the store to the point where it takes no more.
        refused = push(first, module, "v1.0.0", count)
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
        assert len(store.objects) == taken
        store.takes = count
        store.put_again.clear()
        assert push(second, module, "v1.0.0", count).status_code == 201
        assert len(store.objects) == count
        last = store.objects.copy()
        assert push(first, module, "v1.1.0", count).status_code == 201
        assert store.objects == last
        # At most the group under way is put once more; what cannot be there is not looked for.
        assert len(store.put_again) <= count - taken
        assert store.looks == 0
        for spoke in (first, second):
            spoke.stop()


def test_a_bucket_that_was_emptied_fills_again_with_what_is_pushed(
    stack: Stack, three_spokes: list[Spoke], module: str
) -> None:
    assert push(three_spokes[0], module, "v1.0.0", 3).status_code == 201
    hashes = [hashlib.sha256(f"{module} {number}".encode()).hexdigest() for number in range(3)]
    keys = [object_key(each) for each in hashes]
    client = stack.store.client()
    for key in keys[:2]:
        client.delete_object(Bucket=BUCKET, Key=key)
    untouched = client.head_object(Bucket=BUCKET, Key=keys[2])["LastModified"]
    past = f"UPDATE stored_blobs SET stored_at = now() - interval '{BELIEVED_S + 1} s' WHERE content_hash = ANY(%s)"
    stack.postgres.sql(past, hashes)
    assert push(three_spokes[1], module, "v1.1.0", 3).status_code == 201
    assert set(keys) <= stack.store.object_names()
    assert client.head_object(Bucket=BUCKET, Key=keys[2])["LastModified"] == untouched
    seen = "SELECT count(*) FROM stored_blobs WHERE content_hash = ANY(%s) AND stored_at > now() - interval '600 s'"
    assert stack.postgres.sql(seen, hashes) == [(3,)]


def test_more_files_than_a_version_may_hold_are_refused_with_both_numbers(three_spokes: list[Spoke], module: str) -> None:
    refused = push(three_spokes[0], module, "v1.0.0", 1001)
    assert (refused.status_code, refused.json()["code"]) == (400, "too_many_files")
    assert refused.json()["error"] == "files: a version holds at most 1000 files, got 1001"
