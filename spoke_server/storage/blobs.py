"""File contents in S3, by their hash. boto3 stands between, so that any S3 can take the store's place.

An object costs milliseconds of processor time here and in the store, so contents go in groups, and each group is told
when it is there: what is given up half-way is not done twice. boto3 costs 20 MB of memory and is imported by the first
write that stores something. Only whole objects are put and asked for: conditional puts and sub-resources are not the
same everywhere. Putting an object again is harmless.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from spoke_server.errors import unavailable
from spoke_server.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

PARALLEL = 8
# Small enough that even a slow store takes several in one try of the load balancer.
GROUP = 64
CONTENT_TYPE = "application/x-protobuf"
_PAUSE_S = 0.25

# Hears which contents have just been stored.
Told: TypeAlias = Callable[[Iterable[str]], None]


def object_key(content_hash: str) -> str:
    """Where the content with this SHA-256 is kept."""
    return f"proto-files/sha256/{content_hash[:2]}/{content_hash[2:]}"


class Blobs:
    """Puts contents in the store."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(PARALLEL, thread_name_prefix="s3")
        self._client: S3Client | None = None
        self._connecting = asyncio.Lock()
        self.errors = 0
        self.stored = 0

    async def put(self, contents: Mapping[str, bytes], doubtful: Collection[str], told: Told, deadline: float) -> None:
        """Puts contents by SHA-256; the doubtful ones only if they are not there. Says of each group that it is stored.

        Tries again until the deadline (seconds since 1970).
        """
        try:
            async with asyncio.timeout(deadline - time.time()):
                for group in _groups(contents):
                    await self._put_group(group, doubtful, deadline)
                    told(group)
        except TimeoutError:
            self.errors += 1
            raise unavailable("storage_unavailable", "the object store did not take the files in time") from None

    async def _put_group(self, group: Mapping[str, bytes], doubtful: Collection[str], deadline: float) -> None:
        left = dict(group)
        while True:
            puts = (self._put(key, value, look=key in doubtful) for key, value in left.items())
            results = await asyncio.gather(*puts, return_exceptions=True)
            failed = {key: result for key, result in zip(left, results, strict=True) if isinstance(result, Exception)}
            if not failed:
                return
            self.errors += len(failed)
            reason = " ".join(str(next(iter(failed.values()))).split())
            if time.time() + _PAUSE_S >= deadline:
                raise unavailable("storage_unavailable", f"the object store does not answer: {reason}")
            logger.warning("object store: %s", reason)
            left = {key: left[key] for key in failed}
            await asyncio.sleep(_PAUSE_S)

    async def ping(self) -> None:
        """Connects to the store's address; its objects are not looked at, which would need boto3."""
        parts = urlsplit(self._settings.endpoint)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        _, writer = await asyncio.wait_for(asyncio.open_connection(parts.hostname, port), 1)
        writer.close()

    def close(self) -> None:
        """Ends the threads without waiting for a store that does not answer."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _put(self, content_hash: str, content: bytes, *, look: bool) -> None:
        loop = asyncio.get_running_loop()
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await loop.run_in_executor(self._threads, _connect, self._settings)
        await loop.run_in_executor(self._threads, self._put_object, self._client, content_hash, content, look)

    def _put_object(self, client: S3Client, content_hash: str, content: bytes, look: bool) -> None:
        key = object_key(content_hash)
        if look and self._is_there(client, key, len(content)):
            return
        metadata = {"checksum-sha256": content_hash}
        client.put_object(Bucket=self._settings.bucket, Key=key, Body=content, ContentType=CONTENT_TYPE, Metadata=metadata)
        self.stored += 1

    def _is_there(self, client: S3Client, key: str, size_bytes: int) -> bool:
        from botocore.exceptions import ClientError

        try:
            return client.head_object(Bucket=self._settings.bucket, Key=key)["ContentLength"] == size_bytes
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        return False


def _groups(contents: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    keys = iter(contents)
    while group := {key: contents[key] for key in islice(keys, GROUP)}:
        yield group


def _connect(settings: S3Settings) -> S3Client:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if settings.path_style else "auto"},
            connect_timeout=1,
            read_timeout=5,
            retries={"total_max_attempts": 1},
            max_pool_connections=PARALLEL,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
