"""A PostgreSQL server for tests, which may stop, kill and freeze it."""

import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGKILL, SIGSTOP, Signals
from typing import Any, Self

from sqlalchemy import Connection


class PostgresServer:
    """A PostgreSQL 16 of its own, from the binaries of the ``pgserver`` package.

    It listens on a free TCP port of the loopback address, keeps its data in a new temporary
    folder, and can be stopped, killed, frozen and started again. ``durable=False`` trades safety
    against a crash of the machine for speed, and leaves it to the tests when tables are vacuumed.
    """

    def __init__(self, *, durable: bool = True, data: Path | None = None) -> None:
        found = find_spec("pgserver")
        if found is None or found.submodule_search_locations is None:
            raise RuntimeError("install the dev extra: its package pgserver carries PostgreSQL")
        self.binaries = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
        self.port = free_port()
        quick = {"fsync": "off", "synchronous_commit": "off", "autovacuum": "off"}
        self._options = {} if durable else quick
        # PostgreSQL refuses to run as root, so it becomes somebody without rights then.
        self.user = "nobody" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="vibetracker-postgres-"))
        self.data = data or self.folder / "data"
        if self.user:
            shutil.chown(self.folder, self.user)
            for parent in (*self.binaries.parents, *self.folder.parents):
                _let_pass(parent)
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs, such as ``psql``, and return what it prints."""
        return subprocess.run(  # noqa: S603 - our own arguments
            [self.binaries / program, *arguments],
            user=self.user,
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def url(self, database: str = "vibetracker") -> str:
        """Return the URL of a database on this server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        """Create the server with an empty database, and start it."""
        if not (self.data / "PG_VERSION").exists():
            self.run(
                "initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"
            )
        self.start()
        self.sql("CREATE DATABASE vibetracker", database="postgres")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, **options: str) -> None:
        """Start the server and wait until it accepts connections; ``options`` are its settings."""
        settings = {"unix_socket_directories": str(self.folder), **self._options, **options}
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments
                [self.binaries / "postgres", "-D", self.data, "-p", str(self.port), *flags],
                user=self.user,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.02)

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""
        try:
            self.run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        except subprocess.CalledProcessError:
            return False
        return True

    def stop(self) -> None:
        """Stop the server (fast shutdown): its sessions are ended."""
        self._end(SIGINT)

    def kill(self) -> None:
        """Kill the server and all its processes, as a crash would."""
        self._end(SIGKILL)

    def freeze(self) -> None:
        """Suspend every process of the server: it accepts connections and responds to nothing."""
        self.signal(SIGSTOP)

    def thaw(self) -> None:
        """Resume a frozen server."""
        self.signal(SIGCONT)

    def signal(self, number: Signals) -> None:
        """Send a signal to every process of the server."""
        for pid in (self.pid, *self._children()):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _children(self) -> list[int]:
        found = subprocess.run(  # noqa: S603 - our own arguments
            ["/usr/bin/env", "pgrep", "-P", str(self.pid)],
            check=False,
            capture_output=True,
            text=True,
        )
        return [int(pid) for pid in found.stdout.split()]

    def _end(self, number: Signals) -> None:
        if self._process is None:
            return
        children: list[int] = []
        if number is SIGKILL:
            # Suspended, it starts no further children, which would keep its shared memory in use.
            self._process.send_signal(SIGSTOP)
            children = self._children()
            self.signal(SIGKILL)
        else:
            self._process.send_signal(number)
        self._process.wait(30)
        self._process = None
        deadline = time.monotonic() + 30
        while any(map(_runs, children)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def sql(self, statement: str, database: str = "vibetracker") -> str:
        """Run SQL as the superuser and return what ``psql`` prints, without headings."""
        return self.run(
            "psql",
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            self.url(database),
            "-c",
            statement,
        ).strip()


def free_port() -> int:
    """Return a TCP port of the loopback address that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _runs(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    state = subprocess.run(  # noqa: S603 - our own arguments
        ["/usr/bin/env", "ps", "-o", "stat=", "-p", str(pid)],
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    return state.strip() != "" and not state.startswith("Z")


def _let_pass(folder: Path) -> None:
    # The group too, since the process still has that of root.
    everybody = stat.S_IXGRP | stat.S_IXOTH
    mode = folder.stat().st_mode
    if mode & everybody != everybody:
        folder.chmod(mode | everybody)


def pages_read(connection: Connection, statement: str, values: Any) -> int:
    """Run a statement, and return how many pages of tables and indexes PostgreSQL read for it."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
    ((((plan),),),) = connection.exec_driver_sql(explain, values).all()
    top: dict[str, int] = plan["Plan"]
    return top["Shared Hit Blocks"] + top["Shared Read Blocks"]
