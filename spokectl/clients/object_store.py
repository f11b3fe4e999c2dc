"""The stack's bucket, to look into: what lies there, and the bytes of one object."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_CHUNK_BYTES = 1 << 16


class ObjectStoreError(Exception):
    """The store did not answer, or said no; the text says why in one line."""


@dataclass(frozen=True)
class StoredObject:
    key: str
    size_bytes: int
    changed_at: datetime


class Bucket:
    """One bucket of an S3 store, read only."""

    def __init__(self, url: str, name: str, region: str, access_key: str, secret_key: str, *, timeout_s: float) -> None:
        self.name = name
        self._client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name=region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=timeout_s,
                read_timeout=timeout_s,
                retries={"total_max_attempts": 1},
            ),
        )

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, by key. ObjectStoreError when the store does not say."""
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
                for each in page.get("Contents", []):
                    yield StoredObject(each["Key"], each["Size"], each["LastModified"])
        except (BotoCoreError, ClientError) as error:
            raise ObjectStoreError(str(error)) from error

    def content(self, key: str) -> Iterator[bytes]:
        """The object's bytes. ObjectStoreError when there is no such object, or the store stops answering."""
        try:
            yield from self._client.get_object(Bucket=self.name, Key=key)["Body"].iter_chunks(_CHUNK_BYTES)
        except (BotoCoreError, ClientError) as error:
            raise ObjectStoreError(str(error)) from error
