"""Searches on a PostgreSQL that has ``pg_trgm``, which the server of the dev extra has not."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from vibetracker.core.api.session import get_database
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.testing.postgres import PostgresServer

from .calls import ids

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian has the servers of its packages, which come with the extensions of contrib."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="needs a PostgreSQL with contrib, as Debian's"),
]
INDEXES = "SELECT count(*) FROM pg_indexes WHERE indexname = 'ix_tasks_search_text'"


@pytest.fixture(scope="module")
def server(embedded_postgres: type[PostgresServer]) -> Iterator[PostgresServer]:
    """Run a PostgreSQL with contrib."""
    server = embedded_postgres(durable=False)
    server.binaries = INSTALLED[-1]
    with server:
        yield server


@pytest.fixture
def database(
    server: PostgresServer, app: FastAPI, request: pytest.FixtureRequest
) -> Iterator[Database]:
    """Yield the database of this name, created by the test's statements and used by its role."""
    name, role, *statements = request.param
    server.sql(f"CREATE DATABASE {name}", database="postgres")
    for statement in statements:
        server.sql(statement, database=name)
    url = server.url(name).replace("postgres@", f"{role}@")
    database = Database(Settings(database_url=url, statement_timeout=60, _env_file=None))
    database.prepare()
    app.dependency_overrides[get_database] = lambda: database
    yield database
    app.dependency_overrides.clear()
    database.dispose()


OWN = ("own", "postgres")
ELSEWHERE = (
    *("elsewhere", "postgres"),
    *("CREATE SCHEMA extensions", "CREATE EXTENSION pg_trgm SCHEMA extensions"),
)
FORBIDDEN = ("forbidden", "guest", "CREATE ROLE guest LOGIN", "GRANT ALL ON SCHEMA public TO guest")


@pytest.mark.parametrize("database", [OWN, ELSEWHERE], ids=["own", "elsewhere"], indirect=True)
def test_a_search_uses_the_index_and_finds_without_accents(
    session_client: TestClient, database: Database, statements: list[tuple[str, Any]]
) -> None:
    for number in range(3):
        tasks = [
            {"op": "create", "data": {"title": f"task {number} {n}", "description": "x y z " * 200}}
            for n in range(100)
        ]
        batch = session_client.post("/tasks/batch", json={"operations": tasks})
        assert batch.status_code == 200, batch.text
    titles = ["Café à la plage", "CAFE\N{COMBINING ACUTE ACCENT} noir", "Łódź", "Straße", "Заметка"]
    made = [session_client.post("/tasks", json={"title": title}).json()["id"] for title in titles]
    with database.engine.connect() as connection:
        connection.execute(text("VACUUM ANALYZE tasks"))
    for q, found in {
        "cafe": made[:2],
        "PLAGE café": made[:1],
        "cafe\N{COMBINING ACUTE ACCENT}": made[:2],
        "lodz": made[2:3],
        "STRASSE": made[3:4],
        "заметка": made[4:],
        "af": made[:2],
        "café%": [],
    }.items():
        assert sorted(ids(session_client, q=q)) == found, q
    statements.clear()
    assert ids(session_client, q="cafe") == made[1::-1]
    statement, parameters = statements[0]
    with database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()
    assert "ix_tasks_search_text" in "\n".join(plan)


@pytest.mark.parametrize("database", [FORBIDDEN], ids=["forbidden"], indirect=True)
def test_a_role_that_may_not_install_it_is_served_without(
    server: PostgresServer,
    session_client: TestClient,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = session_client.post("/tasks", json={"title": "Café"}).json()["id"]
    assert ids(session_client, q="cafe") == [made]
    assert server.sql(INDEXES, database="forbidden") == "0"
    with database.engine.connect() as connection:
        connection.execute(text("DROP TABLE tasks, task_tags CASCADE"))
    with caplog.at_level(logging.WARNING):
        database.prepare()
    assert "searches for tasks have no index: permission denied" in caplog.text
