"""Checks that the responses of the applications are those of vibetracker.

Those of the limit and the bare have the same bytes, and those of a peer the same tasks: it may
format timestamps and JSON in its own way, and lead to the next page in its own way.
"""

import http.client
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from benchmarks.data import fill
from benchmarks.servers import BARE, HAND_WRITTEN, JSON, VIBETRACKER, Operation, serving
from vibetracker.testing import PostgresServer

TASKS = 1_000
HEADERS = ("content-type", "content-length", "etag", "location")
WRITTEN = re.compile(rb'"(created|updated)_at":"[^"]+"')
"""Members of the response to a write that differ each time."""

type Answer = tuple[int, list[str | None], bytes]


def require_same_answers(
    server: PostgresServer,
    operations: Mapping[str, Operation],
    peers: Mapping[str, Iterable[str]],
) -> None:
    """Send each operation to all on the same data; raises ``RuntimeError`` where they differ."""
    now = datetime.now(UTC)
    ours = _answers(server, VIBETRACKER, operations.values(), now)
    same_bytes: dict[str, Iterable[str]] = {"limit": HAND_WRITTEN, "bare": BARE}
    for application, command in same_bytes.items():
        same = _answers(server, command, operations.values(), now)
        for (name, operation), *answers in zip(operations.items(), same, ours, strict=True):
            one, other = (_without_moments(operation, answer) for answer in answers)
            if one != other:
                raise RuntimeError(f"{name}: the {application} answers {one}, vibetracker {other}")
    for peer, command in peers.items():
        theirs = _answers(server, command, operations.values(), now)
        for (name, operation), *answers in zip(operations.items(), theirs, ours, strict=True):
            _require_same_tasks(name, peer, *(_read(operation, answer) for answer in answers))


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
    return response.status, [response.getheader(name) for name in HEADERS], content


def _without_moments(operation: Operation, answer: Answer) -> Answer:
    status, headers, content = answer
    if operation.method != "GET":
        content = WRITTEN.sub(rb'"\1_at":""', content)
    return status, headers, content


def _read(operation: Operation, answer: Answer) -> list[Any]:
    """Return the status of a response, and the tasks or results that it has.

    Raises ``RuntimeError`` for a response that is no JSON, or has an invalid timestamp.
    """
    status, _, content = answer
    try:
        parsed = json.loads(content, object_hook=lambda members: _values(operation, members))
    except (TypeError, ValueError) as error:
        raise RuntimeError(f"{operation}: {error} in {content!r}") from error
    for several in ("items", "results"):
        if several in parsed:
            return [status, *parsed[several]]
    return [status, parsed]


def _values(operation: Operation, members: dict[str, Any]) -> dict[str, Any]:
    """Parse timestamps; of those that a write takes from the clock any is right."""
    for name, value in members.items():
        if name.endswith("_at") and value is not None:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise ValueError(f"{name} has no offset")
            from_clock = operation.method != "GET" and name in {"created_at", "updated_at"}
            members[name] = "some moment" if from_clock else moment
    return members


def _require_same_tasks(name: str, peer: str, theirs: list[Any], ours: list[Any]) -> None:
    if len(theirs) != len(ours):
        raise RuntimeError(
            f"{name}: {peer} answers {len(theirs) - 1} tasks, vibetracker {len(ours) - 1}"
        )
    for one, other in zip(theirs, ours, strict=True):
        if one != other:
            raise RuntimeError(f"{name}: {peer} answers {one}, vibetracker {other}")
