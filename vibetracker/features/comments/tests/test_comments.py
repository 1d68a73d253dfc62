"""Comments as clients meet them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from vibetracker.cli.needs import with_needs
from vibetracker.core.api.routing import Router
from vibetracker.core.api.session import get_database
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.changes import Change
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import Feature, discover, sources
from vibetracker.features.comments import demo
from vibetracker.features.tasks.tests.factory import TaskFactory
from vibetracker.testing import Client

from .factory import CommentFactory

type Json = dict[str, Any]


def create(client: TestClient) -> Json:
    """Create the first comment with all that it can have, and return it."""
    sent: Json = {
        "task_id": TaskFactory.create().id,
        "body": "some body",
        "author": "some author",
    }
    response = client.post("/comments", json=sent)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == "/comments/1"
    comment: Json = response.json()
    assert {name: comment[name] for name in sent} == sent
    return comment


def test_what_was_created_is_what_is_read(client: TestClient) -> None:
    comment = create(client)
    assert client.get("/comments/1").json() == comment


def test_the_oldest_comes_first(client: TestClient) -> None:
    CommentFactory.create_batch(3)
    page = client.get("/comments").json()
    assert [comment["id"] for comment in page["items"]] == [1, 2, 3]
    page = client.get("/comments?sort=-updated_at").json()
    assert [comment["id"] for comment in page["items"]] == [3, 2, 1]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("task_id=4711", 0),
        ("task_id=1&task_id=4711", 1),
        ("q=BODY%20some", 1),
        ("q=b%C3%B6dy", 1),
        ("q=some%20author", 0),
        ("q=some%25", 0),
        ("updated_after=9998-01-01T00:00:00Z", 0),
    ],
)
def test_filters_narrow_the_list_down(client: TestClient, query: str, count: int) -> None:
    create(client)
    assert len(client.get(f"/comments?{query}").json()["items"]) == count


def test_a_patch_changes_what_it_names_and_nothing_else(client: TestClient) -> None:
    before = create(client)
    changes: Json = {
        "body": "other body",
        "author": "other author",
    }
    for name, value in changes.items():
        after = client.patch("/comments/1", json={name: value}).json()
        moved = {"version": before["version"] + 1, "updated_at": after["updated_at"]}
        assert after == {**before, **moved, name: value}
        before = after
    assert client.patch("/comments/1", json=changes).json() == before


def test_a_version_that_is_not_current_is_refused(client: TestClient) -> None:
    create(client)
    headers = {"If-Match": '"7"'}
    assert client.patch("/comments/1", json={}, headers=headers).status_code == 412
    assert client.delete("/comments/1", headers=headers).status_code == 412
    assert client.get("/comments/1", headers={"If-None-Match": '"1"'}).status_code == 304


def test_what_was_deleted_is_gone(client: TestClient) -> None:
    comment = CommentFactory.create()
    assert client.delete(f"/comments/{comment.id}").status_code == 204
    assert client.get(f"/comments/{comment.id}").status_code == 404


def test_it_is_in_the_trash_with_its_task(client: TestClient) -> None:
    comment = create(client)
    assert client.delete(f"/tasks/{comment['task_id']}").status_code == 204
    assert client.get("/comments").json()["items"] == []
    assert client.get("/comments/1").status_code == 410
    assert client.patch("/comments/1", json={}).status_code == 410
    assert client.delete("/comments/1").status_code == 410
    assert client.post(f"/tasks/{comment['task_id']}/restore").status_code == 200
    assert client.get("/comments").json()["items"] == [comment]


def test_a_comment_is_searched_as_it_reads_now(client: TestClient) -> None:
    create(client)
    assert client.patch("/comments/1", json={"body": "Le Café est fermé"}).status_code == 200
    assert [it["id"] for it in client.get("/comments?q=cafe").json()["items"]] == [1]
    assert client.get("/comments?q=body").json()["items"] == []


@pytest.mark.parametrize(
    ("sent", "pointer"),
    [
        ({"task_id": 4711, "body": "Hello"}, "/task_id"),
        ({"body": "Hello"}, "/task_id"),
        ({"task_id": 1, "body": ""}, "/body"),
        ({"task_id": 1, "body": "x" * 10_001}, "/body"),
        ({"task_id": 1, "body": "Hello", "author": "x" * 81}, "/author"),
        ({"task_id": 1, "body": "Hello", "author": "two\nlines"}, "/author"),
        ({"task_id": 1, "body": "Hello", "author": None}, "/author"),
    ],
)
def test_what_is_no_comment_is_refused(client: TestClient, sent: Json, pointer: str) -> None:
    TaskFactory.create()
    answer = client.post("/comments", json=sent)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


def test_a_comment_stays_with_its_task(client: TestClient) -> None:
    before = create(client)
    answer = client.patch("/comments/1", json={"task_id": TaskFactory.create().id})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/task_id")
    assert client.get("/comments/1").json() == before


def test_no_comment_is_made_on_a_task_in_the_trash(client: TestClient) -> None:
    task = TaskFactory.create()
    assert client.delete(f"/tasks/{task.id}").status_code == 204
    answer = client.post("/comments", json={"task_id": task.id, "body": "Too late"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unknown_task")


def test_comments_go_and_come_with_the_tree_of_their_task(client: TestClient) -> None:
    comment = CommentFactory.create(
        task_id=TaskFactory.create(parent_id=TaskFactory.create().id).id
    )
    before = client.get(f"/comments/{comment.id}").json()
    assert client.delete("/tasks/1").status_code == 204
    assert client.get("/comments?include_total=true").json()["total"] == 0
    assert client.get(f"/comments?task_id={comment.task_id}").json()["items"] == []
    assert client.post("/tasks/1/restore").status_code == 200
    assert client.get(f"/comments/{comment.id}").json() == before
    assert client.delete("/tasks/1?permanent=true").status_code == 204
    assert client.get(f"/comments/{comment.id}").status_code == 404


def test_listeners_see_comments_that_are_deleted_with_their_task(database: Database) -> None:
    seen: list[Change] = []
    listening = Feature(
        "listening",
        "listening",
        Router("/listening", description="Sees every change."),
        listener=lambda _, changes: seen.extend(changes),
    )
    settings = Settings(database_url="sqlite://", _env_file=None)
    features = discover(only=with_needs({"comments"}, sources()))
    listened = create_app(settings, [*features, listening])
    database.listeners, before = listened.state.database.listeners, database.listeners
    listened.dependency_overrides[get_database] = lambda: database
    try:
        with Client(listened) as client:
            comment = create(client)
            task_id = comment["task_id"]
            assert client.delete(f"/tasks/{task_id}").status_code == 204
            assert [it.resource.__name__ for it in seen] == ["Comment", "Task"]
            seen.clear()
            assert client.delete(f"/tasks/{task_id}?permanent=true").status_code == 204
    finally:
        database.listeners = before
    gone = {it.resource.__name__: it for it in seen}
    assert gone.keys() == {"Comment", "Task"}
    assert gone["Comment"].after is None
    assert gone["Comment"].before is not None
    assert gone["Comment"].before["body"] == comment["body"]


def test_a_comment_is_no_new_version_of_its_task(client: TestClient) -> None:
    create(client)
    before = client.get("/tasks/1")
    assert client.patch("/comments/1", json={"body": "Other"}).status_code == 200
    assert client.delete("/comments/1").status_code == 204
    after = client.get("/tasks/1", headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 304


def test_demo_data_has_comments_on_some_tasks(client: TestClient, database: Database) -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    TaskFactory.create_batch(50, created_at=now - timedelta(days=9))
    with database.session(write=True) as session:
        assert sum(demo.fill(session, Random(1), 1000, now)) == 10  # noqa: S311 - no secret
        session.commit()
    commented = client.get("/tasks?has_comments=true&include_total=true").json()["total"]
    assert 0 < commented <= 10
    comments = client.get("/comments").json()["items"]
    assert len({comment["body"] for comment in comments}) > 1
    assert all(comment["created_at"] < "2026-11-23" for comment in comments)


def test_lists_are_read_row_by_row_where_postgresql_takes_the_tables_for_empty(
    fill_with_stale_statistics: Callable[[Callable[[Session], object]], None],
    get_counting: Callable[[str], tuple[Response, list[int]]],
) -> None:
    def fill(session: Session) -> None:
        tasks = TaskFactory.build_batch(2_000)
        session.add_all(tasks)
        session.flush()
        session.add_all(CommentFactory.build(task_id=task.id) for task in tasks)

    fill_with_stale_statistics(fill)
    for path in ("/comments", "/tasks?has_comments=true", "/tasks?has_comments=false"):
        response, pages = get_counting(path)
        assert response.status_code == 200
        assert sum(pages) < 20_000, path
