"""Two workers against one, and the memory of a worker after very many requests."""

import os
import statistics

from benchmarks.compare import OPERATIONS
from benchmarks.data import fill
from benchmarks.servers import VIBETRACKER, Cores, Measure, Operation, serving
from vibetracker.testing import PostgresServer

MIXED = ("list of 50 newest", "get one", "create with two tags", "patch one field")
COUNTED = "get one"
"""The operation of most requests while the memory is measured."""


def workers(tasks: int, seconds: int, turns: int) -> dict[str, list[float]]:
    """Compare the requests per second of two workers with those of one; prints the ratios.

    Also those of the processor time of a request, which says more where cores are few: it would
    grow if workers were in each other's way.
    """
    cores = Cores.apart()
    if cores.server:
        server_on, database_on, generator_on = (
            ", ".join(map(str, sorted(side)))
            for side in (cores.server, cores.database, cores.generator)
        )
        print(f"cores: server {server_on}; database {database_on}; load generator {generator_on}")
    else:
        count = len(os.sched_getaffinity(0))
        print(f"all share {count} cores, so that two workers cannot serve twice as much")
    results: dict[str, list[float]] = {}
    with PostgresServer() as server:
        os.sched_setaffinity(server.pid, cores.database or os.sched_getaffinity(0))
        fill(server.url(), tasks)
        for name in ("list of 50 newest", "get one"):
            found = results[name] = []
            costs = []
            for _ in range(turns):
                one, two = (
                    _measure(server, OPERATIONS[name], seconds, count, cores)
                    for count in ("1", "2")
                )
                found.append(two.per_second / one.per_second)
                costs.append(two.server_us / one.server_us)
            print(
                f"two workers serve {statistics.median(found):.2f} times one "
                f"({min(found):.2f}-{max(found):.2f}), each request in "
                f"{statistics.median(costs):.2f} of the processor time "
                f"({min(costs):.2f}-{max(costs):.2f}): {name}",
                flush=True,
            )
    return results


def _measure(
    server: PostgresServer, operation: Operation, seconds: int, count: str, cores: Cores
) -> Measure:
    with serving(VIBETRACKER, server.url(), server.pid, "--workers", count, cores=cores) as service:
        service.measure(operation, 1)
        return service.measure(operation, seconds)


def memory(tasks: int, requests: int) -> list[tuple[int, float]]:
    """Measure the memory of one worker over this many requests; prints it ten times."""
    results: list[tuple[int, float]] = []
    with PostgresServer() as server:
        fill(server.url(), tasks)
        with serving(VIBETRACKER, server.url(), server.pid) as service:
            answered = 0
            while answered < requests:
                for name in MIXED:
                    seconds = 2
                    answered += round(service.measure(OPERATIONS[name], seconds).per_second * 2)
                until = min(requests, (len(results) + 1) * requests // 10)
                while answered < until:
                    answered += round(service.measure(OPERATIONS[COUNTED], 5).per_second * 5)
                results.append((answered, service.memory()))
                print(f"{answered} requests: {results[-1][1]:.1f} MB", flush=True)
    return results
