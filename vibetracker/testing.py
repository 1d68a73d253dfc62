"""What the tests of a feature are built from; needs the ``dev`` extra."""

import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGKILL, SIGSTOP, Signals
from threading import Barrier
from typing import Any, ClassVar, Self, override

from anyio import Event
from factory.base import Factory as FactoryBase
from fastapi import FastAPI
from httpx2 import BaseTransport, ByteStream, Request, Response
from sqlalchemy import delete, text
from starlette.testclient import TestClient
from starlette.types import Message

from vibetracker.core.api.openapi import HEADERS, problems_of
from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Base
from vibetracker.core.http import boundary as middleware
from vibetracker.core.http.problems import MEDIA_TYPE


class Factory[R: Base](FactoryBase[R]):
    """Makes rows in the test's database, each committed before the test goes on.

    A row comes detached from its session, so that a test sees what it made and reads what became
    of it through the API.
    """

    database: ClassVar[Database]

    class Meta:
        abstract = True

    @classmethod
    @override
    def _create(cls, model_class: type[R], *args: Any, **kwargs: Any) -> R:
        with Factory.database.session(write=True) as session:
            row = model_class(*args, **kwargs)
            session.add(row)
            session.commit()
            session.expunge_all()
            return row


def empty(database: Database) -> None:
    """Remove all rows and begin to count ids anew."""
    tables = database.tables
    with database.engine.begin() as connection:
        for table in reversed(tables):
            connection.execute(delete(table))
        for table in tables:
            if connection.dialect.name == "sqlite":
                # Their table is there as soon as one table numbers its rows so.
                if table.dialect_options["sqlite"]["autoincrement"]:
                    connection.execute(text("DELETE FROM sqlite_sequence"))
            elif "id" in table.columns:
                sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
                connection.execute(text(f"SELECT setval({sequence}, 1, false)"))


def at_once[T](work: Callable[[int], T], workers: int = 16) -> list[T]:
    """Let as many threads begin the same work together, and give what each came to."""
    barrier = Barrier(workers)

    def begin(number: int) -> T:
        barrier.wait(10)
        return work(number)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(begin, range(workers)))


class Client(TestClient):
    """A ``TestClient`` whose requests take half the time, for applications that stream nothing."""

    @override
    def __init__(self, app: FastAPI) -> None:
        super().__init__(app)
        self._transport = _Hop(self)


class _Hop(BaseTransport):
    """Takes a request to the application and its whole answer back.

    Starlette's own goes over to the application's thread for every step of an answer, and the ways
    would be most of the time that tests take.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @override
    def handle_request(self, request: Request) -> Response:
        if self._client.portal is None:
            raise RuntimeError("enter the client, so that its application runs")
        start, *parts = self._client.portal.call(self._answer, request)
        body = b"" if request.method == "HEAD" else b"".join(part["body"] for part in parts)
        return Response(
            start["status"], headers=start["headers"], stream=ByteStream(body), request=request
        )

    async def _answer(self, request: Request) -> list[Message]:
        sent: list[Message] = []
        received = [{"type": "http.request", "body": request.read(), "more_body": False}]
        answered = Event()

        async def receive() -> Message:
            if received:
                return received.pop()
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                answered.set()

        url = request.url
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "root_path": "",
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("testclient", 50000),
            "server": (url.host, url.port or 80),
            "state": self._client.app_state.copy(),
        }
        await self._client.app(scope, receive, send)
        return sent


def documented(app: FastAPI) -> Callable[[Response], None]:
    """Make a response hook that fails a test whose answer the OpenAPI document does not list.

    It looks at the status, at the type of the problem, and at the names of the header fields.
    """
    # What is spelled out comes before what a parameter stands for.
    paths = [
        (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), operations)
        for path, operations in sorted(app.openapi()["paths"].items())
    ]

    def check(response: Response) -> None:
        response.read()
        method = response.request.method.replace("HEAD", "GET").lower()
        path = response.request.url.path
        found: dict[str, Any] = next((ops for match, ops in paths if match.fullmatch(path)), {})
        if method in found and not _lists(found[method], response):
            raise AssertionError(
                f"{found[method]['operationId']} does not document this answer: "
                f"{response.status_code} {response.headers} {response.text}"
            )

    return check


def _lists(operation: dict[str, Any], response: Response) -> bool:
    listed = operation["responses"].get(str(response.status_code))
    if listed is None:
        return False
    names = {name.lower() for name in listed["headers"]}
    always = {name.lower() for name in listed["headers"] if HEADERS.get(name, {}).get("required")}
    if not always <= response.headers.keys() <= names | TRANSPORT:
        return False
    if response.headers.get("content-type") != MEDIA_TYPE or response.request.method == "HEAD":
        return True
    slug: str = response.json()["type"].rpartition("/")[2]
    # An HTTPException has no type of its own, and its status is listed.
    return slug in {"about:blank", *problems_of(operation)}


TRANSPORT = {
    *("connection", "content-encoding", "content-length", "content-type", "vary"),
    *map(str.lower, middleware.HEADERS),
}
"""Header fields that say nothing to the caller of one operation and not to that of another."""


class PostgresServer:
    """A PostgreSQL 16 of its own, from the binaries of the ``pgserver`` package.

    It listens on a free TCP port of the loopback address, keeps its data in a new temporary
    folder, and can be stopped, killed, frozen and started again. ``durable=False`` trades safety
    against a crash of the machine for speed.
    """

    def __init__(self, *, durable: bool = True, data: Path | None = None) -> None:
        found = find_spec("pgserver")
        if found is None or found.submodule_search_locations is None:
            raise RuntimeError("install the dev extra: its package pgserver carries PostgreSQL")
        self.binaries = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
        self.port = free_port()
        self._options = {} if durable else {"fsync": "off", "synchronous_commit": "off"}
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
        """Run one of PostgreSQL's programs, such as ``psql``, and give what it prints."""
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
        """Make the server with an empty database and start it."""
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
        """Start the server and wait until it answers; ``options`` are its settings."""
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
        """Stop the server in order, ending its sessions."""
        self._end(SIGINT)

    def kill(self) -> None:
        """Kill the server and all its processes, as a crash would."""
        self._end(SIGKILL)

    def freeze(self) -> None:
        """Let every process of the server stand still: it stays reachable and answers nothing."""
        self.signal(SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
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
            # Stopped, it can have no further children, which would keep its shared memory in use.
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
        """Run SQL as the superuser and give what ``psql`` prints, without headings."""
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
    """Find a TCP port of the loopback address that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _runs(pid: int) -> bool:
    """Return whether a process is there and not merely waiting for its parent to notice its end."""
    state = subprocess.run(  # noqa: S603 - our own arguments
        ["/usr/bin/env", "ps", "-o", "stat=", "-p", str(pid)],
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    return state.strip() != "" and not state.startswith("Z")


def _let_pass(folder: Path) -> None:
    # The group too, since the process keeps that of root.
    everybody = stat.S_IXGRP | stat.S_IXOTH
    mode = folder.stat().st_mode
    if mode & everybody != everybody:
        folder.chmod(mode | everybody)
