"""What a feature costs that ``vibetracker new`` has written, beside those that are there."""

import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import vibetracker
from benchmarks.data import fill
from benchmarks.servers import VIBETRACKER, Measure, Operation, serving
from vibetracker.testing import PostgresServer

NEW = ("new", "notes", "title:str(..80)", "body:text?", "pinned:bool", "mood:enum(good|bad)=good")
NOTES = """
INSERT INTO notes (title, body, pinned, mood, created_at, updated_at, version)
SELECT 'note ' || n, repeat('some words ', n % 30), n % 2 = 0, n / 2 % 2,
    now() + n * interval '1 s', now() + n * interval '1 s', 1 FROM generate_series(1, 100000) n
"""
TAGS = """
INSERT INTO tags (name, key, description, created_at, updated_at, version)
SELECT 'more ' || n, 'more ' || n, repeat('some words ', n % 30), now() + n * interval '1 s',
    now() + n * interval '1 s', 1 FROM generate_series(1, 1000) n
"""
NOTE = {"title": "water the plants", "pinned": False}
COLORS = ("#112233", "#445566")
OPERATIONS = {
    "list of 50": {
        "notes": Operation("GET", "/notes"),
        "notes, filtered": Operation("GET", "/notes?pinned=true&mood=bad"),
        "tags": Operation("GET", "/tags"),
        "tasks": Operation("GET", "/tasks"),
    },
    "get one": {
        "notes": Operation("GET", "/notes/500"),
        "tags": Operation("GET", "/tags/500"),
        "tasks": Operation("GET", "/tasks/500"),
    },
    "create": {
        "notes": Operation("POST", "/notes", NOTE),
        "tasks": Operation("POST", "/tasks", {"title": "water the plants"}),
    },
    "patch one field": {
        "notes": Operation("PATCH", "/notes/%d", field="mood", values=("good", "bad")),
        "tags": Operation("PATCH", "/tags/%d", field="color", values=COLORS),
        "tasks": Operation("PATCH", "/tasks/%d"),
    },
}


def scaffold(tasks: int, seconds: int, turns: int) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Measure the operations of a feature as it is written; prints a table of it as it goes."""
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as server:
        copy = Path(folder)
        shutil.copytree(Path(vibetracker.__file__).parent, copy / "vibetracker")
        subprocess.run([sys.executable, "-m", "vibetracker", *NEW], cwd=copy, check=True)  # noqa: S603 - our own arguments
        fill(server.url(), tasks)
        with serving(VIBETRACKER, server.url(), server.pid, folder=copy) as service:
            for rows in (NOTES, TAGS, "VACUUM ANALYZE"):
                server.sql(rows)
            for name, features in OPERATIONS.items():
                measured: dict[str, list[Measure]] = {feature: [] for feature in features}
                for _ in range(turns):
                    for feature, operation in features.items():
                        service.measure(operation, 1)
                        measured[feature].append(service.measure(operation, seconds))
                _print(name, measured)
                results[name] = {
                    feature: [asdict(turn) for turn in found] for feature, found in measured.items()
                }
    return results


def _print(operation: str, measured: dict[str, list[Measure]]) -> None:
    print(f"\n{operation}")
    for feature, turns in measured.items():
        per_second, server, database = (
            statistics.median(getattr(turn, name) for turn in turns)
            for name in ("per_second", "server_us", "database_us")
        )
        of_tasks = [
            one.server_us / other.server_us
            for one, other in zip(turns, measured["tasks"], strict=True)
        ]
        print(
            f"  {feature:16} {per_second:8.0f}/s  server {server:6.0f} us  database "
            f"{database:6.0f} us  server time of that of tasks {statistics.median(of_tasks):.2f} "
            f"({min(of_tasks):.2f}-{max(of_tasks):.2f})",
            flush=True,
        )
