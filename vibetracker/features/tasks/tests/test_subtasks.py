"""Tasks under tasks: parents, cycles, depth, lists and counts of subtasks."""

import pytest
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.features.tasks.tree import FEW

from .calls import Json, change, everything, faults, ids, make, read, walk
from .factory import TaskFactory


def chain(length: int, parent_id: int | None = None) -> list[int]:
    """Create tasks, each under the one before, and return their ids from the top down."""
    made = []
    for _ in range(length):
        parent_id = TaskFactory.create(parent_id=parent_id).id
        made.append(parent_id)
    return made


def test_a_task_can_be_put_under_another_and_taken_out_again(client: TestClient) -> None:
    parent = make(client)
    child = make(client, parent_id=parent["id"])
    assert child["parent_id"] == parent["id"]
    change(client, child["id"], parent_id=None)
    assert ids(client, "/tasks/1/subtasks") == []
    change(client, child["id"], parent_id=parent["id"])
    assert ids(client, "/tasks/1/subtasks") == [child["id"]]
    # The parent does not show its subtasks, so it does not change with them.
    assert read(client, parent["id"]) == parent


@pytest.mark.parametrize("trashed", [False, True])
def test_a_parent_is_a_live_task(client: TestClient, *, trashed: bool) -> None:
    task = TaskFactory.create()
    parent_id = TaskFactory.create(trashed=True).id if trashed else 77
    before = everything(client)
    for response in (
        client.post("/tasks", json={"title": "x", "parent_id": parent_id}),
        client.patch(f"/tasks/{task.id}", json={"title": "x", "parent_id": parent_id}),
        client.post(f"/tasks/{task.id}/move", json={"to": "last", "parent_id": parent_id}),
    ):
        assert faults(response) == [("/parent_id", "unknown_parent")]
    assert everything(client) == before


@pytest.mark.parametrize("length", [1, 2, 8])
def test_a_cycle_is_refused_with_its_path(client: TestClient, length: int) -> None:
    path = chain(length)
    before = everything(client)
    for response in (
        client.patch(f"/tasks/{path[0]}", json={"title": "x", "parent_id": path[-1]}),
        client.post(f"/tasks/{path[0]}/move", json={"to": "last", "parent_id": path[-1]}),
    ):
        assert response.status_code == 409
        problem = response.json()
        assert problem["type"] == "/problems/task-cycle"
        assert problem["path"] == path
        assert " > ".join(map(str, [*path, path[0]])) in problem["detail"]
    assert everything(client) == before


def test_a_cycle_in_the_middle_of_a_chain_shows_only_the_cycle(client: TestClient) -> None:
    path = chain(5)
    response = client.patch(f"/tasks/{path[1]}", json={"parent_id": path[3]})
    assert response.json()["path"] == path[1:4]


def test_eight_levels_are_the_most(client: TestClient) -> None:
    path = chain(7)
    deepest = make(client, parent_id=path[-1])
    before = everything(client)
    response = client.post("/tasks", json={"title": "x", "parent_id": deepest["id"]})
    assert faults(response) == [("/parent_id", "too_deep")]
    assert everything(client) == before


@pytest.mark.parametrize(
    ("above", "below", "status"), [(4, 4, 200), (4, 5, 422), (7, 1, 200), (7, 2, 422), (8, 1, 422)]
)
@pytest.mark.parametrize("move", [False, True])
def test_a_whole_subtree_counts_for_the_depth(
    client: TestClient, above: int, below: int, status: int, *, move: bool
) -> None:
    parent_id, (task_id, *rest) = chain(above)[-1], chain(below)
    if rest:
        # A second, shorter branch does not hide the long one.
        TaskFactory.create(parent_id=task_id)
    if move:
        body: Json = {"to": "first", "parent_id": parent_id}
        response = client.post(f"/tasks/{task_id}/move", json=body)
    else:
        response = client.patch(f"/tasks/{task_id}", json={"parent_id": parent_id})
    assert response.status_code == status, response.text
    if status == 422:
        assert faults(response) == [("/parent_id", "too_deep")]


def test_a_subtask_in_the_trash_counts_for_the_depth(client: TestClient) -> None:
    """Otherwise its restoration could make the tree too deep."""
    above, (task_id, below) = chain(7)[-1], chain(2)
    client.delete(f"/tasks/{below}")
    assert faults(client.patch(f"/tasks/{task_id}", json={"parent_id": above})) == [
        ("/parent_id", "too_deep")
    ]


def test_a_task_within_a_deep_chain_can_still_be_changed(client: TestClient) -> None:
    path = chain(8)
    assert change(client, path[4], title="Other", parent_id=path[3])["version"] == 2


