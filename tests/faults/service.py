"""Runs the service as its image does: in a process of its own that faults can hit."""

import http.client
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any, Self

from vibetracker.core.config import Settings
from vibetracker.testing import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 15
"""Seconds within which every request needs a response, whatever the fault."""


def wait_until(condition: Callable[[], object], *, within: float, what: str) -> float:
    """Wait until the condition is true, and return the seconds that it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within:
            raise AssertionError(f"{what}: not within {within:g} s")
        time.sleep(0.01)
    return time.monotonic() - started


@dataclass(frozen=True)
class Answer:
    """A response, and the seconds until it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    waited: float

    def json(self) -> dict[str, Any]:
        """Read the body."""
        content: dict[str, Any] = json.loads(self.body)
        return content

    @property
    def is_proper(self) -> bool:
        """Return whether it is a success, or a 503 that says when to retry."""
        if self.status == 503:
            return (
                self.headers.get("content-type") == "application/problem+json"
                and self.headers.get("retry-after", "").isdigit()
            )
        return self.status < 300


class Client:
    """A client with one connection, which is opened again when it is lost."""

    def __init__(self, port: int, *, patience: float = PATIENCE) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)

    def request(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request; raises ``OSError`` or ``HTTPException`` when there is no response."""
        content = None
        if body is not None:
            content = json.dumps(body)
            headers["Content-Type"] = "application/json"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        started = time.monotonic()
        try:
            self._connection.request(method, path, content, named)
            response = self._connection.getresponse()
            received = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        waited = time.monotonic() - started
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, names, received, waited)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Service:
    """One process of the service, with the command of the Dockerfile, on a free port."""

    def __init__(
        self,
        database_url: str,
        *,
        descriptors: int | None = None,
        **settings: object,
    ) -> None:
        self.port = free_port()
        self.log = Path(tempfile.mkstemp(prefix="vibetracker-service-", suffix=".log")[1])
        self._descriptors = descriptors
        inherited = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
        changed = {name.upper(): str(value) for name, value in settings.items()}
        own = {"DATABASE_URL": database_url, "PORT": str(self.port)}
        self._environment = {**inherited, **changed, **own}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start, and wait until it is ready."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it if it is still running."""
        self.kill()
        self.log.unlink()

    def start(self, *, until: str = "/health/ready") -> None:
        """Start the process, and wait until a GET succeeds."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command of our own image
                command(),
                cwd=tempfile.gettempdir(),
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        if self._descriptors is not None:
            limits = (self._descriptors, self._descriptors)
            resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, limits)
        try:
            wait_until(lambda: self.answers(until), within=30, what="the service serves")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.log.read_text()}") from None

    def answers(self, path: str) -> bool:
        """Return whether a GET succeeds."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(self.log.read_text())
        client = Client(self.port)
        try:
            return client.request("GET", path).status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            client.close()

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Send SIGKILL, as if the process crashed."""
        self._end(SIGKILL)

    def terminate(self, within: float = 20) -> float:
        """Send SIGTERM, wait until it has ended, and return the seconds that it took."""
        started = time.monotonic()
        self._end(SIGTERM, within)
        return time.monotonic() - started

    def signal(self, number: Signals) -> None:
        """Send a signal without waiting for its effect."""
        os.kill(self.pid, number)

    def wait(self, within: float = 20) -> int:
        """Wait until it has ended by itself, and return its exit status."""
        assert self._process is not None
        return self._process.wait(within)

    def _end(self, number: Signals, within: float = 20) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(within)
            self._process = None

    @property
    def memory(self) -> int:
        """Return the resident memory of the process, in bytes."""
        return self._status("VmRSS") * 1024

    @property
    def peak(self) -> int:
        """Return the peak of its resident memory, in bytes."""
        return self._status("VmHWM") * 1024

    @property
    def threads(self) -> int:
        """Return the number of its threads."""
        return self._status("Threads")

    @property
    def descriptors(self) -> int:
        """Return the number of files and connections that it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{name}:\s*(\d+)", text, re.MULTILINE)
        assert found is not None
        return int(found[1])


def command() -> list[str]:
    """Return the command of the Dockerfile, on the loopback address."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("CMD ")]
    program, *arguments = json.loads(line.removeprefix("CMD "))
    changes = {"0.0.0.0": "127.0.0.1"}  # noqa: S104 - replaced, not bound
    return [
        str(Path(sys.executable).with_name(program)),
        *(changes.get(argument, argument) for argument in arguments),
    ]
