"""Log lines: for people or for machines, each with the id of the request it belongs to."""

import json
import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import override

from uvicorn.logging import DefaultFormatter

from vibetracker.core.config import Settings

current_request_id: ContextVar[str] = ContextVar("current_request_id", default="-")

LOGGERS = ("vibetracker", "uvicorn", "fastapi")
EXPORTER = "opentelemetry"
"""The logger of what sends log lines away, which must not send its own."""
MEMBERS = ("method", "route", "status", "duration_ms", "trace_id", "span_id")


def add_request_id(record: logging.LogRecord) -> bool:
    """Add the id of the request during which a line is written; a filter of handlers."""
    record.request_id = current_request_id.get()
    return True


class JSONFormatter(logging.Formatter):
    """One JSON object per line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "-"),
        }
        line |= {name: getattr(record, name) for name in MEMBERS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(settings: Settings) -> None:
    """Send our lines and the server's to standard error, in one format.

    The server's own access log is silenced: ours has the same line with the request id.
    """
    handler = logging.StreamHandler()
    handler.addFilter(add_request_id)
    if settings.log_format == "json":
        handler.setFormatter(JSONFormatter())
    else:
        # https://no-color.org
        is_colored = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        line = "%(asctime)s %(levelprefix)s [%(request_id)s] %(message)s"
        handler.setFormatter(DefaultFormatter(line, use_colors=is_colored))
    for name in (*LOGGERS, EXPORTER):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.DEBUG if settings.debug else logging.INFO)
    server_access = logging.getLogger("uvicorn.access")
    server_access.handlers = []
    server_access.propagate = False
    if settings.debug:
        sql = logging.getLogger("sqlalchemy.engine")
        sql.handlers = [handler]
        sql.setLevel(logging.INFO)
