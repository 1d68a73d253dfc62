"""What the tests of a feature are built from; needs the ``dev`` extra."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, ClassVar, override

from anyio import Event
from factory.base import Factory as FactoryBase
from fastapi import FastAPI
from httpx2 import BaseTransport, ByteStream, Request, Response
from sqlalchemy import delete
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from starlette.types import Message

from vibetracker.core.api.openapi import HEADERS
from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Base
from vibetracker.core.http import boundary as middleware
from vibetracker.core.http.problems import MEDIA_TYPE

from .postgres import PostgresServer, free_port, pages_read

__all__ = [
    "Client",
    "Factory",
    "PostgresServer",
    "at_once",
    "documented",
    "empty",
    "free_port",
    "pages_read",
]


class Factory[R: Base](FactoryBase[R]):
    """Creates rows in the test's database, each committed before the test goes on.

    Rows are detached from their session, so that a test has the values that it set, and reads
    later ones through the API. Listeners are not called: they get the changes of requests alone.
    """

    database: ClassVar[Database]

    class Meta:
        abstract = True

    @classmethod
    @override
    def _create(cls, model_class: type[R], *args: Any, **kwargs: Any) -> R:
        with Session(Factory.database.engine, expire_on_commit=False) as session:
            row = model_class(*args, **kwargs)
            session.add(row)
            session.commit()
            session.expunge_all()
            return row


def empty(database: Database) -> None:
    """Delete all rows, and restart the ids at 1."""
    quote = database.engine.dialect.identifier_preparer.quote
    names = {table.name: quote(table.name) for table in database.tables}
    # Most are empty already, and to find that out takes one statement.
    filled = " UNION ALL ".join(
        f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {quoted})"  # noqa: S608 - our own names
        for name, quoted in names.items()
    )
    with database.engine.begin() as connection:
        found = {*connection.exec_driver_sql(filled).scalars()} if names else ()
        for table in reversed(database.tables):
            if table.name in found:
                connection.execute(delete(table))
        numbered = [names[table.name] for table in database.tables if "id" in table.columns]
        if connection.dialect.name == "postgresql":
            sequences = (f"pg_get_serial_sequence('{name}', 'id')" for name in numbered)
            anew = ", ".join(f"setval({sequence}, 1, false)" for sequence in sequences)
            connection.exec_driver_sql(f"SELECT {anew}")
        elif numbered:
            connection.exec_driver_sql("DELETE FROM sqlite_sequence")


def at_once[T](work: Callable[[int], T], workers: int = 16) -> list[T]:
    """Call ``work`` in many threads at once, each with its number; return the results in order."""
    barrier = Barrier(workers)

    def begin(number: int) -> T:
        barrier.wait(10)
        return work(number)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(begin, range(workers)))


class Client(TestClient):
    """A ``TestClient`` that checks responses against the OpenAPI document, and takes half the time.

    Of a stream without an end it reads the first chunk.
    """

    @override
    def __init__(self, app: FastAPI) -> None:
        super().__init__(app)
        self._transport = _Hop(self)
        self.event_hooks = {"response": [documented(app)]}


def is_endless(start: Message) -> bool:
    """Return whether a response is a stream of events, of which the first chunk is enough."""
    return (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]


class _Hop(BaseTransport):
    """A transport that calls the application once for a request and its whole response.

    Starlette's own switches to the application's thread for every message of a response, which
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
            is_body = message["type"] == "http.response.body"
            if is_body and (not message.get("more_body") or is_endless(sent[0])):
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
    """Return a response hook that fails a test for a response that the document does not list.

    It looks at the status, at the type of the problem, and at the names of the header fields.
    """
    # Paths without parameters come first.
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
    problem = listed.get("content", {}).get(MEDIA_TYPE, {})
    return slug in {"about:blank", *problem.get("examples", ())}


TRANSPORT = {
    *("connection", "content-encoding", "content-length", "content-type", "vary"),
    *map(str.lower, middleware.HEADERS),
}
"""Header fields that an operation need not document: any response may have them."""
