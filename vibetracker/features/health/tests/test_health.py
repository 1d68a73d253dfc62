"""Health as orchestrators and people ask for it."""

import logging
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy import NullPool, create_engine, text
from starlette.testclient import TestClient

from vibetracker import __version__
from vibetracker.core.api.session import get_database
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import discover
from vibetracker.testing import PostgresServer

VERDICTS = ["/health", "/health/ready"]
UNANSWERED = "postgresql://somebody:hunter2@127.0.0.1:1/vibetracker"


@pytest.fixture
def away(client: TestClient, app: FastAPI) -> Iterator[TestClient]:
    """Yield a client of a service whose database has never been reachable."""
    database = Database(Settings(database_url=UNANSWERED, _env_file=None))
    app.dependency_overrides[get_database] = lambda: database
    yield client
    database.dispose()


def test_a_service_that_serves_is_alive(client: TestClient) -> None:
    response = client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_probe_may_use_any_host() -> None:
    settings = Settings(database_url="sqlite://", allowed_hosts=["api.example.org"], _env_file=None)
    with TestClient(create_app(settings, discover(only={"health"}))) as client:
        for host in ("127.0.0.1:8000", "10.0.0.7", "api.example.org"):
            client.headers["Host"] = host
            for url in ("/health/live", "/health/ready"):
                assert client.get(url).status_code == 200, (host, url)
            is_allowed = host == "api.example.org"
            for url in ("/problems", "/healthy"):
                assert (client.get(url).status_code != 400) is is_allowed, (host, url)
        assert client.get("/health/live", headers={"Host": "a/b"}).status_code == 400


def test_a_service_with_its_database_is_ready(client: TestClient) -> None:
    response = client.get("/health/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_database_that_was_away_between_two_probes_is_ready(
    client: TestClient, database: Database
) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no connection to lose")
    assert client.get("/health/ready").status_code == 200
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    statement = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}"  # noqa: S608 - a constant
    administrator = create_engine(database.engine.url, poolclass=NullPool)
    with administrator.connect() as connection:
        connection.execute(text(statement))
    assert client.get("/health/ready").status_code == 200
    database.engine.dispose()


def test_health_has_the_version_and_what_was_checked(client: TestClient) -> None:
    assert client.get("/health").json() == {
        "status": "ok",
        "version": __version__,
        "checks": {"database": "ok"},
    }


@pytest.mark.parametrize("url", [*VERDICTS, "/health/live"])
def test_health_is_never_cached(client: TestClient, url: str) -> None:
    assert client.get(url).headers["cache-control"] == "no-store"


def test_successful_probes_are_logged_at_debug_level_alone(
    client: TestClient, app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    def levels(url: str) -> list[int]:
        caplog.clear()
        client.get(url)
        return [line.levelno for line in caplog.records if line.name == "vibetracker.access"]

    caplog.set_level(logging.DEBUG, "vibetracker.access")
    for url in ("/health/live", *VERDICTS):
        assert levels(url) == [logging.DEBUG]
    for url in ("/health/ready?x=1", "/health/nothing", "/problems"):
        assert levels(url) == [logging.INFO]
    database = Database(Settings(database_url=UNANSWERED, _env_file=None))
    app.dependency_overrides[get_database] = lambda: database
    assert levels("/health/ready") == [logging.INFO]
    database.dispose()


def test_a_service_without_its_database_is_alive(away: TestClient) -> None:
    assert away.get("/health/live").json() == {"status": "ok"}


@pytest.mark.parametrize("url", VERDICTS)
def test_a_service_without_its_database_is_not_ready(away: TestClient, url: str) -> None:
    response = away.get(url)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "/problems/unavailable"
    assert int(response.headers["retry-after"]) >= 1


def test_health_has_the_check_that_failed(away: TestClient) -> None:
    problem = away.get("/health").json()
    assert problem["version"] == __version__
    assert problem["checks"] == {"database": "unavailable"}


@pytest.fixture(scope="module")
def server(embedded_postgres: type[PostgresServer]) -> Iterator[PostgresServer]:
    """Run a PostgreSQL that the tests of this module may stop and freeze."""
    with embedded_postgres(durable=False) as server:
        yield server


@pytest.fixture
def seen(server: PostgresServer, client: TestClient, app: FastAPI) -> Iterator[TestClient]:
    """Yield a client of a service that has used its database already."""
    database = Database(Settings(database_url=server.url(), _env_file=None))
    database.prepare()
    app.dependency_overrides[get_database] = lambda: database
    assert client.get("/health/ready").status_code == 200
    yield client
    database.dispose()


@pytest.mark.slow
def test_the_verdict_follows_the_database_and_its_cause_is_in_the_log_alone(
    seen: TestClient, server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    for url in VERDICTS:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            response = seen.get(url)
        assert response.status_code == 503
        for inside in ("127.0.0.1", str(server.port), "psycopg2", "connection", "hunter2"):
            assert inside not in response.text
        assert "not ready: " in caplog.text
    server.start()
    for url in VERDICTS:
        assert seen.get(url).status_code == 200


@pytest.mark.slow
def test_a_login_that_is_refused_is_distinguished_in_the_log_alone(
    seen: TestClient, app: FastAPI, server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    away = Database(Settings(database_url=server.url("absent"), _env_file=None))
    app.dependency_overrides[get_database] = lambda: away
    for url in VERDICTS:
        caplog.clear()
        response = seen.get(url)
        assert (response.status_code, "login" in response.text) == (503, False)
        (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert line.getMessage().startswith("not ready: the database refuses the login: ")
        assert 'database "absent" does not exist' in line.getMessage()
    away.dispose()


@pytest.mark.slow
def test_the_verdict_on_a_frozen_database_comes_within_two_seconds(
    seen: TestClient, server: PostgresServer
) -> None:
    server.freeze()
    try:
        for url in ("/health/ready", "/health/live"):
            begun = time.monotonic()
            response = seen.get(url)
            assert time.monotonic() - begun < 2
            assert response.status_code == (200 if url == "/health/live" else 503)
    finally:
        server.thaw()
    assert seen.get("/health").status_code == 200
