"""Tasks in projects: subtasks move along, and what happens to them when a project is deleted."""

from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from vibetracker.features.projects.tests.factory import ProjectFactory

from .calls import Json, change, faults, ids, make, read, walk


@pytest.fixture
def tree(client: TestClient) -> list[int]:
    """Create projects 1 and 2, and in the first a task, its subtask, and two below that.

    The last one is in the trash.
    """
    ProjectFactory.create_batch(2)
    made = [make(client, title="top", project_id=1)["id"]]
    for parent in (0, 1, 1):
        made.append(make(client, parent_id=made[parent])["id"])
    assert client.delete(f"/tasks/{made[-1]}").status_code == 204
    return made


def projects(client: TestClient) -> dict[int, int | None]:
    """Get the project of each task, those in the trash too."""
    return {task["id"]: task["project_id"] for task in walk(client, deleted="include", sort="id")}


def batch(client: TestClient, *operations: Json) -> list[Json]:
    response = client.post("/tasks/batch", json={"operations": operations})
    assert response.status_code == 200, response.text
    results: list[Json] = response.json()["results"]
    return results


def test_a_subtask_is_in_the_project_of_its_parent(client: TestClient, tree: list[int]) -> None:
    assert projects(client) == dict.fromkeys(tree, 1)
    assert make(client, parent_id=tree[0], project_id=1)["project_id"] == 1
    lone = make(client)
    assert make(client, parent_id=lone["id"])["project_id"] is None
    for body in ({"parent_id": tree[0], "project_id": 2}, {"parent_id": 6, "project_id": 1}):
        answer = client.post("/tasks", json={"title": "x", **body})
        assert faults(answer) == [("/project_id", "not_the_parents_project")]


@pytest.mark.parametrize("project_id", [2, 77, None])
def test_a_subtask_cannot_leave_the_project_of_its_parent(
    client: TestClient, tree: list[int], project_id: int | None
) -> None:
    before = walk(client, deleted="include")
    body = {"project_id": project_id}
    refused = [("/project_id", "not_the_parents_project")]
    assert faults(client.patch(f"/tasks/{tree[1]}", json=body)) == refused
    body["parent_id"] = tree[0]
    assert faults(client.patch(f"/tasks/{tree[2]}", json=body)) == refused
    operation = {"op": "update", "id": tree[1], "data": {"title": "x", "project_id": project_id}}
    answer = client.post("/tasks/batch", json={"operations": [operation]})
    assert faults(answer) == [("/operations/0/data/project_id", "not_the_parents_project")]
    assert walk(client, deleted="include") == before
    assert change(client, tree[1], project_id=1)["version"] == 1


def by_patch(client: TestClient, task_id: int, **to: Any) -> Json:
    return change(client, task_id, **to)


def by_move(client: TestClient, task_id: int, **to: Any) -> Json:
    answer = client.post(f"/tasks/{task_id}/move", json={"to": "first", **to})
    assert answer.status_code == 200, answer.text
    task: Json = answer.json()
    return task


def by_batch(client: TestClient, task_id: int, **to: Any) -> Json:
    task: Json = batch(client, {"op": "update", "id": task_id, "data": to})[0]["task"]
    return task


WAYS = [
    *((way, {"project_id": 2}) for way in (by_patch, by_batch)),
    *((way, {"parent_id": 5}) for way in (by_patch, by_batch, by_move)),
    (by_move, {"parent_id": 6}),
    *(pytest.param(way, {"parent_id": 6}, marks=pytest.mark.slow) for way in (by_patch, by_batch)),
    (by_patch, {"project_id": None}),
    (by_patch, {"parent_id": 5, "project_id": 2}),
]


@pytest.mark.parametrize(("way", "to"), WAYS)
def test_a_task_takes_what_is_below_it_along_to_another_project(
    client: TestClient, tree: list[int], way: Any, to: Json
) -> None:
    """The trash too, and each is a new version."""
    make(client, title="of the other project", project_id=2)
    make(client, title="of none")
    project_id = 2 if 2 in to.values() or 5 in to.values() else None
    before = {task["id"]: task for task in walk(client, deleted="include")}
    moved = way(client, tree[0], **to)
    assert moved["project_id"] == project_id
    assert moved == read(client, tree[0])
    now = {task["id"]: task for task in walk(client, deleted="include")}
    others = {"project_id", "version", "updated_at", *to, "position"}
    for task_id in tree:
        after = now[task_id]
        assert after["project_id"] == project_id
        assert after["version"] == before[task_id]["version"] + 1
        assert after["updated_at"] > before[task_id]["updated_at"]
        assert {name for name in after if after[name] != before[task_id][name]} <= others


def test_a_subtask_that_is_moved_leaves_the_rest_where_it_is(
    client: TestClient, tree: list[int]
) -> None:
    other = make(client, project_id=2)["id"]
    change(client, tree[1], parent_id=other)
    assert projects(client) == {tree[0]: 1, tree[1]: 2, tree[2]: 2, tree[3]: 2, other: 2}
    assert read(client, tree[0])["version"] == 1
    # And out of a tree: it stays in the project, or goes to another one at once.
    assert change(client, tree[1], parent_id=None)["project_id"] == 2
    assert by_move(client, tree[2], parent_id=None)["project_id"] == 2
    assert change(client, tree[2], parent_id=tree[1])["project_id"] == 2
    assert change(client, tree[2], parent_id=None, project_id=1)["project_id"] == 1


