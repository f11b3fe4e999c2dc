"""Log lines as JSON, one a line, so that those of all services can be merged by time."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys

from spoke_server import wire

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "error": logging.ERROR}


class JsonFormatter(logging.Formatter):
    """Writes a record as {"time", "level", "msg", ...}."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        fields: dict[str, object] = {
            "time": wire.timestamp(moment),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            "logger": record.name,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


def configure(level: str) -> None:
    """Sends all log lines of this level and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=_LEVELS.get(level, logging.WARNING), handlers=[handler], force=True)
    for noisy in ("psycopg", "psycopg.pool", "botocore", "boto3", "urllib3", "redis"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
