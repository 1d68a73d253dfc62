"""What a request costs among few tasks and among many, on the first page and on a late one."""

import http.client
import json
import statistics
import time
from urllib.parse import quote

from benchmarks.data import fill
from benchmarks.servers import VIBETRACKER, Serving, serving
from vibetracker.testing import PostgresServer

SIZES = (1_000, 100_000, 1_000_000)
LATE = 1000
"""The page that is compared with the first."""
REQUESTS = 10
"""How many a turn has, of which the median counts."""
TURNS = 5
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


def scale(sizes: tuple[int, ...] = SIZES) -> dict[str, dict[int, float | None]]:
    """Measure the processor time of requests among this many tasks; prints a table of it."""
    paths = {
        "get": "/tasks/500",
        "first page": "/tasks",
        **{f"page {LATE} by {sort}": f"/tasks?sort={sort}" for sort in ("-created_at", *SORTS)},
        **{f"sort={sort}": f"/tasks?sort={quote(sort)}" for sort in SORTS},
        **{f"sort=-{sort}": f"/tasks?sort=-{quote(sort)}" for sort in SORTS},
        **{shown: f"/tasks?{shown}" for shown in FILTERS},
    }
    results: dict[str, dict[int, float | None]] = {name: {} for name in paths}
    for size in sizes:
        with PostgresServer() as server:
            fill(server.url(), size)
            with serving(VIBETRACKER, server.url(), server.pid) as service:
                for name, path in paths.items():
                    late = name.startswith("page ")
                    results[name][size] = _milliseconds(service, path, late=late)
        print(f"measured among {size} tasks", flush=True)
    print(f"\n{'processor ms (median)':32}", *(f"{size:>10}" for size in sizes), "   last/first")
    for name, by_size in results.items():
        shown = ["-" if value is None else f"{value:.2f}" for value in by_size.values()]
        few, many = by_size[sizes[0]], by_size[sizes[-1]]
        ratio = f"{many / few:.2f}" if few and many else ""
        print(f"{name:32}", *(f"{value:>10}" for value in shown), f"{ratio:>12}")
    first, late_page = results["first page"], results[f"page {LATE} by -created_at"]
    for size in sizes:
        one, other = first[size], late_page[size]
        if one and other:
            print(f"page {LATE} costs {other / one:.2f} times the first among {size} tasks")
    return results


def _milliseconds(service: Serving, path: str, *, late: bool) -> float | None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    if late:
        cursor = _cursor(connection, path)
        if cursor is None:
            return None
        path = f"{path}&cursor={cursor}"
    for _ in range(5):
        _get(connection, path)
    times: list[float] = []
    begun = time.monotonic()
    while len(times) < TURNS and (len(times) < 3 or time.monotonic() - begun < 5):
        before = service.processor_ms()
        for _ in range(REQUESTS):
            _get(connection, path)
        times.append((service.processor_ms() - before) / REQUESTS)
    connection.close()
    return statistics.median(times)


def _cursor(connection: http.client.HTTPConnection, path: str) -> str | None:
    """Walk to the late page, 200 items at a time; a cursor holds for any number of them."""
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
