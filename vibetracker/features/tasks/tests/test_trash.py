"""The trash: what is deleted together is restored together, or purged."""

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.core.db.portions import AT_ONCE
from vibetracker.features.tags.tests.factory import TagFactory
from vibetracker.features.tasks.model import Task

from .calls import change, everything, ids, make, read, walk
from .factory import TaskFactory


def trash(client: TestClient, task_id: int) -> None:
    assert client.delete(f"/tasks/{task_id}").status_code == 204


def trashed(client: TestClient) -> list[int]:
    return ids(client, deleted="only", sort="id")


def family() -> None:
    """Create 1 with its children 2 and 3, 4 under 2, 5 under 4, and the unrelated 6."""
    for parent_id in (None, 1, 1, 2, 4, None):
        TaskFactory.create(parent_id=parent_id)


def test_a_deleted_task_is_in_the_trash_with_its_subtree(client: TestClient) -> None:
    family()
    before = {task["id"]: task for task in walk(client)}
    response = client.delete("/tasks/2")
    assert response.status_code == 204
    assert response.content == b""
    assert "etag" not in response.headers
    assert trashed(client) == [2, 4, 5]
    assert ids(client, sort="id") == [1, 3, 6]
    assert ids(client, sort="id", deleted="include") == [1, 2, 3, 4, 5, 6]
    gone = walk(client, deleted="only")
    assert len({task["deleted_at"] for task in gone}) == 1
    for task in gone:
        old = before[task["id"]]
        assert task["version"] == 2
        assert task["updated_at"] >= task["deleted_at"] > old["updated_at"]
        unchanged = task.keys() - {"version", "updated_at", "deleted_at"}
        assert {name: task[name] for name in unchanged} == {name: old[name] for name in unchanged}
    assert [before[task["id"]] for task in walk(client)] == walk(client)


@pytest.mark.parametrize("task_id", [2, 5])
def test_a_task_in_the_trash_is_gone_but_can_be_listed(client: TestClient, task_id: int) -> None:
    family()
    trash(client, 2)
    before = everything(client)
    path = f"/tasks/{task_id}"
    for response in (
        client.get(path),
        client.get(path, params={"include": "subtask_counts"}),
        client.get(path, headers={"If-None-Match": '"2"'}),
        client.patch(path, json={"title": "x"}),
        client.patch(path, json={}),
        client.delete(path),
        client.post(f"{path}/move", json={"to": "first"}),
        client.get(f"{path}/subtasks"),
    ):
        assert response.status_code == 410
        assert response.json()["type"] == "/problems/gone"
    assert client.head(path).status_code == 410
    assert everything(client) == before
    assert [task["id"] for task in walk(client, id=task_id, deleted="only")] == [task_id]


def test_what_was_trashed_together_is_restored_together(client: TestClient) -> None:
    family()
    trash(client, 4)
    trash(client, 2)
    assert trashed(client) == [2, 4, 5]
    response = client.post("/tasks/2/restore")
    assert response.status_code == 200
    assert response.headers["etag"] == '"3"'
    assert response.json() == read(client, 2)
    assert response.json()["deleted_at"] is None
    assert response.json()["version"] == 3
    # 4 and 5 were deleted before, by themselves.
    assert trashed(client) == [4, 5]
    assert client.post("/tasks/4/restore").status_code == 200
    assert trashed(client) == []
    assert [task["version"] for task in walk(client, sort="id")] == [1, 3, 1, 3, 3, 1]


def test_a_task_is_not_restored_into_the_trash(client: TestClient) -> None:
    family()
    trash(client, 4)
    trash(client, 2)
    before = everything(client)
    for task_id, parent_id in ((4, 2), (5, 4)):
        response = client.post(f"/tasks/{task_id}/restore")
        assert response.status_code == 409
        assert response.json()["type"] == "/problems/parent-in-trash"
        assert response.json()["parent_id"] == parent_id
    assert everything(client) == before


