"""Creating, reading and changing the plain fields of a task."""

from datetime import UTC, datetime

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from .calls import Json, change, everything, make, read

NEW: Json = {
    "title": "Water the plants",
    "description": "# All\n\n\tof them",
    "status": "in_progress",
    "priority": "high",
    "due_on": "2030-05-01",
    "start_at": "2030-04-01T08:00:00Z",
    "tags": ["garden", "home"],
}


def test_a_title_is_enough_and_everything_else_has_its_default(client: TestClient) -> None:
    before = datetime.now(UTC)
    response = client.post("/tasks", json={"title": "Water the plants"})
    assert response.status_code == 201
    assert response.headers["location"] == "/tasks/1"
    assert response.headers["etag"] == '"1"'
    task = response.json()
    assert before <= datetime.fromisoformat(task["created_at"]) <= datetime.now(UTC)
    assert task == {
        "id": 1,
        "title": "Water the plants",
        "description": "",
        "status": "todo",
        "priority": "none",
        "due_on": None,
        "due_at": None,
        "start_at": None,
        "parent_id": None,
        "project_id": None,
        "tags": [],
        "position": task["position"],
        "started_at": None,
        "completed_at": None,
        "cancelled_at": None,
        "created_at": task["created_at"],
        "updated_at": task["created_at"],
        "version": 1,
        "deleted_at": None,
    }


def test_what_was_created_is_what_is_read(client: TestClient) -> None:
    task = make(client, **NEW)
    assert {name: task[name] for name in NEW} == NEW
    response = client.get(f"/tasks/{task['id']}")
    assert response.headers["etag"] == '"1"'
    assert response.json() == task == read(client, task["id"])


@pytest.mark.parametrize(
    ("field", "sent", "kept"),
    [
        ("title", "  Cafe\u0301 \u3000", "Caf\u00e9"),
        ("title", "x" * 500, "x" * 500),
        ("title", " " + "\N{PILE OF POO}" * 500 + " ", "\N{PILE OF POO}" * 500),
        # Its casefold has 2,500 bytes, and PostgreSQL's indexes take 2,704.
        ("title", "\u1fb7" * 500, "\u1fb7" * 500),
        ("description", " as it is \r\n\t", " as it is \r\n\t"),
        ("description", "e\u0301", "e\u0301"),
        ("description", "x" * 50_000, "x" * 50_000),
        ("due_at", "2030-01-01T02:00:00.1234567+14:00", "2029-12-31T12:00:00.123456Z"),
        ("start_at", "2030-01-01t00:00:00z", "2030-01-01T00:00:00Z"),
        ("due_on", "9998-12-31", "9998-12-31"),
        ("due_on", "1900-01-01", "1900-01-01"),
        ("due_at", "9999-01-01T00:00:00+00:01", "9998-12-31T23:59:00Z"),
        ("due_at", "1899-12-31T23:59:00-00:01", "1900-01-01T00:00:00Z"),
    ],
)
def test_a_value_is_stored_in_its_canonical_form(
    client: TestClient, field: str, sent: str, kept: str
) -> None:
    created = make(client, **{field: sent})
    assert created[field] == kept
    changed = change(client, make(client)["id"], **{field: sent})
    assert changed[field] == kept == read(client, changed["id"])[field]


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        ({"title": "Other"}, {"title": "Other"}),
        ({"description": ""}, {"description": ""}),
        ({"priority": "urgent"}, {"priority": "urgent"}),
        ({"due_on": None}, {"due_on": None}),
        ({"due_on": "2031-01-01"}, {"due_on": "2031-01-01"}),
        (
            {"due_on": None, "due_at": "2031-01-01T00:00:00Z"},
            {"due_on": None, "due_at": "2031-01-01T00:00:00Z"},
        ),
        ({"start_at": None}, {"start_at": None}),
        ({"tags": []}, {"tags": []}),
        ({"tags": ["work"]}, {"tags": ["work"]}),
        (
            {"title": "Other", "status": "cancelled", "tags": ["home"], "start_at": None},
            {"title": "Other", "status": "cancelled", "tags": ["home"], "start_at": None},
        ),
    ],
)
def test_a_patch_changes_what_it_names_and_is_one_version(
    client: TestClient, patch: Json, result: Json
) -> None:
    before = make(client, **NEW)
    response = client.patch(f"/tasks/{before['id']}", json=patch)
    assert response.status_code == 200, response.text
    assert response.headers["etag"] == '"2"'
    after = response.json()
    followed = {"cancelled_at"} if "status" in patch else set()
    assert {name for name in after if after[name] != before[name]} == {
        *result,
        *followed,
        "version",
        "updated_at",
    }
    assert {name: after[name] for name in result} == result
    assert after["version"] == 2
    assert after["updated_at"] > before["updated_at"]
    assert read(client, before["id"]) == after


@pytest.mark.parametrize(
    "patch",
    [
        {},
        NEW,
        {"title": f" {NEW['title']} "},
        {"tags": ["HOME", "Garden", "home"]},
        {"status": "in_progress"},
        {"due_at": None, "parent_id": None},
        {"start_at": "2030-04-01T10:00:00+02:00"},
    ],
)
def test_a_patch_that_changes_nothing_is_no_version(client: TestClient, patch: Json) -> None:
    make(client, **NEW)
    before = everything(client)
    response = client.patch(
        "/tasks/1", json=patch, headers={"Content-Type": "application/merge-patch+json"}
    )
    assert response.status_code == 200
    assert response.headers["etag"] == '"1"'
    assert response.json() == before[0][0]
    assert everything(client) == before


def test_a_change_of_parent_and_fields_at_once_is_one_version(client: TestClient) -> None:
    parent, task = make(client), make(client)
    changed = change(client, task["id"], title="Other", tags=["new"], parent_id=parent["id"])
    assert (changed["title"], changed["tags"], changed["parent_id"]) == ("Other", ["new"], 1)
    assert changed["version"] == 2
    assert read(client, parent["id"]) == parent


def test_an_id_is_not_reused_after_a_purge(client: TestClient) -> None:
    last = make(client)["id"]
    assert client.delete(f"/tasks/{last}?permanent=true").status_code == 204
    assert make(client)["id"] > last


@pytest.mark.parametrize("operation", ["", "/restore", "/move", "/subtasks"])
@pytest.mark.parametrize("task_id", [77, 2**53 - 1])
def test_a_task_that_does_not_exist_is_404(
    client: TestClient, operation: str, task_id: int
) -> None:
    path = f"/tasks/{task_id}{operation}"
    if operation in {"", "/subtasks"}:
        assert client.get(path).status_code == 404
    if not operation:
        assert client.patch(path, json={}).status_code == 404
        assert client.delete(path).status_code == 404
        assert client.delete(path, params={"permanent": "true"}).status_code == 404
    if operation in {"/restore", "/move"}:
        assert client.post(path, json={"to": "first"} if "move" in path else {}).status_code == 404


def test_every_member_says_what_it_means(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    for name in ("TaskCreate", "TaskUpdate", "TaskRead", "TaskMove", "SubtaskCounts"):
        for member, schema in schemas[name]["properties"].items():
            assert schema.get("description"), f"{name}.{member}"
