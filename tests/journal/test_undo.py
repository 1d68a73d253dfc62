"""Requests that have changed much at once are undone at once."""

from typing import Any

from starlette.testclient import TestClient


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
