"""Whatever changes tasks and tags announces it: each new version once, as clients see it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic_core import to_json
from starlette.testclient import TestClient

from vibetracker.core.db import changes
from vibetracker.core.db.changes import Change
from vibetracker.core.db.portions import AT_ONCE
from vibetracker.features.projects.model import Project
from vibetracker.features.tags.model import Tag
from vibetracker.features.tags.tests.factory import TagFactory
from vibetracker.features.tasks import ranking
from vibetracker.features.tasks.model import Task

from .calls import everything, walk
from .factory import TaskFactory

type Json = dict[str, Any]

BATCH = [
    {"op": "create", "ref": "a", "data": {"title": "a", "tags": ["new", "home"]}},
    {"op": "create", "data": {"title": "b", "parent_ref": "a"}},
    {"op": "update", "id": 1, "data": {"title": "changed", "tags": ["work"]}},
    {"op": "update", "id": 1, "data": {"title": "changed again"}},
    {"op": "update", "id": 1, "data": {}},
    {"op": "move", "id": 1, "data": {"to": "first"}},
    {"op": "delete", "id": 1},
    {"op": "restore", "id": 1},
    {"op": "create", "data": {"title": "c"}},
]
STEPS: list[tuple[str, str, Json, int]] = [
    ("POST", "/tasks", {"title": "plain"}, 1),
    ("POST", "/tasks", {"title": "child", "parent_id": 4, "tags": ["Home", "brand new"]}, 2),
    ("POST", "/tasks", {"title": "child", "parent_id": 4, "tags": ["home"]}, 1),
    ("PATCH", "/tasks/1", {"title": "a new title", "status": "done"}, 1),
    ("PATCH", "/tasks/1", {"tags": ["home", "also new"]}, 2),
    ("PATCH", "/tasks/1", {"tags": ["HOME", "also new"], "status": "done"}, 0),
    ("POST", "/tasks/3/move", {"to": "first"}, 1),
    ("POST", "/tasks/3/move", {"to": "first"}, 0),
    ("POST", "/tasks/batch", {"operations": BATCH}, 9),
    ("POST", "/tasks/batch?dry_run=true", {"operations": BATCH}, 0),
    ("POST", "/tasks/batch", {"operations": [*BATCH, {"op": "delete", "id": 99}]}, 0),
    ("PATCH", "/tags/1", {"name": "house"}, 5),
    ("PATCH", "/tags/1", {"color": "#000000"}, 1),
    ("PATCH", "/tags/1", {"name": "house"}, 0),
    ("POST", "/tags/1/merge", {"source_ids": [3, 4]}, 3),
    ("DELETE", "/tags/1", {}, 5),
    ("DELETE", "/tasks/4", {}, 3),
    ("POST", "/tasks/4/restore", {}, 3),
    ("POST", "/tasks/4/restore", {}, 0),
    ("DELETE", "/tasks/4?permanent=true", {}, 3),
    ("POST", "/projects", {"name": "house"}, 1),
    ("PATCH", "/tasks/7", {"project_id": 1}, 2),
    ("DELETE", "/projects/1?tasks=trash", {}, 3),
    ("POST", "/projects", {"name": "garden"}, 1),
    ("POST", "/tasks", {"title": "in it", "project_id": 2}, 1),
    ("DELETE", "/projects/2?tasks=keep", {}, 2),
]


def as_json(values: object) -> Any:
    """Return values as a response has them."""
    return json.loads(to_json(values))


class Copy:
    """A client's copy of everything, built from nothing but what is announced."""

    def __init__(self, client: TestClient, announced: list[Change]) -> None:
        self.client = client
        announced.clear()
        self.announced = announced
        self.rows: dict[tuple[type, int], Json] = {}
        tasks, tags = everything(client)
        projects = walk(client, "/projects")
        for resource, rows in ((Task, tasks), (Tag, tags), (Project, projects)):
            self.rows |= {(resource, row["id"]): row for row in rows}

    def follow(self) -> int:
        """Apply new changes, compare the copy with the lists, and return the number of changes."""
        new = [*self.announced]
        self.announced.clear()
        for change in new:
            key = (change.resource, change.id)
            before, after = as_json(change.before), as_json(change.after)
            assert self.rows.pop(key, None) == before
            if after is not None:
                assert after["version"] == (before or {"version": 0})["version"] + 1
                self.rows[key] = after
        tasks, tags = everything(self.client)
        assert {row["id"]: row for row in tasks} == self.of(Task)
        assert {row["id"]: row for row in tags} == self.of(Tag)
        assert {row["id"]: row for row in walk(self.client, "/projects")} == self.of(Project)
        return len(new)

    def of(self, resource: type) -> dict[int, Json]:
        """Return the rows of a resource, by their ids."""
        return {row_id: row for (kind, row_id), row in self.rows.items() if kind is resource}


@pytest.fixture
def copy(client: TestClient, announced: list[Change]) -> Callable[[], Copy]:
    """Return a function that creates a copy of what is there."""
    return lambda: Copy(client, announced)


@pytest.mark.parametrize("at_once", [AT_ONCE, 2])
def test_a_copy_that_follows_what_is_announced_is_what_the_lists_show(
    client: TestClient, copy: Callable[[], Copy], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(changes, "AT_ONCE", at_once)
    home = TagFactory.create(name="home")
    TagFactory.create(name="work")
    TaskFactory.create_batch(2, tags=[home])
    TaskFactory.create(title="third")
    mine = copy()
    for method, path, body, count in STEPS:
        if at_once < AT_ONCE and not count:
            # Listeners also get portions of changes that are rolled back in the end.
            continue
        answer = client.request(method, path, json=body or None)
        assert answer.is_success or path == "/tasks/batch", answer.text
        assert mine.follow() == count, (method, path, body)


def test_siblings_that_are_spread_anew_are_announced(
    client: TestClient, copy: Callable[[], Copy]
) -> None:
    full = "8" * ranking.LONGEST
    first, second, _ = TaskFactory.create_batch(3)
    TaskFactory.create(position=full)
    TaskFactory.create(position=full[:-1] + "9")
    mine = copy()
    client.post(f"/tasks/{first.id}/move", json={"before_id": 5})
    assert mine.follow() == 2
    assert [mine.of(Task)[task_id]["version"] for task_id in (second.id, 4, 5)] == [1, 1, 2]
