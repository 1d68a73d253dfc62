"""Runs the installed command in processes of its own, and its server in a thread of this one."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, Timer

from starlette.types import ASGIApp
from uvicorn import Server as Uvicorn

from vibetracker.cli import server_config
from vibetracker.core.config import Settings

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("vibetracker")
PLAIN_PYTEST = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Lets pytest start in half the time, for tests that use no plugin."""


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of this process without its settings, and with these variables."""
    # Without bytecode each of the many processes would compile every module again.
    left_out = {"pythondontwritebytecode", *Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name.lower() not in left_out}
    return kept | changes


def copy_project(folder: Path, *, tests: bool = False) -> dict[str, str]:
    """Copy the package and its test fixtures; return the environment variables that use the copy.

    A reloader then sees only the changes of the test. The tests of the features are copied with
    ``tests`` alone.
    """
    folder.mkdir(exist_ok=True)
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(
        ROOT / "vibetracker",
        folder / "vibetracker",
        # With the bytecode, so that its processes need not compile every module again.
        ignore=None if tests else shutil.ignore_patterns("tests"),
    )
    return {"PYTHONPATH": str(folder)}


def call(*command: str | Path, folder: Path, **changes: str) -> str:
    """Run a command in a folder and return its output; fails with all of it if the command does."""
    done = subprocess.run(  # noqa: S603 - our own arguments
        command,
        cwd=folder,
        env=environment(**changes),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def as_shipped() -> list[Path]:
    """List the tests of the product as it is shipped: they serve it, or fill it with data.

    They name features; no other test outside of a feature's folder does.
    """
    tests = ROOT / "tests"
    return [
        *(folder for folder in tests.iterdir() if folder.is_dir()),
        *(file for file in tests.glob("test_*.py") if "running(" in file.read_text()),
        tests / "test_recurrences.py",
        tests / "test_seed.py",
        tests / "test_transfer.py",
    ]


@dataclass
class Server:
    """A running server; ``origin`` is its address and ``lines`` its log so far."""

    process: subprocess.Popen[str]
    lines: list[str]
    origin: str = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line of the log; fails with the whole log when the server ends before that."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError("".join(self.lines))

    def stop(self) -> None:
        """Send SIGTERM, and wait until the server has ended."""
        self.process.send_signal(signal.SIGTERM)
        _, rest = self.process.communicate()
        self.lines.append(rest)


@contextmanager
def running(*arguments: str, folder: Path, port: str = "0", **settings: str) -> Iterator[Server]:
    """Run a command that serves, in a folder, until the block ends; port 0 is any free one."""
    with subprocess.Popen(  # noqa: S603 - our own arguments
        [COMMAND, *arguments, "--port", port],
        cwd=folder,
        env=environment(**settings),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        server = Server(process, [])
        # Its children too: whoever reads a pipe that one of them has open would wait for ever.
        overdue = Timer(120, os.killpg, (process.pid, signal.SIGKILL))
        overdue.start()
        try:
            server.origin = server.wait_for(r"serving on (http://\S+),")[1]
            yield server
        finally:
            if process.poll() is None:
                server.stop()
            overdue.cancel()


@contextmanager
def serving(app: ASGIApp) -> Iterator[tuple[int, Uvicorn]]:
    """Serve an application of this process as the command does; yields the port and the server."""
    server = Uvicorn(server_config(app))
    # Early clients wait in the backlog of the socket, so that nobody has to poll for the start.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join()