def test_a_restored_child_of_a_trashed_pair_brings_its_own_subtree_only(
    client: TestClient,
) -> None:
    """The parent came back by itself before; its other branch stays where it is."""
    family()
    trash(client, 5)
    trash(client, 3)
    trash(client, 1)
    assert client.post("/tasks/1/restore").status_code == 200
    assert trashed(client) == [3, 5]
    assert client.post("/tasks/5/restore").status_code == 200
    assert trashed(client) == [3]


def test_restoring_a_live_task_changes_nothing(client: TestClient) -> None:
    family()
    before = everything(client)
    response = client.post("/tasks/2/restore")
    assert response.status_code == 200
    assert response.headers["etag"] == '"1"'
    assert response.json() == read(client, 2)
    assert everything(client) == before


def test_a_task_comes_back_as_it_was(client: TestClient) -> None:
    tag = TagFactory.create(name="home")
    task = TaskFactory.create(tags=[tag], in_progress=True)
    TaskFactory.create()
    before = read(client, task.id)
    trash(client, task.id)
    after = client.post(f"/tasks/{task.id}/restore").json()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"version", "updated_at"}
    assert change(client, task.id, status="done")["version"] == 4


@pytest.mark.parametrize("first_trashed", [False, True])
def test_a_purge_takes_the_subtree_for_good(client: TestClient, *, first_trashed: bool) -> None:
    family()
    tagged = make(client, tags=["home"], parent_id=5)
    if first_trashed:
        trash(client, 2)
    assert client.delete("/tasks/2?permanent=true").status_code == 204
    assert ids(client, sort="id", deleted="include") == [1, 3, 6]
    for path in ("/tasks/2", f"/tasks/{tagged['id']}"):
        assert client.get(path).status_code == 404
        assert client.delete(path).status_code == 404
        assert client.delete(path, params={"permanent": "true"}).status_code == 404
        assert client.post(f"{path}/restore").status_code == 404
    assert [tag["name"] for tag in walk(client, "/tags")] == ["home"]
    assert client.delete("/tags/1").status_code == 204


def test_a_purge_takes_what_was_trashed_before_its_parent(client: TestClient) -> None:
    family()
    trash(client, 4)
    assert client.delete("/tasks/1?permanent=true").status_code == 204
    assert ids(client, deleted="include") == [6]


def test_a_purge_of_the_parent_does_not_free_a_trashed_child(client: TestClient) -> None:
    family()
    trash(client, 2)
    trash(client, 1)
    assert client.delete("/tasks/5?permanent=true").status_code == 204
    assert trashed(client) == [1, 2, 3, 4]
    assert client.post("/tasks/1/restore").status_code == 200
    assert trashed(client) == [2, 4]


def test_permanent_false_is_the_trash(client: TestClient) -> None:
    family()
    assert client.delete("/tasks/6?permanent=false").status_code == 204
    assert trashed(client) == [6]


def test_a_large_subtree_goes_to_the_trash_and_back(client: TestClient, database: Database) -> None:
    """Larger than the portion that one statement changes."""
    parent = TaskFactory.create().id
    rows = [
        {"title": "x", "title_key": "x", "search_text": "x", "position": "8", "version": 1}
        | {"parent_id": parent}
        for _ in range(AT_ONCE + 5)
    ]
    with database.session(write=True) as session:
        session.execute(insert(Task), rows)
        session.commit()

    def total(deleted: str) -> int:
        params: dict[str, str | int] = {"limit": 1, "include_total": "true", "deleted": deleted}
        count: int = client.get("/tasks", params=params).json()["total"]
        return count

    trash(client, parent)
    assert (total("exclude"), total("only")) == (0, len(rows) + 1)
    assert client.post(f"/tasks/{parent}/restore").status_code == 200
    assert (total("exclude"), total("only")) == (len(rows) + 1, 0)
