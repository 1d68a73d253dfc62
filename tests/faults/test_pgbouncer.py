"""What holds behind PgBouncer, whatever it does with startup parameters."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import text

from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.testing import PostgresServer

from .pgbouncer import PGBOUNCER, PgBouncer
from .service import Client, Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed"),
]


@pytest.fixture(params=["", "ignore_startup_parameters = options"], ids=["refused", "ignored"])
def bouncer(request: pytest.FixtureRequest, server: PostgresServer) -> Iterator[PgBouncer]:
    """Yield a pooler that refuses the startup parameter ``options``, and one that ignores it."""
    with PgBouncer(server, request.param) as bouncer:
        yield bouncer


@pytest.mark.parametrize("write", [False, True])
def test_every_statement_has_the_timeouts(bouncer: PgBouncer, *, write: bool) -> None:
    database = Database(Settings(database_url=bouncer.url, lock_timeout=1.5, _env_file=None))
    wanted = {
        "statement_timeout": "5s",
        "lock_timeout": "1500ms",
        "idle_in_transaction_session_timeout": "15s",
    }
    try:
        for _ in range(2):
            with database.session(write=write) as session:
                for name, value in wanted.items():
                    assert session.scalar(text(f"SHOW {name}")) == value
                if write:
                    assert session.scalar(text("SHOW transaction_isolation")) == "read committed"
    finally:
        database.dispose()


def test_rows_can_be_read_one_after_the_other(bouncer: PgBouncer) -> None:
    """By a cursor on the server, which belongs to one of the pooler's sessions."""
    database = Database(Settings(database_url=bouncer.url, _env_file=None))
    numbers = text("SELECT * FROM generate_series(1, 100)")
    try:
        with database.session(write=False) as session, database.session(write=False) as other:
            one_by_one = session.scalars(numbers.execution_options(yield_per=10))
            # Each of these statements could be run in the session that has the cursor.
            assert [(n, other.scalar(text("SELECT 1"))) for n in one_by_one][-1] == (100, 1)
        with database.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM pg_cursors")) == 0
    finally:
        database.dispose()


def test_timestamps_are_in_utc(bouncer: PgBouncer) -> None:
    with Service(bouncer.url) as service, closing(Client(service.port)) as client:
        due = "2031-03-05T01:00:00+05:45"
        made = client.request("POST", "/tasks", {"title": "x", "due_at": due, "status": "done"})
        path = made.headers["location"]
        read = client.request("GET", path)
        changed = client.request("PATCH", path, {"title": "y"})
        for answer in (made, read, changed):
            assert answer.status < 300
            task = answer.json()
            assert task["due_at"] == "2031-03-04T19:15:00Z"
            for name in ("created_at", "updated_at", "completed_at"):
                assert str(task[name]).endswith("Z")
        # The next page is found by the timestamp in the cursor.
        client.request("POST", "/tasks", {"title": "later"})
        titles, query = [], "/tasks?limit=1&sort=-created_at"
        cursor: object = ""
        while cursor is not None:
            page: dict[str, Any] = client.request(
                "GET", f"{query}&cursor={cursor}" if cursor else query
            ).json()
            titles += [task["title"] for task in page["items"]]
            cursor = page["next_cursor"]
        assert titles == ["later", "y"]


def test_an_option_of_the_url_that_is_refused_ends_the_start(server: PostgresServer) -> None:
    with PgBouncer(server) as bouncer:
        url = f"{bouncer.url}?options=-csearch_path%3Dpublic"
        ended = subprocess.run(
            [sys.executable, "-m", "vibetracker", "serve", "--port", "0"],
            env={"DATABASE_URL": url},
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith("unsupported startup parameter: options")
