"""Batches: many changes in one request, all of them or none."""

from typing import Any

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from vibetracker.core.database import Database

type Json = dict[str, Any]


def send(client: TestClient, *operations: Json, **options: Any) -> Any:
    return client.post("/tasks/batch", json={"operations": list(operations)}, **options)


def new(title: str = "x", ref: str | None = None, **data: object) -> Json:
    operation: Json = {"op": "create", "data": {"title": title, **data}}
    return operation if ref is None else {**operation, "ref": ref}


def everything(client: TestClient) -> list[Json]:
    tasks = client.get("/tasks", params={"deleted": "include", "sort": "id", "limit": 200})
    return [*tasks.json()["items"], *client.get("/tags").json()["items"]]


def test_operations_happen_in_their_order(client: TestClient) -> None:
    first = client.post("/tasks", json={"title": "old", "tags": ["a"]}).json()
    response = send(
        client,
        new("trip", ref="trip", tags=["b", "A"]),
        new("pack", parent_ref="trip"),
        {"op": "update", "id": first["id"], "if_match": '"1"', "data": {"title": "new"}},
        {"op": "delete", "id": first["id"], "if_match": '"2"'},
        {"op": "restore", "id": first["id"]},
    )
    assert response.status_code == 200
    assert not {"etag", "location"} & set(response.headers)
    trip, pack, changed, deleted, restored = response.json()["results"]
    assert [r["status"] for r in response.json()["results"]] == [201, 201, 200, 204, 200]
    assert trip["task"]["tags"] == ["a", "b"]
    assert pack["task"]["parent_id"] == trip["id"]
    assert (changed["task"]["title"], changed["task"]["version"]) == ("new", 2)
    assert deleted == {"status": 204, "id": first["id"]}
    assert restored["task"] == client.get(f"/tasks/{first['id']}").json()
    assert pack["task"] == client.get(f"/tasks/{pack['id']}").json()


def test_each_result_is_what_its_operation_left(client: TestClient) -> None:
    task = client.post("/tasks", json={"title": "0"}).json()
    update = [{"op": "update", "id": task["id"], "data": {"title": str(n)}} for n in (1, 2)]
    results = send(client, *update).json()["results"]
    assert [(r["task"]["title"], r["task"]["version"]) for r in results] == [("1", 2), ("2", 3)]


@pytest.mark.parametrize(
    ("operations", "status", "pointers"),
    [
        ([new("")], 422, ["/operations/0/data/title"]),
        ([new(), new(tagz=[])], 422, ["/operations/1/data/tagz"]),
        ([new(), {"op": "crate"}], 422, ["/operations/1/op"]),
        ([new(), {"op": "update", "data": {}}], 422, ["/operations/1/id"]),
        ([new(), {"op": "delete", "id": 0}], 422, ["/operations/1/id"]),
        ([new(), new(parent_id=99)], 422, ["/operations/1/data/parent_id"]),
        ([new(ref="a"), new(ref="a")], 422, ["/operations/1/ref"]),
        ([new(parent_ref="a"), new(ref="a")], 422, ["/operations/0/data/parent_ref"]),
        ([new(ref="a"), new(parent_ref="a", parent_id=1)], 422, ["/operations/1/data/parent_ref"]),
        ([{"op": "delete", "id": 1}, {"op": "delete", "id": 1}], 422, ["/operations/1/id"]),
        ([], 422, ["/operations"]),
        ([new()] * 101, 422, ["/operations"]),
        ([new(), {"op": "update", "id": 99, "data": {}}], 404, []),
        ([new(), {"op": "update", "id": 1, "if_match": '"7"', "data": {}}], 412, []),
        ([{"op": "delete", "id": 1}, {"op": "update", "id": 2, "data": {}}], 410, []),
        ([{"op": "delete", "id": 1}, {"op": "restore", "id": 2}], 409, []),
        ([new(), {"op": "update", "id": 1, "data": {"parent_id": 2}}], 409, []),
    ],
)
def test_a_failure_names_its_operation_and_leaves_nothing(
    client: TestClient, operations: list[Json], status: int, pointers: list[str]
) -> None:
    assert send(client, new(ref="p"), new(parent_ref="p")).status_code == 200
    before = everything(client)
    response = send(client, *operations)
    problem = response.json()
    assert response.status_code == status, problem
    if pointers:
        assert [error["pointer"] for error in problem["errors"]] == pointers
    else:
        assert problem["pointer"] == f"/operations/{len(operations) - 1}"
    assert everything(client) == before


def test_a_failure_in_the_last_of_a_hundred_leaves_no_row(client: TestClient) -> None:
    operations = [new(f"task {n}", tags=[f"tag {n % 7}"]) for n in range(99)]
    response = send(client, *operations, {"op": "delete", "id": 12345})
    assert (response.status_code, response.json()["pointer"]) == (404, "/operations/99")
    assert everything(client) == []


def test_trying_keeps_nothing_and_uses_no_key_up(client: TestClient) -> None:
    key = {"Idempotency-Key": "k"}
    tried = send(client, new(tags=["a"]), params={"dry_run": "true"}, headers=key)
    assert tried.status_code == 200
    assert everything(client) == []
    done = send(client, new(tags=["a"]), headers=key)
    assert "idempotency-replayed" not in done.headers
    assert tried.json()["results"][0]["task"]["tags"] == ["a"]
    again = send(client, new(tags=["a"]), headers=key)
    assert again.content == done.content
    assert again.headers["idempotency-replayed"] == "true"
    assert len(everything(client)) == 2


@pytest.mark.parametrize("tags", [[], ["a", "b"]])
def test_the_number_of_statements_does_not_grow_with_the_number_of_creations(
    client: TestClient, database: Database, tags: list[str]
) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite takes one INSERT per row, and there is no way to a server to save")
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        assert send(client, *[new(f"task {n}", tags=tags) for n in range(100)]).status_code == 200
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    assert len(statements) <= 12, statements
