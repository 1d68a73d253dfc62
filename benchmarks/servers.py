"""Runs an application, puts load on it with wrk, and takes what that costs."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vibetracker.testing import free_port

CONNECTIONS = 16
VIBETRACKER = ("-m", "vibetracker", "serve")
HAND_WRITTEN = ("-m", "uvicorn", "benchmarks.limit:app", "--log-level", "warning")
IDIOMATIC = ("-m", "uvicorn", "benchmarks.idiomatic:app", "--log-level", "warning")

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


@dataclass(frozen=True)
class Operation:
    """One request that is sent again and again; ``%d`` in its path is the id of some task."""

    method: str
    path: str
    body: object = None


@dataclass
class Measure:
    """What one turn gave; processor time is per request, of all processes of a side."""

    per_second: float
    p50_ms: float
    p99_ms: float
    server_us: float
    database_us: float


@dataclass(frozen=True)
class Serving:
    """An application that serves."""

    pid: int
    port: int
    database: int

    def measure(self, operation: Operation, seconds: float) -> Measure:
        """Put load on one operation; raises ``RuntimeError`` for an answer that is no success."""
        text = json.dumps(operation.body) if operation.body is not None else ""
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            body = json.dumps(text) if text else "nil"
            script.write(SCRIPT % (operation.method, operation.path, body))
            script.flush()
            command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "-s", script.name]
            before = self._processor_times()
            output = subprocess.run(  # noqa: S603 - our own arguments
                [*command, f"-d{seconds:g}s", f"http://127.0.0.1:{self.port}"],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            after = self._processor_times()
        if "Non-2xx" in output:
            raise RuntimeError(f"{operation}: {output}")
        requests = max(1, int(re.findall(r"(\d+) requests in", output)[0]))
        server, database = ((b - a) / requests * 1e6 for a, b in zip(before, after, strict=True))
        return Measure(
            float(re.findall(r"Requests/sec:\s+([\d.]+)", output)[0]),
            _milliseconds(re.findall(r"^\s+50%\s+(\S+)", output, re.MULTILINE)[0]),
            _milliseconds(re.findall(r"^\s+99%\s+(\S+)", output, re.MULTILINE)[0]),
            server,
            database,
        )

    def memory(self) -> float:
        """Tell how much memory its processes have to themselves, in megabytes."""
        kilobytes = 0
        for pid in _family(self.pid):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kilobytes += sum(map(int, re.findall(r"^Private_\w+:\s+(\d+)", rollup, re.MULTILINE)))
        return kilobytes / 1000

    def _processor_times(self) -> tuple[float, float]:
        return _processor_time(_family(self.pid)), _processor_time(_family(self.database))


@contextmanager
def serving(
    application: Iterable[str], url: str, database: int, *arguments: str
) -> Iterator[Serving]:
    """Run an application on the database of this URL, whose server has this process id."""
    port = free_port()
    with subprocess.Popen(  # noqa: S603 - our own arguments
        [sys.executable, *application, "--port", str(port), *arguments],
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_for(port)
            yield Serving(process.pid, port, database)
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
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr] # wrk's format
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
