"""The registry's answers as JSON bytes, in the key order that upstream's clients know.

A version's bytes are made once, when it is pushed, and stored; reads pass them on.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import asdict

from spoke_server.registry import NewVersion


def encode(value: object) -> bytes:
    """The value as compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def timestamp(moment: dt.datetime) -> str:
    """RFC 3339 in UTC, with as many fractional digits as say something."""
    text = moment.astimezone(dt.UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def module_body(name: str, description: str, created_at: dt.datetime, updated_at: dt.datetime) -> bytes:
    """A module without its versions."""
    fields = {"name": name, "description": description}
    return encode({**fields, "created_at": timestamp(created_at), "updated_at": timestamp(updated_at)})


def version_body(new: NewVersion, created_at: dt.datetime, *, with_files: bool = True) -> bytes:
    """A version; without files it is what a list of modules shows of it."""
    fields: dict[str, object] = {"module_name": new.module, "version": new.version}
    fields["files"] = [file._asdict() for file in new.files] if with_files else []
    fields["created_at"] = timestamp(created_at)
    if new.dependencies:
        fields["dependencies"] = [str(dependency) for dependency in new.dependencies]
    fields["source_info"] = asdict(new.source)
    return encode(fields)


def with_versions(module: bytes, versions: bytes) -> bytes:
    """A module with its versions, which come as comma-separated objects."""
    return b'%s,"versions":[%s]}' % (module[:-1], versions)


def with_deleted_at(body: bytes, deleted_at: dt.datetime | None) -> bytes:
    """The object with the moment of its deletion, if it is deleted."""
    if deleted_at is None:
        return body
    return b'%s,"deleted_at":"%s"}' % (body[:-1], timestamp(deleted_at).encode())


def digest(body: bytes) -> str:
    """What names these very bytes: the entity tag of a version."""
    return hashlib.sha256(body).hexdigest()