def test_what_is_restored_is_in_the_project_of_its_parent(
    client: TestClient, tree: list[int]
) -> None:
    change(client, tree[0], project_id=2)
    restored = client.post(f"/tasks/{tree[3]}/restore")
    assert (restored.status_code, restored.json()["project_id"]) == (200, 2)


def test_a_change_within_a_project_is_one_of_the_task_alone(
    client: TestClient, tree: list[int]
) -> None:
    assert change(client, tree[0], project_id=1)["version"] == 1
    change(client, tree[2], parent_id=tree[0])
    by_move(client, tree[1], parent_id=None)
    assert [read(client, task_id)["version"] for task_id in tree] == [1, 2, 2, 2]


def test_a_batch_shows_each_operation_what_those_before_it_have_moved(
    client: TestClient, tree: list[int]
) -> None:
    top, middle, low, _ = tree
    results = batch(
        client,
        {"op": "update", "id": low, "data": {"title": "first"}},
        {"op": "update", "id": top, "data": {"project_id": 2}},
        {"op": "update", "id": low, "data": {"title": "second"}},
        {"op": "create", "data": {"title": "new", "parent_id": middle}},
        {"op": "update", "id": top, "data": {"project_id": None}},
        {"op": "create", "ref": "r", "data": {"title": "new", "project_id": 2}},
        {"op": "update", "id": middle, "data": {"parent_ref": "r"}},
        {"op": "create", "data": {"title": "new", "parent_ref": "r"}},
        {"op": "update", "id": low, "if_match": '"6"', "data": {"title": "third"}},
    )
    shown = [(it["task"]["project_id"], it["task"]["version"]) for it in results]
    assert shown == [(1, 2), (2, 2), (2, 4), (2, 1), (None, 3), (2, 1), (2, 4), (2, 1), (2, 7)]
    assert projects(client) == {top: None, **dict.fromkeys((*tree[1:], 5, 6, 7), 2)}
    assert read(client, 5)["version"] == 3


@pytest.mark.parametrize("project_id", [77, 2**53 - 1])
def test_an_unknown_project_is_refused(
    client: TestClient, tree: list[int], project_id: int
) -> None:
    body = {"title": "x", "project_id": project_id}
    unknown = ("/project_id", "unknown_project")
    assert faults(client.post("/tasks", json=body)) == [unknown]
    assert faults(client.patch(f"/tasks/{tree[0]}", json=body)) == [unknown]
    for operation in ({"op": "create"}, {"op": "update", "id": tree[0]}):
        answer = client.post("/tasks/batch", json={"operations": [{**operation, "data": body}]})
        assert faults(answer) == [("/operations/0/data/project_id", "unknown_project")]
    assert projects(client) == dict.fromkeys(tree, 1)


@pytest.mark.parametrize("project_id", [0, -1, "1", True, 1.5, 2**53, []])
def test_what_is_no_id_is_refused(client: TestClient, project_id: object) -> None:
    body = {"title": "x", "project_id": project_id}
    assert [pointer for pointer, _ in faults(client.post("/tasks", json=body))] == ["/project_id"]
    make(client)
    assert client.patch("/tasks/1", json=body).status_code == 422


def test_an_archived_project_takes_no_tasks(client: TestClient, tree: list[int]) -> None:
    """Neither new ones nor others; those that are in it stay, and can be changed and moved."""
    client.patch("/projects/1", json={"archived": True})
    lone = make(client)["id"]
    before = walk(client)
    for answer in (
        client.post("/tasks", json={"title": "x", "project_id": 1}),
        client.post("/tasks", json={"title": "x", "parent_id": tree[0]}),
        client.patch(f"/tasks/{lone}", json={"project_id": 1}),
        client.patch(f"/tasks/{lone}", json={"parent_id": tree[1]}),
        client.post(f"/tasks/{lone}/move", json={"to": "last", "parent_id": tree[1]}),
    ):
        assert answer.status_code == 409, answer.text
        problem = answer.json()
        assert (problem["type"], problem["project_id"]) == ("/problems/project-archived", 1)
    operation = {"op": "create", "data": {"title": "x", "project_id": 1}}
    answer = client.post("/tasks/batch", json={"operations": [operation]})
    assert (answer.status_code, answer.json()["pointer"]) == (409, "/operations/0")
    assert walk(client) == before

    assert change(client, tree[0], project_id=1, title="other")["version"] == 2
    assert change(client, tree[2], parent_id=tree[0])["project_id"] == 1
    assert client.post(f"/tasks/{tree[3]}/restore").status_code == 200
    assert change(client, tree[0], project_id=2)["project_id"] == 2


