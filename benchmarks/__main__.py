"""Measures the limit, vibetracker and the idiomatic application side by side.

Run ``python -m benchmarks`` in the checkout, with the dev extra and ``wrk`` installed. One worker,
16 connections, the three in turns; what counts are the ratios, since they are of one run.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import fill
from vibetracker.core.discovery import discover
from vibetracker.testing import PostgresServer, free_port

APPLICATIONS = {
    "limit": "benchmarks.limit:app",
    "vibetracker": "vibetracker.main:app",
    "idiomatic": "benchmarks.idiomatic:app",
}
CONNECTIONS = 16
CREATE = {"title": "water the plants", "tags": ["tag 1", "tag 2"]}
BATCH = {"operations": [{"op": "create", "data": CREATE}] * 100}
OPERATIONS: dict[str, tuple[str, str, object]] = {
    "list of 50 newest": ("GET", "/tasks", None),
    "list by status and tag": ("GET", "/tasks?status=todo&tag=tag%207", None),
    "text search": ("GET", "/tasks?q=kitchen%20garden", None),
    "get one": ("GET", "/tasks/500", None),
    "create with two tags": ("POST", "/tasks", CREATE),
    "patch one field": ("PATCH", "/tasks/%d", {"priority": "low"}),
    "batch of 100 creates": ("POST", "/tasks/batch", BATCH),
}
SCRIPT = """
local priorities = {"none", "low", "medium", "high", "urgent"}
local n = 0
wrk.method = "%s"
wrk.headers["Content-Type"] = "application/json"
request = function()
  n = n + 1
  local path, body = "%s", %s
  if path:find("%%%%d") then
    path = path:format(1 + (n * 7919) %% 900)
    body = '{"priority":"' .. priorities[1 + n %% 5] .. '"}'
  end
  return wrk.format(nil, path, nil, body)
end
"""


@dataclass
class Measure:
    """What one turn of one operation gave."""

    per_second: float
    p50_ms: float
    p99_ms: float
    server_us: float
    database_us: float


@contextmanager
def serving(application: str, url: str) -> Iterator[tuple[int, int]]:
    """Run an application in one worker; gives its process id and its port."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port)]
    with subprocess.Popen(  # noqa: S603 - our own arguments
        [*command, "--no-access-log", "--log-level", "warning"],
        env={**os.environ, "DATABASE_URL": url},
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_for(port)
            yield process.pid, port
        finally:
            process.send_signal(signal.SIGTERM)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/tasks/500")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise RuntimeError(f"nothing answers on port {port}")


def _processor_time(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    listed = subprocess.run(  # noqa: S603 - our own arguments
        ["/usr/bin/env", "pgrep", "-P", str(pid)], check=False, capture_output=True, text=True
    )
    return [int(child) for child in listed.stdout.split()]


def measure(operation: str, pid: int, port: int, postgres: int, seconds: int) -> Measure:
    """Put load on one operation."""
    method, path, body = OPERATIONS[operation]
    text = json.dumps(body) if body is not None else ""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (method, path, json.dumps(text) if text else "nil"))
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "-s", script.name]
        address = f"http://127.0.0.1:{port}"
        database = [postgres, *_children(postgres)]
        before = _processor_time([pid]), _processor_time(database)
        output = subprocess.run(  # noqa: S603 - our own arguments
            [*command, f"-d{seconds}s", address], check=True, capture_output=True, text=True
        ).stdout
        database = [postgres, *_children(postgres)]
        after = _processor_time([pid]), _processor_time(database)
    if "Non-2xx" in output:
        raise RuntimeError(f"{operation}: {output}")
    requests = max(1, int(re.findall(r"(\d+) requests in", output)[0]))
    return Measure(
        float(re.findall(r"Requests/sec:\s+([\d.]+)", output)[0]),
        _milliseconds(re.findall(r"^\s+50%\s+(\S+)", output, re.MULTILINE)[0]),
        _milliseconds(re.findall(r"^\s+99%\s+(\S+)", output, re.MULTILINE)[0]),
        (after[0] - before[0]) / requests * 1e6,
        (after[1] - before[1]) / requests * 1e6,
    )


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr] # wrk's format
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=3, help="per operation and turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write every measure to this file")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.exit(2, "install wrk, the load generator (Debian's package wrk)\n")
    discover()
    results: defaultdict[str, dict[str, list[Measure]]] = defaultdict(dict)
    with PostgresServer() as server:
        fill(server.url(), arguments.tasks)
        for operation in OPERATIONS:
            for _ in range(arguments.turns):
                for name, application in APPLICATIONS.items():
                    with serving(application, server.url()) as (pid, port):
                        measure(operation, pid, port, server.pid, 1)
                        turn = measure(operation, pid, port, server.pid, arguments.seconds)
                    results[operation].setdefault(name, []).append(turn)
            _print(operation, results[operation])
    if arguments.json:
        plain = {
            operation: {name: [vars(turn) for turn in turns] for name, turns in measured.items()}
            for operation, measured in results.items()
        }
        arguments.json.write_text(json.dumps(plain, indent=1))


def _print(operation: str, measured: dict[str, list[Measure]]) -> None:
    limit = [turn.per_second for turn in measured["limit"]]
    print(f"\n{operation}")  # noqa: T201 - a command's output
    for name, turns in measured.items():
        ratios = [turn.per_second / best for turn, best in zip(turns, limit, strict=True)]
        middle = {
            field: statistics.median(getattr(turn, field) for turn in turns)
            for field in Measure.__dataclass_fields__
        }
        print(  # noqa: T201 - a command's output
            f"  {name:12} {middle['per_second']:8.0f}/s  p50 {middle['p50_ms']:7.1f} ms  "
            f"p99 {middle['p99_ms']:7.1f} ms  server {middle['server_us']:6.0f} us  "
            f"database {middle['database_us']:6.0f} us  of the limit "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
