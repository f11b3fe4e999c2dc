"""The job's rules: what is a success, what is worth another try."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError, ReadTimeoutError
from botocore.stub import Stubber

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

SCRIPT = Path(__file__).parents[3] / "stack" / "services" / "job" / "create_bucket.py"
BUCKET = {"Bucket": "spoke-storage"}


@pytest.fixture(scope="module")
def job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("create_bucket", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def client() -> S3Client:
    return boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def error(code: str, status: int) -> ClientError:
    answer = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "CreateBucket")  # type: ignore[arg-type] # the fields that are read, no more


def test_a_bucket_that_is_there_is_left_alone(job: ModuleType, client: S3Client) -> None:
    with Stubber(client) as store:
        store.add_response("head_bucket", {}, BUCKET)
        assert job.make_bucket(client, "spoke-storage") is False
        store.assert_no_pending_responses()


def test_a_missing_bucket_is_created(job: ModuleType, client: S3Client) -> None:
    with Stubber(client) as store:
        store.add_client_error("head_bucket", "404", http_status_code=404)
        store.add_response("create_bucket", {}, BUCKET)
        assert job.make_bucket(client, "spoke-storage") is True


def test_a_bucket_that_another_run_created_in_between_is_a_success(job: ModuleType, client: S3Client) -> None:
    with Stubber(client) as store:
        store.add_client_error("head_bucket", "404", http_status_code=404)
        store.add_client_error("create_bucket", "BucketAlreadyOwnedByYou", http_status_code=409)
        assert job.make_bucket(client, "spoke-storage") is False


@pytest.mark.parametrize("method", ["head_bucket", "create_bucket"])
def test_a_refusal_is_not_taken_for_an_absence(method: str, job: ModuleType, client: S3Client) -> None:
    with Stubber(client) as store:
        if method == "create_bucket":
            store.add_client_error("head_bucket", "404", http_status_code=404)
        store.add_client_error(method, "AccessDenied", http_status_code=403)
        with pytest.raises(ClientError, match="AccessDenied"):
            job.make_bucket(client, "spoke-storage")


@pytest.mark.parametrize(
    ("fault", "passes"),
    [
        (EndpointConnectionError(endpoint_url="http://x"), True),
        (ReadTimeoutError(endpoint_url="http://x"), True),
        (error("ServiceUnavailable", 503), True),
        (error("SignatureDoesNotMatch", 403), False),
        (error("InvalidBucketName", 400), False),
        (ParamValidationError(report="bad name"), False),
    ],
)
def test_only_what_time_can_heal_is_tried_again(fault: Exception, passes: bool, job: ModuleType) -> None:
    assert job.may_pass(fault) is passes
