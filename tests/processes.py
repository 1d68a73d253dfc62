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
    """Return the environment of this process without any setting, and with the changes."""
    # Without bytecode every one of the many processes would compile everything anew.
    left_out = {"pythondontwritebytecode", *Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name.lower() not in left_out}
    return kept | changes


def copy_project(folder: Path, *, tests: bool = False) -> dict[str, str]:
    """Copy the package and its test fixtures; returns the change of environment that uses them.

    What watches the code for changes then sees only those of the test. The features come without
    their tests unless they are asked for.
    """
    folder.mkdir(exist_ok=True)
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(
        ROOT / "vibetracker",
        folder / "vibetracker",
        # With the bytecode, so that its processes need not compile everything anew.
        ignore=None if tests else shutil.ignore_patterns("tests"),
    )
    return {"PYTHONPATH": str(folder)}


def call(*command: str | Path, folder: Path, **changes: str) -> str:
    """Run a command in a folder and return what it prints; fails with all it said if it fails."""
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
    """A server that runs; ``origin`` is its address and ``lines`` what it has said so far."""

    process: subprocess.Popen[str]
    lines: list[str]
    origin: str = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it says something; fails with what it said when it ends before that."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError("".join(self.lines))

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.process.send_signal(signal.SIGTERM)
        _, rest = self.process.communicate()
        self.lines.append(rest)


@contextmanager
def running(*arguments: str, folder: Path, port: str = "0", **settings: str) -> Iterator[Server]:
    """Run a command that serves, in a folder, for as long as the block lasts; port 0 is any."""
    with subprocess.Popen(  # noqa: S603 - our own arguments
        [COMMAND, *arguments, "--port", port],
        cwd=folder,
        env=environment(**settings),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        server = Server(process, [])
        # Its children too, so that nothing waits for ever for what is never said.
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
    # A listening socket keeps who comes early waiting, so that nobody has to ask for a start.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join()
