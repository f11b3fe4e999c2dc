"""Creates the stack's bucket, as often as asked: a bucket of ours that is there already is a success."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

DEADLINE_S = 60.0
PAUSE_S = 0.2
THERE_ALREADY = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
MISSING = {"404", "NoSuchBucket"}


def make_bucket(client: S3Client, bucket: str) -> bool:
    """True when the bucket was created, False when it was there.

    Asks first, because not every store answers a second creation with one of the codes S3 has for it.
    """
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in MISSING:
            raise
    else:
        return False
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in THERE_ALREADY:
            raise
        return False
    return True


def may_pass(error: Exception) -> bool:
    """Whether asking again can help: nobody answered, or the store said that it is not ready (5xx).

    Any other answer (a wrong key, a bad name) stays the same however often one asks.
    """
    if isinstance(error, ClientError):
        return error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
    return isinstance(error, HTTPClientError | NoConnectionError)


def say(message: str) -> None:
    """One line on stderr, with the time in front so that logs of services merge."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stderr.write(f"{now} {os.environ.get('SPOKE_NODE', 'job')}: {' '.join(message.split())}\n")


def connect() -> S3Client:
    """A client that asks once and does not wait long: this module repeats by itself."""
    return boto3.client(
        "s3",
        endpoint_url=os.environ["SPOKE_S3_ENDPOINT"],
        region_name=os.environ.get("SPOKE_S3_REGION", "us-east-1"),
        aws_access_key_id=os.environ["SPOKE_S3_ACCESS_KEY"],
        aws_secret_access_key=os.environ["SPOKE_S3_SECRET_KEY"],
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=2,
            read_timeout=5,
            retries={"total_max_attempts": 1},
        ),
    )


def make_bucket_patiently(client: S3Client, bucket: str, place: str) -> bool:
    """As `make_bucket`, but waits up to DEADLINE_S for a store that is not there yet."""
    deadline = time.monotonic() + DEADLINE_S
    said = False
    while True:
        try:
            return make_bucket(client, bucket)
        except (ClientError, BotoCoreError) as error:
            if not may_pass(error) or time.monotonic() >= deadline:
                raise
        if not said:
            say(f"waiting for the store at {place}")
            said = True
        time.sleep(PAUSE_S)


def main() -> int:
    """Exit status: 0 when the bucket is there, 1 when it could not be made (the line on stderr says why)."""
    try:
        place, bucket = os.environ["SPOKE_S3_ENDPOINT"], os.environ["SPOKE_S3_BUCKET"]
        client = connect()
    except KeyError as error:
        say(f"{error.args[0]} is not set; the stack file sets it in this service's environment")
        return 1
    except (BotoCoreError, ValueError) as error:
        say(f"cannot use the S3 settings: {error}")
        return 1
    try:
        created = make_bucket_patiently(client, bucket, place)
    except (ClientError, BotoCoreError) as error:
        say(f"bucket {bucket} was not created at {place}: {error}")
        return 1
    say(f"bucket {bucket} {'created' if created else 'was there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
