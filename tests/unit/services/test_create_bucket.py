"""The job's rules: what is a success, what is worth another try."""

from __future__ import annotations

import importlib.util
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from botocore.exceptions import EndpointConnectionError, InvalidRegionError, ReadTimeoutError

SCRIPT = Path(__file__).parents[3] / "stack" / "services" / "job" / "create_bucket.py"
BUCKET = "spoke-storage"


@pytest.fixture(scope="module")
def job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("create_bucket", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Store:
    """Answers in the order given: None is a success. Keeps what it was asked."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, str]] = []

    def ask(self, method: str, bucket: str) -> None:
        self.asked.append((method, bucket))
        answer = self._answers.pop(0)
        if answer is not None:
            raise answer


def test_a_bucket_that_is_there_is_left_alone(job: ModuleType) -> None:
    store = Store(None)
    assert job.make_bucket(store, BUCKET) is False
    assert store.asked == [("HEAD", BUCKET)]


def test_a_missing_bucket_is_created(job: ModuleType) -> None:
    store = Store(job.Refusal(404, ""), None)
    assert job.make_bucket(store, BUCKET) is True
    assert store.asked == [("HEAD", BUCKET), ("PUT", BUCKET)]


def test_a_bucket_that_another_run_created_in_between_is_a_success(job: ModuleType) -> None:
    assert job.make_bucket(Store(job.Refusal(404, ""), job.Refusal(409, "BucketAlreadyOwnedByYou")), BUCKET) is False


@pytest.mark.parametrize("before", [[], [(404, "")]], ids=["HEAD", "PUT"])
def test_a_refusal_is_not_taken_for_an_absence(before: list[tuple[int, str]], job: ModuleType) -> None:
    store = Store(*(job.Refusal(*each) for each in before), job.Refusal(403, "AccessDenied"))
    with pytest.raises(job.Refusal, match="the store answered 403 AccessDenied"):
        job.make_bucket(store, BUCKET)


def test_a_store_that_is_late_is_asked_again(job: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    late = EndpointConnectionError(endpoint_url="http://x")
    assert job.make_bucket_patiently(Store(late, job.Refusal(503, "SlowDown"), None), BUCKET, "http://x") is False
    assert capsys.readouterr().err.count("waiting for the store at http://x") == 1


@pytest.mark.parametrize(
    ("fault", "passes"),
    [
        (EndpointConnectionError(endpoint_url="http://x"), True),
        (ReadTimeoutError(endpoint_url="http://x"), True),
        ((503, "ServiceUnavailable"), True),
        ((403, "SignatureDoesNotMatch"), False),
        ((400, "InvalidBucketName"), False),
        (InvalidRegionError(region_name="?"), False),
    ],
    ids=str,
)
def test_only_what_time_can_heal_is_tried_again(fault: Exception | tuple[int, str], passes: bool, job: ModuleType) -> None:
    assert job.may_pass(job.Refusal(*fault) if isinstance(fault, tuple) else fault) is passes


@pytest.mark.parametrize("name", ["", "..", "a/b", "-ab", "a b", "x" * 256])
def test_what_is_no_name_of_a_bucket_is_refused_before_anybody_is_asked(
    name: str, job: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"ENDPOINT": "http://127.0.0.1:9", "ACCESS_KEY": "x", "SECRET_KEY": "x", "BUCKET": name}
    for key, value in settings.items():
        monkeypatch.setenv(f"SPOKE_S3_{key}", value)
    assert job.main() == 1
    assert f"cannot use SPOKE_S3_BUCKET={name}: expected" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["", "nonsense", "ftp://h", "http://", "http://h:notaport", "http://[::1", "http://h h"])
def test_what_is_no_address_is_none(place: str, job: ModuleType) -> None:
    assert not job.is_address(place)


@pytest.mark.parametrize("place", ["http://minio:9000", "https://[::1]:9000/", "HTTPS://store.example/storage/v1/s3"])
def test_an_address_may_have_a_path(place: str, job: ModuleType) -> None:
    assert job.is_address(place)


def test_a_request_is_signed_and_an_answer_is_read(job: ModuleType) -> None:
    asked: list[tuple[str, str, str]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(200, b"")

        def do_PUT(self) -> None:
            self._answer(409, b"<Error><Code>BucketAlreadyOwnedByYou</Code></Error>")

        def _answer(self, status: int, body: bytes) -> None:
            asked.append((self.command, self.path, self.headers["Authorization"].split("/")[0]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """The test's output is its own."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            store = job.S3(f"http://127.0.0.1:{server.server_port}/s3/", "us-east-1", "key", "secret")
            store.ask("HEAD", BUCKET)
            with pytest.raises(job.Refusal) as refused:
                store.ask("PUT", BUCKET)
        finally:
            server.shutdown()
            serving.join()
    assert (refused.value.status, refused.value.code) == (409, "BucketAlreadyOwnedByYou")
    signed = "AWS4-HMAC-SHA256 Credential=key"
    assert asked == [("HEAD", f"/s3/{BUCKET}", signed), ("PUT", f"/s3/{BUCKET}", signed)]
