"""Log lines: for people or for machines, each with the id of the request it belongs to."""

import json
import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import override

from vibetracker.core.config import Settings

current_request_id: ContextVar[str] = ContextVar("current_request_id", default="-")

LOGGERS = ("vibetracker", "uvicorn", "fastapi")
EXPORTER = "opentelemetry"
"""The logger of what sends log lines away, which must not send its own."""
MEMBERS = ("method", "route", "status", "duration_ms", "trace_id", "span_id")


class RequestIdFilter(logging.Filter):
    """Adds the id of the request during which a line is written."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current_request_id.get()
        return True


COLORS = {
    logging.DEBUG: 36,
    logging.INFO: 32,
    logging.WARNING: 33,
    logging.ERROR: 31,
    logging.CRITICAL: 31,
}
"""What a terminal is told for a level (SGR): cyan, green, yellow and red."""


class TextFormatter(logging.Formatter):
    """Lines for people; on a terminal the level is coloured."""

    def __init__(self, *, color: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-8s [%(request_id)s] %(message)s")
        self.color = color

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        if self.color and (color := COLORS.get(record.levelno)):
            return line.replace(record.levelname, f"\x1b[{color}m{record.levelname}\x1b[0m", 1)
        return line


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
    # What no line tells need not be found out for each (the logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.addFilter(RequestIdFilter())
    if settings.log_format == "json":
        handler.setFormatter(JSONFormatter())
    else:
        # https://no-color.org
        color = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        handler.setFormatter(TextFormatter(color=color))
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
