"""One transaction per request: committed before the response is sent, or else no 2xx."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Connection, NullPool, create_engine, event, func, select, text
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vibetracker.core.db.database import Database

from .specimens import Specimen


def stored(database: Database) -> int:
    """Count what another connection sees, outside of every request's transaction."""
    with database.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Specimen)) or 0


class Witness:
    """Reads the database at the moment at which a response begins to be sent."""

    def __init__(self, app: ASGIApp, look: Callable[[], int]) -> None:
        self.app = app
        self.look = look
        self.seen: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def witnessed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.seen.append(self.look())
            await send(message)

        await self.app(scope, receive, witnessed)


@pytest.mark.usefixtures("specimens")
def test_what_is_acknowledged_is_committed(specimen_app: FastAPI, database: Database) -> None:
    witness = Witness(specimen_app, lambda: stored(database))
    client = TestClient(witness)
    assert client.post("/specimens", json={"label": "a"}).status_code == 201
    assert client.post("/specimens", json={"label": "a"}).status_code == 409
    assert client.delete("/specimens/1").status_code == 204
    assert witness.seen == [1, 1, 0]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_a_commit_that_a_constraint_refuses_is_no_success(
    specimens: TestClient, database: Database, headers: dict[str, str]
) -> None:
    response = specimens.post("/specimens", json={"label": "a", "twin_id": 4711}, headers=headers)
    assert response.status_code == 409
    assert response.json()["type"] == "/problems/conflict"
    assert not {"etag", "location"} & set(response.headers)
    assert stored(database) == 0
    assert specimens.post("/specimens", json={"label": "a"}, headers=headers).status_code == 201


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_a_commit_whose_connection_is_lost_is_no_success(
    specimens: TestClient, database: Database, headers: dict[str, str]
) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no connection to lose")

    def lose(connection: Connection) -> None:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        with database.engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    event.listen(database.engine, "commit", lose)
    try:
        response = specimens.post("/specimens", json={"label": "a"}, headers=headers)
    finally:
        event.remove(database.engine, "commit", lose)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert stored(database) == 0
    assert specimens.post("/specimens", json={"label": "a"}, headers=headers).status_code == 201


def test_a_connection_that_was_lost_between_requests_is_replaced(
    specimens: TestClient, database: Database
) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no connection to lose")
    specimens.post("/specimens", json={"label": "a"})
    requests: list[tuple[str, dict[str, Any]]] = [
        ("GET", {}),
        ("POST", {"json": {"label": "b"}}),
        ("POST", {"json": {"label": "c"}, "headers": {"Idempotency-Key": "k"}}),
    ]
    # Not from the pool, which may return a connection that was lost before.
    administrator = create_engine(database.engine.url, poolclass=NullPool)
    for method, options in requests:
        with administrator.connect() as connection:
            others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {}"
            mine = "datname = current_database() AND pid <> pg_backend_pid()"
            connection.execute(text(others.format(mine)))
        assert specimens.request(method, "/specimens", **options).is_success
    # The pool may still hold a lost connection, which only a request replaces.
    database.engine.dispose()
    assert stored(database) == 3


def test_a_request_that_fails_after_it_wrote_is_rolled_back(
    specimens: TestClient, database: Database
) -> None:
    specimens.post("/specimens", json={"label": "a"})
    assert specimens.post("/specimens/1/drop").status_code == 500
    specimen = specimens.get("/specimens/1").json()
    assert (specimen["note"], specimen["version"]) == ("", 1)
    assert stored(database) == 1
