"""Requests that many tests send, and what they read from the responses."""

from collections.abc import Iterator
from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient

type Json = dict[str, Any]


def make(client: TestClient, **fields: object) -> Json:
    """Create a task."""
    response = client.post("/tasks", json={"title": "task", **fields})
    assert response.status_code == 201, response.text
    task: Json = response.json()
    return task


def read(client: TestClient, task_id: int) -> Json:
    """Get a task as it is now, in the trash or not."""
    (task,) = walk(client, id=task_id, deleted="include")
    return task


def change(client: TestClient, task_id: int, **fields: object) -> Json:
    """Change a task."""
    response = client.patch(f"/tasks/{task_id}", json=fields)
    assert response.status_code == 200, response.text
    task: Json = response.json()
    return task


def pages(client: TestClient, path: str = "/tasks", **params: Any) -> Iterator[list[Json]]:
    """Follow a list from page to page."""
    while True:
        response = client.get(path, params=params)
        assert response.status_code == 200, response.text
        page = response.json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        params["cursor"] = page["next_cursor"]


def walk(client: TestClient, path: str = "/tasks", **params: Any) -> list[Json]:
    """Get all items of a list."""
    return [item for page in pages(client, path, **params) for item in page]


def ids(client: TestClient, path: str = "/tasks", **params: Any) -> list[int]:
    """Get the ids of all items of a list."""
    return [item["id"] for item in walk(client, path, **params)]


def everything(client: TestClient) -> tuple[list[Json], list[Json]]:
    """Get all resources, so that a test can check that nothing has changed."""
    return walk(client, deleted="include", sort="id", limit=200), walk(client, "/tags", limit=200)


def faults(response: Response) -> list[tuple[str, str]]:
    """Return where a request broke which rules: pointer, parameter or header, and code."""
    assert response.status_code == 422, response.text
    return [
        (fault.get("pointer", fault.get("parameter", fault.get("header"))), fault["code"])
        for fault in response.json()["errors"]
    ]
