"""Traces, metrics and log lines as a collector receives them."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from .processes import running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@contextmanager
def collector() -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    """Receive what is exported; yields the address, and the bodies by their path."""
    received: dict[str, list[bytes]] = defaultdict(list)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received[self.path].append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


def attributes(item: Any) -> dict[str, Any]:
    return {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in item.attributes}


@pytest.mark.slow
def test_a_request_is_one_trace_with_its_statements_its_metrics_and_its_log_line(
    tmp_path: Path,
) -> None:
    proto = "opentelemetry.proto.collector"
    pytest.importorskip(proto, reason="needs the extra `otel`")
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415 - of an extra
        ExportLogsServiceRequest,
    )
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (  # noqa: PLC0415 - likewise
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 - likewise
        ExportTraceServiceRequest,
    )

    with collector() as (endpoint, received):
        settings = {
            "DATABASE_URL": "sqlite:///tracker.db",
            "LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        }
        # From the file like every setting, where the environment says nothing else.
        (tmp_path / ".env").write_text(
            f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}\nOTEL_EXPORTER_OTLP_COMPRESSION=gzip\n"
        )
        with running("serve", folder=tmp_path, **settings) as server:
            made = httpx2.post(
                f"{server.origin}/tags",
                json={"name": "private words"},
                headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "x-request-id": "mine"},
                timeout=60,
            )
            assert made.status_code == 201
            server.stop()
    exports = [ExportTraceServiceRequest.FromString(body) for body in received["/v1/traces"]]
    resource = exports[0].resource_spans[0].resource
    assert attributes(resource)["service.name"] == "vibetracker"
    spans = [
        span
        for export in exports
        for resource_spans in export.resource_spans
        for scope in resource_spans.scope_spans
        for span in scope.spans
        if span.trace_id.hex() == TRACE
    ]
    (request,) = [span for span in spans if span.name == "POST /tags"]
    assert request.parent_span_id.hex() == "00f067aa0ba902b7"
    assert attributes(request)["http.response.status_code"] == 201
    statements = [span for span in spans if "db.query.text" in attributes(span)]
    texts = [str(attributes(span)["db.query.text"]) for span in statements]
    assert sum(text.startswith("INSERT INTO tags ") for text in texts) == 1
    assert {attributes(span)["db.system.name"] for span in statements} == {"sqlite"}
    assert b"private words" not in b"".join(body for bodies in received.values() for body in bodies)

    names = [
        metric.name
        for body in received["/v1/metrics"]
        for resource_metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    ]
    assert "http.server.request.duration" in names

    (record,) = [
        record
        for body in received["/v1/logs"]
        for resource_logs in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope_logs in resource_logs.scope_logs
        for record in scope_logs.log_records
        if attributes(record).get("request_id") == "mine"
    ]
    assert record.body.string_value.startswith("POST /tags 201")
    assert record.trace_id.hex() == TRACE
    lines = [json.loads(line) for line in "".join(server.lines).splitlines()]
    (line,) = [line for line in lines if line["request_id"] == "mine"]
    assert (line["trace_id"], line["span_id"]) == (TRACE, record.span_id.hex())


def test_no_sdk_is_loaded_unless_it_is_configured(client: TestClient) -> None:
    assert client.get("/health/ready").status_code == 200
    assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
