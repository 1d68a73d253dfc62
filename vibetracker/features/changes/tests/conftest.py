"""An application of the journal, and of a feature whose changes it has."""

import queue
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import pytest
from anyio import Event
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Message

from vibetracker.core.api.session import get_database
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import discover
from vibetracker.testing import Client

from .memos import FEATURE

PATIENCE = 10
"""Seconds within which an event has to come."""


@pytest.fixture(scope="session")
def memos_app() -> FastAPI:
    """Create an application of memos and their journal."""
    settings = Settings(database_url="sqlite://", _env_file=None)
    return create_app(settings, [*discover(only={"changes"}), FEATURE])


@pytest.fixture(scope="session")
def _memos_client(memos_app: FastAPI) -> Iterator[TestClient]:
    with Client(memos_app) as client:
        yield client


@pytest.fixture
def memos(
    memos_app: FastAPI, _memos_client: TestClient, busy_database: Database
) -> Iterator[TestClient]:
    """Yield a client of that application for concurrent requests, on an empty database."""
    busy_database.listeners = memos_app.state.database.listeners
    memos_app.dependency_overrides[get_database] = lambda: busy_database
    yield _memos_client
    memos_app.dependency_overrides.clear()


@dataclass
class ServerSent:
    """An event as a client gets it."""

    id: str = ""
    event: str = ""
    data: str = ""


class Stream:
    """A stream that is read while the application goes on."""

    def __init__(self, client: TestClient, path: str, headers: dict[str, str]) -> None:
        self._client = client
        self._coming: queue.Queue[Message] = queue.Queue()
        path, _, query = path.partition("?")
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in {"Host": "testserver", **headers}.items()
            ],
            "client": ("testclient", 50000),
            "server": ("testserver", 80),
            "state": client.app_state.copy(),
        }
        self.status = 0
        self.is_over = False
        self._text = ""

    def __enter__(self) -> Self:
        """Send the request, and read the status of the response."""
        portal = self._client.portal
        assert portal is not None
        self._gone: Event = portal.call(Event)
        self._task = portal.start_task_soon(self._run)
        self.status = self._coming.get(timeout=PATIENCE)["status"]
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        assert self._client.portal is not None
        self._client.portal.call(self._gone.set)
        self._task.result(PATIENCE)

    async def _run(self) -> None:
        sent = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if sent:
                return sent.pop()
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self._coming.put(message)

        await self._client.app(self._scope, receive, send)

    def read(self) -> ServerSent | None:
        """Return the next event, once there is one; None at the end."""
        while "\n\n" not in self._text:
            message = self._coming.get(timeout=PATIENCE)
            self._text += message["body"].decode()
            if not message.get("more_body"):
                self.is_over = True
                return None
        block, _, self._text = self._text.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        return ServerSent(fields.get("id", ""), fields.get("event", ""), fields.get("data", ""))
