"""Answers of the tool, held to the schema: every key that it names, and no other."""

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from spokectl.cli.schema import schema


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(schema(strict=True))


@cache
def _line_validator(command: str) -> Draft202012Validator:
    whole = schema(strict=True)
    name = f"{command} line".replace(" ", "%20")
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": whole["$defs"]})


def checked(line: str | bytes) -> Any:
    """The envelope on that line, which fulfils the schema."""
    envelope = json.loads(line)
    _validator().validate(envelope)
    return envelope


def checked_line(command: str, line: str | bytes) -> Any:
    """One object of a stream of that command."""
    item = json.loads(line)
    _line_validator(command).validate(item)
    return item
