"""Recurrences beside features that they do not know."""

import json

import pytest
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.testing import empty

LISTS = ("/recurrences?sort=id", "/tasks?sort=id&include=recurrence&deleted=include")


def recurring(client: TestClient, rule: str = "FREQ=MONTHLY;COUNT=4") -> int:
    """Create a task that comes again, and return its id."""
    task_id: int = client.post("/tasks", json={"title": "x", "due_on": "2040-01-31"}).json()["id"]
    body = {"task_id": task_id, "rule": rule, "time_zone": "Europe/Berlin"}
    assert client.post("/recurrences", json=body).status_code == 201
    return task_id


def finish(client: TestClient, task_id: int, status: str = "done") -> None:
    """Give a task a status."""
    assert client.patch(f"/tasks/{task_id}", json={"status": status}).status_code == 200


def due(client: TestClient, task_id: int) -> str:
    """Return when a task is due."""
    day: str = client.get(f"/tasks/{task_id}").json()["due_on"]
    return day


def test_an_import_brings_recurrences_to_where_they_were(
    client: TestClient, database: Database
) -> None:
    first, second, third = (recurring(client) for _ in range(3))
    finish(client, first)
    finish(client, second, "cancelled")
    client.delete(f"/tasks/{third}")
    before = [client.get(path).json() for path in LISTS]
    file = client.get("/transfer/export").content
    empty(database)
    headers = {"Content-Type": "application/octet-stream"}
    imported = client.post("/transfer/import", content=file, headers=headers).json()
    assert imported == {"created": {"tasks": 4, "recurrences": 3}, "skipped": []}
    assert [client.get(path).json() for path in LISTS] == before
    # Beside what is there, everything has other ids.
    assert client.post("/transfer/import", content=file, headers=headers).status_code == 200
    (_, other) = client.get("/recurrences").json()["items"]
    finish(client, other["task_id"])
    (_, moved) = client.get("/recurrences").json()["items"]
    assert (moved["number"], moved["previous_task_id"]) == (3, other["task_id"])
    assert due(client, moved["task_id"]) == "2040-03-31"
    finish(client, other["task_id"], "todo")
    finish(client, other["previous_task_id"], "todo")
    assert client.get(f"/tasks/{moved['task_id']}").status_code == 410


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("anchor", "31 January"),
        ("anchor", "2040-02-30"),
        ("anchor", "2040-01-31T09:00:00Z"),
        ("anchor", "2040-01-31T09:00:00-05:00"),
        ("anchor", "20400131"),
        ("anchor", ""),
        ("number", 0),
        ("time_zone", "Mars/Olympus"),
        ("rule", "FREQ=HOURLY"),
    ],
)
def test_an_import_takes_nothing_that_no_recurrence_can_have(
    client: TestClient, member: str, value: object
) -> None:
    recurring(client)
    file = client.get("/transfer/export").json()
    file["recurrences"][0][member] = value
    headers = {"Content-Type": "application/octet-stream"}
    refused = client.post("/transfer/import", content=json.dumps(file), headers=headers)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == f"/recurrences/0/{member}"