def test_lists_are_narrowed_down_to_projects(client: TestClient, tree: list[int]) -> None:
    other, lone = make(client, project_id=2)["id"], make(client)["id"]
    live = tree[:3]
    cases: list[tuple[Json, list[int]]] = [
        ({"project_id": 1}, live),
        ({"project_id": [1, 2]}, [*live, other]),
        ({"project_id": 1, "deleted": "include"}, tree),
        ({"project_id": 77}, []),
        ({"has_project": True}, [*live, other]),
        ({"has_project": False}, [lone]),
        ({"has_project": False, "project_id": 1}, []),
        ({"project_id": 1, "is_subtask": True, "sort": "-id"}, live[:0:-1]),
    ]
    for query, found in cases:
        assert ids(client, **{"sort": "id", **query}) == found, query
    path = f"/tasks/{tree[0]}/subtasks"
    assert ids(client, path, project_id=1) == [tree[1]]
    assert ids(client, path, project_id=2) == ids(client, path, has_project=False) == []
    assert faults(client.get("/tasks?project_id=x")) == [("project_id", "int_parsing")]
    assert faults(client.get("/tasks", params={"project_id": [*range(1, 102)]}))


def not_empty(answer: Response) -> int:
    assert answer.status_code == 409, answer.text
    problem = answer.json()
    assert problem["type"] == "/problems/project-not-empty"
    count: int = problem["tasks"]
    assert str(count) in problem["detail"]
    return count


def test_a_project_with_tasks_is_not_deleted(client: TestClient, tree: list[int]) -> None:
    """The trash counts too."""
    assert not_empty(client.delete("/projects/1")) == 4
    client.delete(f"/tasks/{tree[0]}")
    assert not_empty(client.delete("/projects/1?dry_run=true")) == 4
    client.delete(f"/tasks/{tree[1]}?permanent=true")
    assert not_empty(client.delete("/projects/1")) == 1
    client.delete(f"/tasks/{tree[0]}?permanent=true")
    assert client.delete("/projects/1").status_code == 204


def test_tasks_that_are_to_stay_are_in_no_project_afterwards(
    client: TestClient, tree: list[int]
) -> None:
    other = make(client, project_id=2)
    before = {task_id: read(client, task_id) for task_id in tree}
    client.delete("/projects/1?tasks=keep&dry_run=true")
    assert [read(client, task_id) for task_id in tree] == [*before.values()]
    assert client.delete("/projects/1?tasks=keep").status_code == 204
    assert client.get("/projects/1").status_code == 404
    for task_id, task in before.items():
        after = read(client, task_id)
        assert after["updated_at"] > task["updated_at"]
        new = {"project_id": None, "version": task["version"] + 1}
        assert after == {**task, **new, "updated_at": after["updated_at"]}
    assert read(client, other["id"]) == other


def test_tasks_that_are_to_go_are_in_the_trash_each_tree_by_itself(
    client: TestClient, tree: list[int]
) -> None:
    second, other = make(client, project_id=1)["id"], make(client, project_id=2)
    since = read(client, tree[3])["deleted_at"]
    assert client.delete("/projects/1?tasks=trash").status_code == 204
    after = {task["id"]: task for task in walk(client, deleted="only")}
    assert sorted(after) == [*tree, second]
    assert {task["project_id"] for task in after.values()} == {None}
    assert [after[task_id]["version"] for task_id in (*tree, second)] == [2, 2, 2, 3, 2]
    assert after[tree[3]]["deleted_at"] == since
    assert after[tree[0]]["deleted_at"] == after[tree[0]]["updated_at"] > since
    assert ids(client) == [other["id"]]

    assert client.post(f"/tasks/{tree[1]}/restore").status_code == 409
    assert client.post(f"/tasks/{tree[0]}/restore").json()["version"] == 3
    assert ids(client, sort="id") == [*tree[:3], other["id"]]
    assert client.post(f"/tasks/{tree[3]}/restore").status_code == 200
    assert client.post(f"/tasks/{second}/restore").json()["project_id"] is None


@pytest.mark.usefixtures("tree")
def test_the_tasks_of_a_project_are_counted_by_how_far_they_are(client: TestClient) -> None:
    """The trash is left out, and what is counted has no version."""
    for status in ("in_progress", "done", "cancelled", "cancelled"):
        make(client, project_id=1, status=status)
    expected = [
        {"total": 7, "open": 4, "done": 1, "cancelled": 2},
        {"total": 0, "open": 0, "done": 0, "cancelled": 0},
    ]
    query = "?include=task_counts"
    items = client.get(f"/projects{query}&sort=id").json()["items"]
    assert [project["task_counts"] for project in items] == expected
    one = client.get(f"/projects/1{query}", headers={"If-None-Match": '"1"'})
    assert (one.json(), "etag" in one.headers) == (items[0], False)
    assert items[0].pop("task_counts")
    assert client.get("/projects/1").json() == items[0]
    assert client.get("/projects?include=tasks").status_code == 422


def test_a_page_of_projects_is_counted_by_one_statement(
    client: TestClient, statements: list[tuple[str, Any]]
) -> None:
    ProjectFactory.create_batch(30)
    statements.clear()
    page = client.get("/projects?limit=200&include=task_counts").json()
    assert (len(page["items"]), sum("FROM tasks" in sql for sql, _ in statements)) == (30, 1)
