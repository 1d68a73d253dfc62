"""The limit, the bare, vibetracker, the idiomatic and the peers side by side, in turns."""

import statistics
from collections.abc import Sequence
from dataclasses import fields, replace

from benchmarks.answers import require_same_answers
from benchmarks.data import fill
from benchmarks.peers import installed_peers
from benchmarks.servers import (
    BARE,
    HAND_WRITTEN,
    IDIOMATIC,
    VIBETRACKER,
    Measure,
    Operation,
    serving,
)
from vibetracker.testing import PostgresServer

APPLICATIONS = {
    "limit": HAND_WRITTEN,
    "bare": BARE,
    "vibetracker": VIBETRACKER,
    "idiomatic": IDIOMATIC,
}
CREATE = {"title": "water the plants", "tags": ["tag 1", "tag 2"]}
OPERATIONS = {
    "list of 50 newest": Operation("GET", "/tasks"),
    "list by status and tag": Operation("GET", "/tasks?status=todo&tag=tag%207"),
    "text search": Operation("GET", "/tasks?q=kitchen%20garden"),
    "get one": Operation("GET", "/tasks/500"),
    "create with two tags": Operation("POST", "/tasks", CREATE),
    "patch one field": Operation("PATCH", "/tasks/%d", {"priority": "low"}),
    "batch of 100 creates": Operation(
        "POST", "/tasks/batch", {"operations": [{"op": "create", "data": CREATE}] * 100}, count=32
    ),
}

type Results = dict[str, dict[str, list[Measure]]]
"""The turns of each application, by operation."""


def compare(tasks: int, seconds: int, turns: int, wanted: Sequence[str]) -> Results:
    """Measure each operation in each application; prints a table of it as it goes."""
    results: Results = {}
    peers = installed_peers()
    applications = APPLICATIONS | peers
    with PostgresServer() as server:
        url = server.url()
        require_same_answers(server, {name: OPERATIONS[name] for name in wanted}, peers)
        fill(url, tasks)
        for name in wanted:
            operation = OPERATIONS[name]
            measured = results[name] = {application: [] for application in applications}
            for _ in range(turns):
                for application, command in applications.items():
                    with serving(command, url, server.pid) as service:
                        service.measure(replace(operation, count=1 if operation.count else None), 1)
                        measured[application].append(service.measure(operation, seconds))
            _print(name, measured)
    return results


def ratios(measured: dict[str, list[Measure]], application: str, base: str) -> list[float]:
    """Compare the requests per second of two applications, turn by turn."""
    return [
        one.per_second / other.per_second
        for one, other in zip(measured[application], measured[base], strict=True)
    ]


def _print(operation: str, measured: dict[str, list[Measure]]) -> None:
    print(f"\n{operation}")
    for name, turns in measured.items():
        middle = Measure(
            **{
                field.name: statistics.median(getattr(turn, field.name) for turn in turns)
                for field in fields(Measure)
            }
        )
        of_limit = ratios(measured, name, "limit")
        print(
            f"  {name:12} {middle.per_second:8.0f}/s  p50 {middle.p50_ms:7.1f} ms  "
            f"p99 {middle.p99_ms:7.1f} ms  server {middle.server_us:6.0f} us  "
            f"database {middle.database_us:6.0f} us  of the limit "
            f"{statistics.median(of_limit):.2f} ({min(of_limit):.2f}-{max(of_limit):.2f})"
        )
    for name in measured:
        if name in {"limit", "vibetracker"}:
            continue
        of_other = ratios(measured, "vibetracker", name)
        print(
            f"  vibetracker serves {statistics.median(of_other):.1f} times "
            f"{'the ' if name in APPLICATIONS else ''}{name} "
            f"({min(of_other):.1f}-{max(of_other):.1f})",
            flush=True,
        )
