"""Runs an application, puts load on it with wrk, and measures the cost."""

import http.client
import itertools
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
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vibetracker.testing import free_port

CONNECTIONS = 16
JSON = {"Content-Type": "application/json"}
UVICORN = ("-m", "uvicorn", "--log-level", "warning", "--port", "{port}")
VIBETRACKER = ("-m", "vibetracker", "serve", "--port", "{port}")
HAND_WRITTEN = (*UVICORN, "benchmarks.limit:app")
BARE = (*UVICORN, "benchmarks.bare:app")
IDIOMATIC = (*UVICORN, "benchmarks.idiomatic:app")

SCRIPT = """
local values = {%s}
-- Another place to begin at for each measure, and another value of a row each time round: what a
-- PATCH sends is a change then.
local n = os.time() * 97 %% 90000
wrk.method = "%s"
wrk.headers["Content-Type"] = "application/json"
request = function()
  n = n + 1
  local path, body = "%s", %s
  if path:find("%%%%d") then
    path = path:format(1 + (n * 7919) %% 900)
    body = '{"%s":"' .. values[1 + (n + math.floor(n / 900)) %% #values] .. '"}'
  end
  return wrk.format(nil, path, nil, body)
end
"""


@dataclass(frozen=True)
class Operation:
    """One request that is sent again and again; ``%d`` in its path is the id of some row.

    ``field`` and ``values`` say what a PATCH changes. A turn has
    ``count`` requests where one is so slow that the end of a timed turn would cut off much work.
    """

    method: str
    path: str
    body: object = None
    field: str = "priority"
    values: tuple[str, ...] = ("none", "low", "medium", "high", "urgent")
    count: int | None = None


@dataclass
class Measure:
    """The results of one turn; processor time is per request, of all processes of a side."""

    per_second: float
    p50_ms: float
    p99_ms: float
    server_us: float
    database_us: float


@dataclass(frozen=True)
class Cores:
    """Which cores each side runs on; empty where all sides share all cores."""

    server: frozenset[int] = frozenset()
    database: frozenset[int] = frozenset()
    generator: frozenset[int] = frozenset()

    @classmethod
    def apart(cls) -> Self:
        """Return two cores for the server alone, where there are two more for the others."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 4:
            return cls()
        return cls(frozenset(cores[:2]), frozenset(cores[2:]), frozenset(cores[-1:]))


@contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Let processes that are started inside run on these cores only, if any are named."""
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or all_cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cores)


@dataclass(frozen=True)
class Serving:
    """A running application."""

    pid: int
    port: int
    database: int
    cores: Cores = Cores()

    def measure(self, operation: Operation, seconds: int) -> Measure:
        """Put load on one operation; raises ``RuntimeError`` for a response that is no success."""
        before = self._processor_times()
        send = self._send_for if operation.count is None else self._send_all
        requests, per_second, p50, p99 = send(operation, seconds)
        after = self._processor_times()
        server, database = ((b - a) / requests * 1e6 for a, b in zip(before, after, strict=True))
        return Measure(per_second, p50, p99, server, database)

    def _send_for(self, operation: Operation, seconds: int) -> tuple[int, float, float, float]:
        text = json.dumps(operation.body) if operation.body is not None else ""
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            values = ", ".join(map(json.dumps, operation.values))
            body = json.dumps(text) if text else "nil"
            script.write(SCRIPT % (values, operation.method, operation.path, body, operation.field))
            script.flush()
            command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "-s", script.name]
            with on_cores(self.cores.generator):
                output = subprocess.run(  # noqa: S603 - our own arguments
                    [*command, f"-d{seconds}s", f"http://127.0.0.1:{self.port}"],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
        if "Non-2xx" in output:
            raise RuntimeError(f"{operation}: {output}")
        return (
            max(1, int(re.findall(r"(\d+) requests in", output)[0])),
            float(re.findall(r"Requests/sec:\s+([\d.]+)", output)[0]),
            _milliseconds(re.findall(r"^\s+50%\s+(\S+)", output, re.MULTILINE)[0]),
            _milliseconds(re.findall(r"^\s+99%\s+(\S+)", output, re.MULTILINE)[0]),
        )

    def _send_all(self, operation: Operation, _: float) -> tuple[int, float, float, float]:
        """Send a number of requests over as many connections, and wait for the last response."""
        count = operation.count or 1
        body = json.dumps(operation.body)

        def send(number: int) -> list[float]:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
            taken = []
            for _ in range(number, count, CONNECTIONS):
                begun = time.perf_counter()
                connection.request(operation.method, operation.path, body, JSON)
                response = connection.getresponse()
                answer = response.read()
                if response.status not in range(200, 300):
                    raise RuntimeError(f"{operation}: {response.status} {answer!r}")
                taken.append((time.perf_counter() - begun) * 1000)
            connection.close()
            return taken

        begun = time.perf_counter()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            taken = sorted(itertools.chain.from_iterable(pool.map(send, range(CONNECTIONS))))
        per_second = count / (time.perf_counter() - begun)
        return count, per_second, statistics.median(taken), taken[len(taken) * 99 // 100]

    def processor_ms(self) -> float:
        """Return the processor time so far of all threads of both sides that still run."""
        nanoseconds = 0
        for pid in (*_family(self.pid), *_family(self.database)):
            for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                nanoseconds += int(thread.read_text().split()[0])
        return nanoseconds / 1e6

    def memory(self) -> float:
        """Return the private memory of its processes, in megabytes."""
        kilobytes = 0
        for pid in _family(self.pid):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kilobytes += sum(map(int, re.findall(r"^Private_\w+:\s+(\d+)", rollup, re.MULTILINE)))
        return kilobytes / 1000

    def _processor_times(self) -> tuple[float, float]:
        return _processor_time(_family(self.pid)), _processor_time(_family(self.database))


@contextmanager
def serving(
    application: Iterable[str],
    url: str,
    database: int,
    *arguments: str,
    cores: Cores = Cores(),
    folder: Path | None = None,
    settings: Mapping[str, str] = {},
) -> Iterator[Serving]:
    """Run an application on the database of this URL, whose server has this process id.

    Its code is that in the folder, or else this checkout's.
    """
    port = free_port()
    code = {} if folder is None else {"PYTHONPATH": str(folder)}
    with on_cores(cores.server):
        process = subprocess.Popen(  # noqa: S603 - our own arguments
            [sys.executable, *(part.format(port=port) for part in application), *arguments],
            env={**os.environ, "DATABASE_URL": url, **code, **settings},
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    with process:
        try:
            _wait_for(port)
            yield Serving(process.pid, port, database, cores)
        finally:
            process.send_signal(signal.SIGTERM)


def require_load_generator() -> None:
    """Exit with status 2 where there is no ``wrk``."""
    if shutil.which("wrk") is None:
        sys.stderr.write("install wrk, the load generator (Debian's package wrk)\n")
        sys.exit(2)


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


def _family(pid: int) -> list[int]:
    listed = subprocess.run(  # noqa: S603 - our own arguments
        ["/usr/bin/env", "pgrep", "-P", str(pid)], check=False, capture_output=True, text=True
    )
    return [pid, *(member for child in listed.stdout.split() for member in _family(int(child)))]


def _processor_time(pids: Iterable[int]) -> float:
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        # Its own, and that of children which have ended.
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _milliseconds(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    if found is None:
        raise ValueError(f"wrk printed {text!r} for a time")
    number, unit = found.groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
