"""``fields``: a part of a task, of which the rest is not read."""

from typing import Any

from starlette.testclient import TestClient

from vibetracker.features.tags.tests.factory import TagFactory

from .factory import TaskFactory


def test_what_is_not_asked_for_is_not_read(
    client: TestClient, statements: list[tuple[str, Any]]
) -> None:
    task, tag = TaskFactory.create(), TagFactory.create()
    statements.clear()
    for path in ("/tasks", f"/tasks/{task.id}", "/tags", f"/tags/{tag.id}"):
        assert client.get(f"{path}?fields=id").status_code == 200
    client.get("/tasks?fields=title&include=subtask_counts&include_total=true")
    assert statements
    assert not [sql for sql, _ in statements if "description" in sql or "task_tags" in sql]


def test_it_goes_with_what_include_adds(client: TestClient) -> None:
    task = TaskFactory.create()
    query = "fields=title&include=subtask_counts"
    for answer in (client.get(f"/tasks?{query}"), client.get(f"/tasks/{task.id}?{query}")):
        content = answer.json()
        one = content["items"][0] if "items" in content else content
        assert one == {
            "title": task.title,
            "subtasks": {"total": 0, "open": 0, "done": 0, "cancelled": 0},
        }


def test_it_may_differ_from_page_to_page(client: TestClient) -> None:
    TaskFactory.create_batch(2)
    cursor = client.get("/tasks?limit=1&fields=title").json()["next_cursor"]
    page = client.get("/tasks", params={"limit": 1, "cursor": cursor, "fields": "id"}).json()
    assert [*page["items"][0]] == ["id"]


def test_a_partial_response_ignores_if_none_match(client: TestClient) -> None:
    task = TaskFactory.create()
    response = client.get(f"/tasks/{task.id}?fields=id", headers={"If-None-Match": '"1"'})
    assert (response.status_code, response.json()) == (200, {"id": task.id})
