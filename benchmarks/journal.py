"""What the journal of changes costs a write, against the same service without it."""

import statistics

from benchmarks.compare import OPERATIONS
from benchmarks.data import fill
from benchmarks.servers import VIBETRACKER, serving
from vibetracker.testing import PostgresServer

WRITES = ("create with two tags", "patch one field", "batch of 100 creates")


def journal(tasks: int, seconds: int, turns: int) -> dict[str, list[float]]:
    """Compare the server's time for a write with and without the journal; prints ratios."""
    results: dict[str, list[float]] = {}
    with PostgresServer() as server:
        fill(server.url(), tasks)
        whole = serving(VIBETRACKER, server.url(), server.pid)
        settings = {"DISABLED_FEATURES": "changes"}
        plain = serving(VIBETRACKER, server.url(), server.pid, settings=settings)
        with whole as ours, plain as theirs:
            for name in WRITES:
                operation = OPERATIONS[name]
                measured = []
                for _ in range(turns):
                    for side in (ours, theirs):
                        side.measure(operation, 1)
                    pair = [side.measure(operation, seconds) for side in (ours, theirs)]
                    measured.append([it.server_us for it in pair])
                ratios = results[name] = [one / other for one, other in measured]
                with_it, without = map(statistics.median, zip(*measured, strict=True))
                print(
                    f"  {name:20} server {with_it:6.0f} us, without the journal {without:6.0f} us: "
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                    flush=True,
                )
    return results