def test_subtasks_are_listed_by_hand_order_and_direct_ones_only(client: TestClient) -> None:
    parent = TaskFactory.create().id
    first, second, third = (TaskFactory.create(parent_id=parent).id for _ in range(3))
    TaskFactory.create(parent_id=first)
    TaskFactory.create(parent_id=parent, trashed=True)
    client.post(f"/tasks/{third}/move", json={"to": "first"})
    path = f"/tasks/{parent}/subtasks"
    assert ids(client, path) == [third, first, second]
    assert ids(client, path, limit=1) == [third, first, second]
    assert ids(client, path, sort="-id") == [third, second, first]
    change(client, second, status="done")
    assert ids(client, path, is_open="true") == [third, first]
    assert ids(client, path, deleted="only") != []
    assert ids(client, path, parent_id=first) == []
    assert client.get(path, params={"include_total": "true", "limit": 1}).json()["total"] == 3
    assert ids(client, f"/tasks/{third}/subtasks") == []


def test_subtasks_of_a_task_in_the_trash_are_gone(client: TestClient) -> None:
    parent = TaskFactory.create().id
    TaskFactory.create(parent_id=parent)
    client.delete(f"/tasks/{parent}")
    assert client.get(f"/tasks/{parent}/subtasks").status_code == 410


def test_counts_of_subtasks_are_added_on_request(client: TestClient) -> None:
    parent = TaskFactory.create().id
    child = TaskFactory.create(parent_id=parent).id
    TaskFactory.create(parent_id=parent, in_progress=True)
    TaskFactory.create_batch(2, parent_id=parent, done=True)
    TaskFactory.create(parent_id=parent, cancelled=True)
    TaskFactory.create(parent_id=parent, trashed=True)
    TaskFactory.create(parent_id=child, done=True)
    counts = {"total": 5, "open": 2, "done": 2, "cancelled": 1}
    of_child = {"total": 1, "open": 0, "done": 1, "cancelled": 0}
    none = {"total": 0, "open": 0, "done": 0, "cancelled": 0}

    response = client.get(f"/tasks/{parent}?include=subtask_counts")
    assert response.json() == {**read(client, parent), "subtasks": counts}
    # The response depends on more than the version of the task, so it has no ``ETag``.
    assert "etag" not in response.headers
    conditional = client.get(
        f"/tasks/{parent}?include=subtask_counts", headers={"If-None-Match": '"1"'}
    )
    assert conditional.status_code == 200

    listed = walk(client, sort="id", include="subtask_counts", limit=2)
    assert [task["subtasks"] for task in listed] == [counts, of_child, *[none] * 5]
    (listed_child, *_) = walk(client, f"/tasks/{parent}/subtasks", include="subtask_counts")
    assert listed_child["subtasks"] == of_child
    assert "subtasks" not in walk(client)[0]
    assert client.get("/tasks/77?include=subtask_counts").status_code == 404


def test_all_that_is_below_a_task_is_a_list_like_any(client: TestClient) -> None:
    """Every depth, in the trash too, with the other filters, and nothing of other trees."""
    for title, parent_id in (("a", None), ("b", 1), ("c", 2), ("d", 3), ("e", 2), ("f", None)):
        make(client, title=title, parent_id=parent_id, tags=["x"] if title in "cdf" else [])
    assert ids(client, ancestor_id=1, sort="id") == [2, 3, 4, 5]
    assert ids(client, ancestor_id=2, sort="-title") == [5, 4, 3]
    assert ids(client, ancestor_id=1, tag="x", sort="id") == [3, 4]
    assert ids(client, ancestor_id=1, parent_id=2, sort="id") == [3, 5]
    assert ids(client, ancestor_id=4) == ids(client, ancestor_id=4711) == []
    client.delete("/tasks/3")
    assert ids(client, ancestor_id=1, sort="id") == [2, 5]
    assert ids(client, ancestor_id=1, deleted="only", sort="id") == [3, 4]
    assert client.get("/tasks?ancestor_id=0").status_code == 422


def test_there_may_be_many_below_a_task(client: TestClient, database: Database) -> None:
    root = TaskFactory.create()
    with database.session(write=True) as session:
        session.add_all(TaskFactory.build_batch(FEW + 1, parent_id=root.id))
        session.commit()
    TaskFactory.create()
    page = client.get(f"/tasks?ancestor_id={root.id}&include_total=true&limit=200&sort=id").json()
    assert page["total"] == FEW + 1
    assert [task["id"] for task in page["items"]] == list(range(root.id + 1, root.id + 201))
