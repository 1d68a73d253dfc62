"""Checks that the hand-written application gives the bytes that vibetracker gives."""

import http.client
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from benchmarks.data import fill
from benchmarks.servers import HAND_WRITTEN, JSON, VIBETRACKER, Operation, serving
from vibetracker.testing import PostgresServer

TASKS = 1_000
HEADERS = ("content-type", "content-length", "etag", "location")
WRITTEN = re.compile(rb'"(created|updated)_at":"[^"]+"')
"""What a write answers that is another one each time."""

type Answer = tuple[int, list[str | None], bytes]


def require_same_answers(server: PostgresServer, operations: Mapping[str, Operation]) -> None:
    """Send each operation to both on the same data; raises ``RuntimeError`` where they differ."""
    now = datetime.now(UTC)
    limit, ours = (
        _answers(server, application, operations.values(), now)
        for application in (HAND_WRITTEN, VIBETRACKER)
    )
    for name, one, other in zip(operations, limit, ours, strict=True):
        if one != other:
            raise RuntimeError(f"{name}: the limit answers {one}, vibetracker {other}")


def _answers(
    server: PostgresServer,
    application: Iterable[str],
    operations: Iterable[Operation],
    now: datetime,
) -> list[Answer]:
    fill(server.url(), TASKS, now)
    with serving(application, server.url(), server.pid) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        answers = [_answer(connection, operation) for operation in operations]
        connection.close()
    return answers


def _answer(connection: http.client.HTTPConnection, operation: Operation) -> Answer:
    path, body = operation.path, operation.body
    if "%d" in path:
        path, body = path.replace("%d", "7"), {operation.field: operation.values[-1]}
    connection.request(operation.method, path, None if body is None else json.dumps(body), JSON)
    response = connection.getresponse()
    content = response.read()
    if operation.method != "GET":
        content = WRITTEN.sub(rb'"\1_at":""', content)
    return response.status, [response.getheader(name) for name in HEADERS], content
