"""OpenTelemetry, where its own variables name a collector; else no SDK is loaded.

FastAPI makes the spans and metrics of requests and exports them. What it cannot know of is added
here: the spans of SQL statements, and our log lines.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from dotenv import dotenv_values
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from vibetracker.core.logging import LOGGERS, add_request_id

logger = logging.getLogger(__name__)

ENDPOINTS = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    *(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT" for signal in ("TRACES", "METRICS", "LOGS")),
]
SPAN = "vibetracker.span"
EXPORT_TIMEOUT = 2
"""Seconds for one export where the environment names none; at the end there is one per signal, and
a collector that does not answer must not hold up the end of the service."""


def read_env_file() -> None:
    """Add the variables that ``.env`` has to the environment, where the SDK looks for them."""
    for name, value in dotenv_values(".env").items():
        if name.startswith("OTEL_"):
            os.environ.setdefault(name, value or "")


def is_wanted() -> bool:
    """Return whether the environment names a collector, and does not turn telemetry off."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(os.environ.get(name) for name in ENDPOINTS)


def _is_installed() -> bool:
    return find_spec("opentelemetry.instrumentation") is not None


def configuration() -> TelemetryConfig:
    """Return FastAPI's configuration: everything, or nothing, which costs requests no time."""
    if not is_wanted() or not _is_installed():
        return {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "vibetracker")
    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", str(EXPORT_TIMEOUT))
    return {"auto_configure": True}


@contextmanager
def exporting(engine: Engine) -> Iterator[None]:
    """Add the spans of this engine's statements, and send the log lines to the collector too."""
    if is_wanted() and not _is_installed():
        logger.warning(
            "a collector is set for OpenTelemetry, and nothing is sent: pip install "
            "'vibetracker[otel]'"
        )
    if not is_wanted() or not _is_installed():
        yield
        return
    from opentelemetry.instrumentation.logging.handler import (  # noqa: PLC0415 - of an extra
        LoggingHandler,
    )

    _trace_statements(engine)
    collector: logging.Handler = LoggingHandler()
    collector.addFilter(add_request_id)
    for name in LOGGERS:
        handlers = logging.getLogger(name).handlers
        for handler in handlers:
            handler.addFilter(_add_trace_ids)
        # First, since it knows the trace by itself and would take what is added for an attribute.
        handlers.insert(0, collector)
    try:
        yield
    finally:
        # A handler that is still there when Python ends would begin a thread to flush, and fail.
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(collector)


def _add_trace_ids(record: logging.LogRecord) -> bool:
    """Add the ids of the trace and the span in which a line is written."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        record.trace_id = trace.format_trace_id(context.trace_id)
        record.span_id = trace.format_span_id(context.span_id)
    return True


def _trace_statements(engine: Engine) -> None:
    """Make a span of every statement that a traced request sends; its parameters stay here.

    The instrumentation that OpenTelemetry has for SQLAlchemy refuses version 2.1.
    """
    tracer = trace.get_tracer("vibetracker")
    namespace = engine.url.database or ""

    @event.listens_for(engine, "before_cursor_execute")
    def begin(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if trace.get_current_span().is_recording():
            operation = statement.split(maxsplit=1)[0].upper()
            connection.info[SPAN] = tracer.start_span(
                operation,
                kind=trace.SpanKind.CLIENT,
                attributes={
                    "db.system.name": engine.dialect.name,
                    "db.namespace": namespace,
                    "db.operation.name": operation,
                    "db.query.text": statement,
                },
            )

    @event.listens_for(engine, "after_cursor_execute")
    def end(connection: Connection, *_: Any) -> None:
        if span := connection.info.pop(SPAN, None):
            span.end()

    @event.listens_for(engine, "handle_error")
    def fail(context: ExceptionContext) -> None:
        connection = context.connection
        if connection is None or connection.closed or connection.invalidated:
            return
        if span := connection.info.pop(SPAN, None):
            span.set_attribute("error.type", type(context.original_exception).__qualname__)
            span.set_status(trace.StatusCode.ERROR)
            span.end()
