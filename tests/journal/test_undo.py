"""Requests that have changed many rows are undone as a whole."""

from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from vibetracker.core.db import changes


def create(client: TestClient, resource: str, **members: Any) -> int:
    """Create a resource, and return its id."""
    answer = client.post(f"/{resource}", json=members)
    assert answer.status_code == 201, answer.text
    row_id: int = answer.json()["id"]
    return row_id


def projects_of_tasks(client: TestClient) -> list[int | None]:
    """Return the project of each task, in order of their ids."""
    tasks = client.get("/tasks?deleted=include&sort=id").json()["items"]
    return [task["project_id"] for task in tasks]


def test_a_tree_goes_back_to_its_project_with_what_of_it_is_in_the_trash(
    client: TestClient,
) -> None:
    project = create(client, "projects", name="a")
    top = create(client, "tasks", title="top", project_id=project)
    below = create(client, "tasks", title="below", parent_id=top)
    trashed = create(client, "tasks", title="trashed", parent_id=below)
    client.delete(f"/tasks/{trashed}")
    moved = client.patch(f"/tasks/{top}", json={"project_id": None})
    assert projects_of_tasks(client) == [None] * 3
    undo = {"request_id": moved.headers["X-Request-ID"]}
    answer = client.post("/changes/revert", json=undo)
    assert answer.status_code == 200, answer.text
    changed = [(it["resource_id"], it["changes"]) for it in answer.json()["items"]]
    assert sorted(changed) == [(it, {"project_id": [None, project]}) for it in (1, 2, 3)]
    assert projects_of_tasks(client) == [project] * 3


def rename(client: TestClient) -> Response:
    """Rename the tag of all tasks."""
    return client.patch("/tags/1", json={"name": "zoo"})


def trash(client: TestClient) -> Response:
    """Put a task and those below it into the trash."""
    return client.delete("/tasks/1")


@pytest.mark.parametrize(("write", "last"), [(rename, ("tags", 1)), (trash, ("tasks", 5))])
def test_what_is_written_in_portions_is_undone_as_a_whole(
    client: TestClient,
    statements: list[tuple[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[TestClient], Response],
    last: tuple[str, int],
) -> None:
    top = create(client, "tasks", title="top", tags=["home", "Inn"])
    for number in range(2, 6):
        create(client, "tasks", title=f"task {number}", tags=["home"], parent_id=top)
    untold = {"version": None, "updated_at": None}
    before = [task | untold for task in client.get("/tasks?sort=id").json()["items"]]
    monkeypatch.setattr(changes, "AT_ONCE", 2)
    statements.clear()
    written = write(client)
    assert written.is_success, written.text
    portions = [sql for sql, _ in statements if sql.startswith("INSERT INTO changes")]
    assert len(portions) == 3
    undo = {"request_id": written.headers["X-Request-ID"]}
    made = client.get("/changes", params=undo).json()["items"]
    of = [(it["resource"], it["resource_id"]) for it in made]
    # A change that caused others is the first to be undone.
    assert of[:4] == [("tasks", number) for number in range(1, 5)]
    assert of[-1] == last
    assert {it["version"] for it in made} == {2}
    assert client.post("/changes/revert", json=undo).is_success
    after = client.get("/tasks?sort=id").json()["items"]
    assert {task["version"] for task in after} == {3}
    assert [task | untold for task in after] == before


def test_a_new_tag_that_others_have_put_on_something_stays(client: TestClient) -> None:
    made = client.post("/tasks", json={"title": "first", "tags": ["new"]})
    undo = {"request_id": made.headers["X-Request-ID"]}
    second = create(client, "tasks", title="second", tags=["New"])
    answer = client.post("/changes/revert", json=undo)
    assert (answer.status_code, answer.json()["title"]) == (409, "The change cannot be reverted")
    assert client.get(f"/tasks/{second}").json()["tags"] == ["new"]
    assert client.get("/tasks/1").status_code == 200
    client.delete(f"/tasks/{second}")
    assert client.post("/changes/revert", json=undo).status_code == 200
    assert client.get("/tags").json()["items"] == []
    assert client.get("/tasks/1").status_code == 410


@pytest.mark.parametrize(
    ("change", "members"),
    [
        ({"due_on": "2030-01-01", "start_at": "2026-01-01T00:00:00Z"}, ["due_on", "start_at"]),
        ({"parent_id": 1}, ["parent_id", "position"]),
        ({"status": "done"}, ["completed_at", "status"]),
    ],
)
def test_a_new_task_that_has_changed_is_not_undone(
    client: TestClient, change: dict[str, Any], members: list[str]
) -> None:
    create(client, "tasks", title="above")
    create(client, "tasks", title="new")
    client.patch("/tasks/2", json=change)
    answer = client.post("/changes/2/revert")
    assert (answer.status_code, answer.json()["members"]) == (409, members)
    assert client.get("/tasks/2").status_code == 200


def test_a_new_task_that_is_in_the_trash_stays_there(client: TestClient) -> None:
    create(client, "tasks", title="new")
    client.delete("/tasks/1")
    assert client.post("/changes/1/revert").status_code == 200
    assert client.get("/tasks/1").status_code == 410


def test_a_new_comment_is_undone_when_its_task_is_in_the_trash(client: TestClient) -> None:
    records = {"tasks": [{"id": 1, "title": "a"}], "comments": [{"task_id": 1, "body": "b"}]}
    imported = client.post("/transfer/import?format=json", json=records)
    client.delete("/tasks/1")
    undo = {"request_id": imported.headers["X-Request-ID"]}
    answer = client.post("/changes/revert", json=undo)
    assert answer.status_code == 200, answer.text
    client.post("/tasks/1/restore")
    assert client.get("/comments").json()["items"] == []


def test_a_task_that_went_with_its_project_does_not_come_back_without_it(
    client: TestClient,
) -> None:
    create(client, "projects", name="a")
    create(client, "tasks", title="a", project_id=1)
    client.delete("/projects/1?tasks=trash")
    (trashed,) = client.get("/changes?resource=tasks").json()["items"][1:]
    assert trashed["changes"]["project_id"] == [1, None]
    answer = client.post(f"/changes/{trashed['id']}/revert")
    assert answer.status_code == 409
    assert answer.json()["detail"] == "There is no project with this id"
    assert client.get("/tasks/1").status_code == 410
