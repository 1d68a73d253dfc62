"""What comments add to tasks, as clients of tasks meet it."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.features.tasks.tests.factory import TaskFactory
from vibetracker.testing import Client

from .factory import CommentFactory


@pytest.fixture
def tasks(client: TestClient) -> TestClient:
    """Return a client, a task with two comments, one without, and a subtask with one."""
    for count, parent_id in ((2, None), (0, None), (1, 1)):
        CommentFactory.create_batch(count, task_id=TaskFactory.create(parent_id=parent_id).id)
    return client


def ids(client: TestClient, query: str) -> list[int]:
    """Return the ids of a list of tasks."""
    return [item["id"] for item in client.get(f"/tasks?sort=id&{query}").json()["items"]]


def test_tasks_are_filtered_by_whether_they_have_comments(tasks: TestClient) -> None:
    assert ids(tasks, "has_comments=true") == [1, 3]
    assert ids(tasks, "has_comments=false") == [2]
    assert ids(tasks, "has_comments=true&id=2&id=3") == [3]
    assert tasks.get("/tasks?has_comments=maybe").status_code == 422
    assert tasks.delete("/comments/3").status_code == 204
    assert ids(tasks, "has_comments=true") == [1]


def test_tasks_are_returned_with_their_number_of_comments(tasks: TestClient) -> None:
    items = tasks.get("/tasks?sort=id&include=comment_count").json()["items"]
    assert [item["comment_count"] for item in items] == [2, 0, 1]
    one = tasks.get("/tasks/1?include=comment_count&include=subtask_counts")
    assert (one.json()["comment_count"], one.json()["subtasks"]["total"]) == (2, 1)
    assert "etag" not in one.headers
    assert "comment_count" not in tasks.get("/tasks/1").json()
    (item,) = tasks.get("/tasks/1/subtasks?include=comment_count&has_comments=true").json()["items"]
    assert (item["id"], item["comment_count"]) == (3, 1)


def test_a_task_in_the_trash_has_its_comments(tasks: TestClient) -> None:
    assert tasks.delete("/tasks/1").status_code == 204
    trash = "/tasks?deleted=only&include=comment_count&has_comments=true"
    found = {item["id"]: item["comment_count"] for item in tasks.get(trash).json()["items"]}
    assert found == {1: 2, 3: 1}


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/tasks", 1),
        ("/tasks?has_comments=true", 1),
        ("/tasks?include=comment_count", 2),
        ("/tasks/1?include=comment_count", 2),
        ("/tasks/1/subtasks?include=comment_count", 3),
    ],
)
def test_they_take_at_most_one_statement_more(
    tasks: TestClient, statements: list[tuple[str, Any]], path: str, count: int
) -> None:
    statements.clear()
    assert tasks.get(path).status_code == 200
    # Others may notify at the same time, which reads no table.
    reads = [sql for sql, _ in statements if sql.startswith("SELECT") and "FROM" in sql]
    assert len(reads) == count, reads
    assert any("comments" in sql for sql in reads) == (path != "/tasks")


def test_tasks_know_nothing_of_comments_without_them(app: FastAPI) -> None:
    others = [feature for feature in app.state.features if feature.name != "comments"]
    without = create_app(Settings(database_url="sqlite://", _env_file=None), others)
    for application in (app, without):
        document = application.openapi()
        operations = [it for path, it in document["paths"].items() if path.startswith("/tasks")]
        text = json.dumps([operations, document["components"]["schemas"]["TaskRead"]])
        assert ("comment" in text) == (application is app)
    with Client(without) as client:
        for name, query in {"has_comments": "=true", "include": "=comment_count"}.items():
            answer = client.get(f"/tasks?{name}{query}")
            assert answer.status_code == 422
            assert name in answer.json()["errors"][0]["parameter"]
