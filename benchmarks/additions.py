"""What the additions of other features cost the lists of tasks, asked for and not."""

import statistics
from collections.abc import Sequence

from benchmarks.data import fill
from benchmarks.servers import VIBETRACKER, Measure, Operation, serving
from vibetracker.core.discovery import discover
from vibetracker.testing import PostgresServer

COMMENTS = """
INSERT INTO comments (task_id, body, search_text, author, created_at, updated_at, version)
SELECT id, 'a comment', 'a comment', '', created_at, created_at, 1 FROM tasks WHERE id % 5 = 0;
VACUUM ANALYZE
"""
NOT_ASKED = {
    "list of 50": Operation("GET", "/tasks"),
    "filtered list of 50": Operation("GET", "/tasks?status=todo&priority=high&has_due=true"),
    "get one": Operation("GET", "/tasks/500"),
}
ASKED = {
    "list of 50, include=comment_count": Operation("GET", "/tasks?include=comment_count"),
    "list of 50, has_comments=true": Operation("GET", "/tasks?has_comments=true"),
}


def additions(tasks: int, seconds: int, turns: int) -> dict[str, list[float]]:
    """Compare the server's time for a request with and without those features; prints ratios."""
    adding = [feature.name for feature in discover() if feature.additions]
    print(f"features that add to others: {', '.join(adding)}")
    results: dict[str, list[float]] = {}
    with PostgresServer() as server:
        fill(server.url(), tasks)
        everything = serving(VIBETRACKER, server.url(), server.pid)
        without = {"DISABLED_FEATURES": ",".join(adding)}
        others = serving(VIBETRACKER, server.url(), server.pid, settings=without)
        with everything as whole, others as plain:
            for statement in COMMENTS.split(";"):
                server.sql(statement)
            for name, operation in (NOT_ASKED | ASKED).items():
                measured: list[tuple[Measure, Measure]] = []
                base = NOT_ASKED.get(name, NOT_ASKED["list of 50"])
                for _ in range(turns):
                    whole.measure(operation, 1)
                    plain.measure(base, 1)
                    measured.append(
                        (whole.measure(operation, seconds), plain.measure(base, seconds))
                    )
                results[name] = [one.server_us / other.server_us for one, other in measured]
                _print(name, measured, results[name])
    return results


def _print(name: str, measured: Sequence[tuple[Measure, Measure]], ratios: Sequence[float]) -> None:
    ours, theirs = (statistics.median(turn[side].server_us for turn in measured) for side in (0, 1))
    print(
        f"  {name:34} server {ours:6.0f} us, without them {theirs:6.0f} us: "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        flush=True,
    )
