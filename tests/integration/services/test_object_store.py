"""The S3 store and the job that makes the bucket, run by their entry scripts."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from tests.ports import free_ports

from .running import Service, wait_until

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

pytestmark = pytest.mark.integration

SECRET = 'a "secret" \\ # $x'


class Store:
    """nanio, and the job with the same settings."""

    def __init__(self, place: Path, tools: Path) -> None:
        self.place, self.tools = place, tools
        [port] = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            "SPOKE_NODE": "minio",
            "SPOKE_LISTEN_ADDRESS": "127.0.0.1",
            "SPOKE_S3_PORT": str(port),
            "SPOKE_S3_SERVER": "nanio",
            "SPOKE_S3_ACCESS_KEY": "spoke",
            "SPOKE_S3_SECRET_KEY": SECRET,
            "SPOKE_S3_DATA_DIR": str(place / "data"),
        }
        self.server = Service("s3", place / "minio", tools, environment)

    def job(self, **changed: str) -> Service:
        environment = {
            "SPOKE_NODE": "minio-init",
            "SPOKE_S3_ENDPOINT": self.url,
            "SPOKE_S3_BUCKET": "spoke-storage",
            "SPOKE_S3_ACCESS_KEY": "spoke",
            "SPOKE_S3_SECRET_KEY": SECRET,
        }
        job = Service("job", self.place / "minio-init", self.tools, environment | changed)
        job.start()
        return job

    def client(self) -> S3Client:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="spoke",
            aws_secret_access_key=SECRET,
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )


@pytest.fixture
def store(place: Path, tools: Path) -> Iterator[Store]:
    store = Store(place, tools)
    try:
        yield store
    finally:
        store.server.stop(signal.SIGKILL)


def test_the_job_waits_for_the_store_and_may_run_again(store: Store) -> None:
    job = store.job()
    wait_until(lambda: "waiting for the store" in job.log, "the job has asked in vain")
    store.server.start()
    assert job.wait() == 0, job.log
    assert "bucket spoke-storage created" in job.log
    again = store.job()
    assert again.wait() == 0
    assert "bucket spoke-storage was there already" in again.log
    assert len(again.log.splitlines()) == 3, "two lines, and one for the second run"
    process = store.server.process
    assert process is not None
    assert SECRET not in Path(f"/proc/{process.pid}/cmdline").read_text()


def test_objects_outlive_a_kill_and_log_lines_begin_with_their_time(store: Store) -> None:
    store.server.start()
    assert store.job().wait() == 0
    store.client().put_object(Bucket="spoke-storage", Key="a/b", Body=b"bytes")
    store.server.stop(signal.SIGKILL)
    store.server.start()

    def read() -> bytes:
        try:
            return store.client().get_object(Bucket="spoke-storage", Key="a/b")["Body"].read()
        except BotoCoreError as error:
            raise ConnectionError(str(error)) from error

    assert wait_until(read, "the object is there again") == b"bytes"
    lines = store.server.log.splitlines()
    assert lines
    assert all(re.match(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d", line) for line in lines), lines
    assert not [line for line in lines if "GET /" in line or "PUT /" in line], "no access log"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"SPOKE_S3_SECRET_KEY": "wrong"}, "bucket spoke-storage was not created at http://"),
        (
            {"SPOKE_S3_ENDPOINT": "nonsense"},
            "cannot use SPOKE_S3_ENDPOINT=nonsense: expected http://HOST:PORT or https://HOST:PORT",
        ),
        ({"SPOKE_S3_BUCKET": "A Bad Name"}, "cannot use SPOKE_S3_BUCKET=A Bad Name: expected letters, digits"),
    ],
)
def test_settings_that_cannot_work_end_at_once_with_one_line(changed: dict[str, str], said: str, store: Store) -> None:
    store.server.start()
    first = store.job()
    assert first.wait() == 0
    lines_before = len(first.log.splitlines())
    job = store.job(**changed)
    assert job.wait() == 1
    [line] = job.log.splitlines()[lines_before:]
    assert said in line


def test_an_unknown_store_is_refused_with_the_choice(store: Store) -> None:
    store.server.environment = {**store.server.environment, "SPOKE_S3_SERVER": "floppy"}
    store.server.start()
    assert store.server.wait() == 1
    assert "choose minio, versitygw or nanio" in store.server.log
