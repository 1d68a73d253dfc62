"""The fixtures of tests that belong to no feature."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from vibetracker.core.api.routing import Router
from vibetracker.core.api.session import get_database
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import Feature
from vibetracker.testing import Client

from .specimens import FEATURE


@pytest.fixture(scope="session")
def specimen_app() -> FastAPI:
    """Create an application whose only feature is that of the specimens."""
    return create_app(Settings(database_url="sqlite://", _env_file=None), features=[FEATURE])


@pytest.fixture(scope="session")
def _specimen_client(specimen_app: FastAPI) -> Iterator[TestClient]:
    with Client(specimen_app) as client:
        yield client


@pytest.fixture
def busy_specimens(
    specimen_app: FastAPI, _specimen_client: TestClient, busy_database: Database
) -> Iterator[TestClient]:
    """Yield a client of that application for concurrent requests."""
    specimen_app.dependency_overrides[get_database] = lambda: busy_database
    yield _specimen_client
    specimen_app.dependency_overrides.clear()


@pytest.fixture
def specimens(
    specimen_app: FastAPI, _specimen_client: TestClient, database: Database
) -> Iterator[TestClient]:
    """Yield a client of that application on an empty database."""
    specimen_app.dependency_overrides[get_database] = lambda: database
    yield _specimen_client
    specimen_app.dependency_overrides.clear()


@pytest.fixture
def mount(database: Database) -> Iterator[Callable[[Router], TestClient]]:
    """Yield a function that mounts a router, and returns a client of it."""
    clients: list[TestClient] = []

    def mounted(router: Router) -> TestClient:
        settings = Settings(database_url="sqlite://", _env_file=None)
        feature = Feature(router.prefix.removeprefix("/"), "tests.practices", router)
        app = create_app(settings, features=[feature])
        app.dependency_overrides[get_database] = lambda: database
        clients.append(TestClient(app))
        return clients[-1].__enter__()

    yield mounted
    for client in clients:
        client.__exit__()


@pytest.fixture
def screenshots(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the folder for screenshots."""
    folder: str | None = request.config.getoption("screenshots")
    return Path(folder) if folder else tmp_path
