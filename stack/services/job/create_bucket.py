"""Creates the stack's bucket, as often as asked: a bucket of ours that is there already is a success."""

from __future__ import annotations

import os
import re
import sys
import time
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.httpsession import URLLib3Session

DEADLINE_S = 60.0
PAUSE_S = 0.2
THERE_ALREADY = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
# What means no other place in an address: which of these it takes is the store's affair.
BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


class Refusal(Exception):
    """The store answered, and not with a success: `code` is S3's word for it, empty where the answer has none."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"the store answered {status} {code}".rstrip())
        self.status, self.code = status, code


class Store(Protocol):
    """Who can be asked about a bucket."""

    def ask(self, method: str, bucket: str) -> None:
        """Returns when the store answers with a success. Refusal when it does not, BotoCoreError when nobody answers."""


class S3:
    """A store that is asked once and not waited for long: this module repeats by itself.

    botocore signs and sends. Its client would take twice the time to start, and the stack is not up before this has ended.
    """

    def __init__(self, endpoint: str, region: str, access_key: str, secret_key: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._auth = S3SigV4Auth(Credentials(access_key, secret_key), "s3", region)
        self._session = URLLib3Session(timeout=(2, 5))

    def ask(self, method: str, bucket: str) -> None:
        request = AWSRequest(method=method, url=f"{self._endpoint}/{bucket}")
        self._auth.add_auth(request)
        answer = self._session.send(request.prepare())
        if answer.status_code >= 300:
            code = re.search(rb"<Code>(\w+)</Code>", answer.content)
            raise Refusal(answer.status_code, code[1].decode() if code else "")


def make_bucket(store: Store, bucket: str) -> bool:
    """True when the bucket was created, False when it was there.

    Asks first, because not every store answers a second creation with one of the codes S3 has for it.
    """
    try:
        store.ask("HEAD", bucket)
    except Refusal as error:
        if error.status != 404:
            raise
    else:
        return False
    try:
        store.ask("PUT", bucket)
    except Refusal as error:
        if error.code not in THERE_ALREADY:
            raise
        return False
    return True


def may_pass(error: Exception) -> bool:
    """Whether asking again can help: nobody answered, or the store said that it is not ready (5xx).

    Any other answer (a wrong key, a bad name) stays the same however often one asks.
    """
    if isinstance(error, Refusal):
        return error.status >= 500
    return isinstance(error, HTTPClientError | NoConnectionError)


def say(message: str) -> None:
    """One line on stderr, with the time in front so that logs of services merge."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stderr.write(f"{now} {os.environ.get('SPOKE_NODE', 'job')}: {' '.join(message.split())}\n")


def is_address(place: str) -> bool:
    """Whether the text is the address of an HTTP server, with or without a path."""
    try:
        parts = urlsplit(place)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0 and not re.search(r"\s", place)


def connect() -> S3:
    """The store that the environment names. KeyError where it does not."""
    return S3(
        os.environ["SPOKE_S3_ENDPOINT"],
        os.environ.get("SPOKE_S3_REGION", "us-east-1"),
        os.environ["SPOKE_S3_ACCESS_KEY"],
        os.environ["SPOKE_S3_SECRET_KEY"],
    )


def make_bucket_patiently(store: Store, bucket: str, place: str) -> bool:
    """As `make_bucket`, but waits up to DEADLINE_S for a store that is not there yet."""
    deadline = time.monotonic() + DEADLINE_S
    said = False
    while True:
        try:
            return make_bucket(store, bucket)
        except (Refusal, BotoCoreError) as error:
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
        store = connect()
    except KeyError as error:
        say(f"{error.args[0]} is not set; the stack file sets it in this service's environment")
        return 1
    if not is_address(place):
        say(f"cannot use SPOKE_S3_ENDPOINT={place}: expected http://HOST:PORT or https://HOST:PORT")
        return 1
    if not BUCKET_NAME.fullmatch(bucket):
        say(f"cannot use SPOKE_S3_BUCKET={bucket}: expected letters, digits, dot, - and _, a letter or digit first")
        return 1
    try:
        created = make_bucket_patiently(store, bucket, place)
    except (Refusal, BotoCoreError, ValueError) as error:
        say(f"bucket {bucket} was not created at {place}: {error}")
        return 1
    say(f"bucket {bucket} {'created' if created else 'was there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
