"""What a request costs among few tasks and among many, on the first page and on a late one."""

import http.client
import json
import statistics
from contextlib import ExitStack
from urllib.parse import quote

from benchmarks.data import fill
from benchmarks.servers import VIBETRACKER, Serving, serving
from vibetracker.testing import PostgresServer

SIZES = (1_000, 100_000, 1_000_000)
LATE = 1000
"""The page that is compared with the first."""
REQUESTS = 10
"""The number of requests in a turn."""
TURNS = 9
SORTS = (
    "id",
    "title",
    "status",
    "priority",
    "due",
    "start_at",
    "created_at",
    "updated_at",
    "completed_at",
    "position",
)
FILTERS = (
    "status=todo",
    "priority=urgent",
    "tag=tag%207",
    "tag_any=tag%207&tag_any=tag%208",
    "tag_none=tag%207",
    "has_tags=true",
    "q=kitchen%20garden",
    "q=budget",
    "has_due=true",
    "overdue=true",
    "due_after=2026-06-01",
    "due_before=2026-06-01",
    "actionable=true",
    "is_open=true",
    "created_after=2026-01-01",
    "created_before=2026-01-02",
    "updated_after=2026-01-01",
    "completed_after=2026-01-01",
    "is_subtask=false",
    "deleted=only",
)


def scale(sizes: tuple[int, ...] = SIZES) -> dict[str, dict[int, list[float]]]:
    """Measure the processor time of requests among this many tasks, in turns; prints a table."""
    paths = {
        "get": "/tasks/500",
        "first page": "/tasks",
        **{f"page {LATE} by {sort}": f"/tasks?sort={sort}" for sort in ("-created_at", *SORTS)},
        **{f"sort={sort}": f"/tasks?sort={quote(sort)}" for sort in SORTS},
        **{f"sort=-{sort}": f"/tasks?sort=-{quote(sort)}" for sort in SORTS},
        **{shown: f"/tasks?{shown}" for shown in FILTERS},
    }
    results: dict[str, dict[int, list[float]]] = {name: {} for name in paths}
    with ExitStack() as stack:
        services: dict[int, Serving] = {}
        found: dict[str, dict[int, str]] = {name: {} for name in paths}
        for size in sizes:
            server = stack.enter_context(PostgresServer())
            fill(server.url(), size)
            service = services[size] = stack.enter_context(
                serving(VIBETRACKER, server.url(), server.pid)
            )
            for name, path in paths.items():
                there = _late(service, path) if name.startswith("page ") else path
                if there is not None:
                    found[name][size] = there
                    results[name][size] = []
            print(f"filled a database with {size} tasks", flush=True)
        for turn in range(-1, TURNS):
            for name, by_size in found.items():
                for size, path in by_size.items():
                    milliseconds = _milliseconds(services[size], path)
                    # The first turn warms everything up.
                    if turn >= 0:
                        results[name][size].append(milliseconds)
    print(f"\n{'processor ms (median)':32}", *(f"{size:>10}" for size in sizes), "   last/first")
    for name, turns in results.items():
        shown = [f"{statistics.median(turns[n]):.2f}" if n in turns else "-" for n in sizes]
        ratio = _ratio(turns[sizes[-1]], turns[sizes[0]]) if len(turns) == len(sizes) else ""
        print(f"{name:32}", *(f"{value:>10}" for value in shown), f"{ratio:>24}")
    first, late = results["first page"], results[f"page {LATE} by -created_at"]
    for size, turns_of_late in late.items():
        ratio = _ratio(turns_of_late, first[size])
        print(f"page {LATE} costs {ratio} times the first among {size} tasks")
    return results


def _ratio(turns: list[float], base: list[float]) -> str:
    ratios = [one / other for one, other in zip(turns, base, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def _milliseconds(service: Serving, path: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    _get(connection, path)
    before = service.processor_ms()
    for _ in range(REQUESTS):
        _get(connection, path)
    spent = service.processor_ms() - before
    connection.close()
    return spent / REQUESTS


def _late(service: Serving, path: str) -> str | None:
    """Return the path of the late page, if there is one."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    cursor = _cursor(connection, path)
    connection.close()
    return None if cursor is None else f"{path}&cursor={cursor}"


def _cursor(connection: http.client.HTTPConnection, path: str) -> str | None:
    """Return the cursor of the late page, 200 items at a time: cursors hold for any ``limit``."""
    cursor: str | None = None
    for _ in range((LATE - 1) * 50 // 200):
        more = f"&cursor={cursor}" if cursor else ""
        cursor = json.loads(_get(connection, f"{path}&limit=200{more}"))["next_cursor"]
        if cursor is None:
            return None
    return cursor


def _get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {body!r}")
    return body
