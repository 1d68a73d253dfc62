"""Demo data: the rules for every feature that has some."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any, override

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from vibetracker.cli import demo
from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Base
from vibetracker.testing import empty

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
COUNT = 700
"""Enough for everything that there is some of."""


def rows(database: Database) -> dict[str, list[dict[str, Any]]]:
    with database.session(write=False) as session:
        return {
            table.name: [
                dict(row)
                for row in session.execute(select(table).order_by(*table.primary_key)).mappings()
            ]
            for table in Base.metadata.sorted_tables
        }


def fill(database: Database, app: FastAPI, number: int, count: int = COUNT) -> list[str]:
    demos = demo.demos(app.state.features)
    return list(demo.fill(database, demos, count=count, seed=number, now=NOW))


def test_the_same_seed_makes_the_same_rows(app: FastAPI, database: Database) -> None:
    fill(database, app, 7, 200)
    first = rows(database)
    empty(database)
    fill(database, app, 7, 200)
    assert rows(database) == first
    empty(database)
    fill(database, app, 8, 200)
    assert rows(database) != first


def test_tables_that_have_rows_are_named(app: FastAPI, database: Database) -> None:
    demos = demo.demos(app.state.features)
    assert demo.tables_with_rows(database, demos) == []
    fill(database, app, 7)
    with_demo = {name for it in demos for name in it.tables}
    assert set(demo.tables_with_rows(database, demos)) == with_demo


def test_demo_data_is_added_to_what_is_there(
    app: FastAPI, database: Database, client: TestClient
) -> None:
    made = client.post("/tags", json={"name": "HOME"})
    assert made.status_code == 201
    first, again = fill(database, app, 7), fill(database, app, 7)
    assert first[0].startswith("tags: 11 in ")
    assert "tags: 12 there already" in again
    assert any(line.startswith(f"tasks: {COUNT} in ") for line in again)
    assert "projects: 8 there already" in again
    assert client.get("/tags/1").json() == made.json()
    assert client.get("/tags", params={"q": "home", "include_total": True}).json()["total"] == 1
    listed = client.get("/tasks", params={"deleted": "include", "include_total": True})
    assert listed.json()["total"] == 2 * COUNT


class Terminal(StringIO):
    """A stream that claims to be a terminal."""

    @override
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal(), StringIO()])
def test_progress_is_drawn_on_terminals_alone(stream: StringIO) -> None:
    progress = demo.Progress("notes", 4, stream)
    progress.advance(1)
    progress.advance(2)
    drawn = stream.getvalue()
    assert progress.end().startswith("notes: 3 in ")
    if stream.isatty():
        assert drawn.split("\r")[1:] == [
            f"notes [{'#' * 10}{'.' * 30}] 1/4",
            f"notes [{'#' * 30}{'.' * 10}] 3/4",
        ]
    else:
        assert stream.getvalue() == ""
