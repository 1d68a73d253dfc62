"""Every sort key in both directions, and walks from page to page in its order."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from vibetracker.core.api.text import searchable
from vibetracker.core.db.database import Database
from vibetracker.features.tasks.model import Task

from .calls import Json, faults, ids, make, pages, read, walk
from .factory import TaskFactory

STATUSES = ("todo", "in_progress", "done", "cancelled")
PRIORITIES = ("none", "low", "medium", "high", "urgent")
TITLES = ("b", "A", "B", "straße", "STRASSE", "ä", "z", "\uffee", "\U0001f600", "_", "Á", "a")
DAY = "2030-01-0"
DUE = {f"{DAY}{n}": f"{DAY}{n}T23:59:59.999999Z" for n in range(1, 9)}
"""The last instant of a day in UTC."""

ORDERS: dict[str, Callable[[Json], Any]] = {
    "id": lambda task: task["id"],
    "title": lambda task: (searchable(task["title"]), task["title"]),
    "status": lambda task: STATUSES.index(task["status"]),
    "priority": lambda task: PRIORITIES.index(task["priority"]),
    "due": lambda task: task["due_at"] or (task["due_on"] and DUE[task["due_on"]]),
    "start_at": lambda task: task["start_at"],
    "created_at": lambda task: task["created_at"],
    "updated_at": lambda task: task["updated_at"],
    "completed_at": lambda task: task["completed_at"],
    "position": lambda task: task["position"],
}
"""How each key sorts, as a sort key of Python."""


@pytest.fixture
def tasks(client: TestClient, database: Database) -> list[Json]:
    """Create tasks with each value several times, and return them by id."""
    for n in range(12):
        task: Json = {"title": TITLES[n], "status": STATUSES[n % 4], "priority": PRIORITIES[n % 5]}
        task |= [{}, {"due_at": f"{DAY}3T00:00:00Z"}, {"due_on": f"{DAY}{n % 2 + 2}"}][n % 3]
        if n % 4 == 1:
            task["start_at"] = f"{DAY}1T00:00:00Z"
        if n % 8 == 2:
            task["completed_at"] = "2020-01-01T00:00:00Z"
        make(client, **task)
    fifth = read(client, 5)
    moments = {name: datetime.fromisoformat(fifth[name]) for name in ("created_at", "updated_at")}
    with database.engine.begin() as connection:
        # Some are equal, so that the id decides.
        rows = update(Task).where(Task.id % 3 == 0)
        connection.execute(rows.values(position=fifth["position"], **moments))
    return walk(client, sort="id")


def in_order(tasks: list[Json], *keys: str) -> list[int]:
    """Sort as the contract says: nulls last either way, ids ascending within ties."""
    ordered = sorted(tasks, key=lambda task: task["id"])
    for key in reversed(keys):
        name, descending = key.removeprefix("-"), key.startswith("-")
        value = ORDERS[name]
        some = [task for task in ordered if value(task) is not None]
        # Descending too, equals keep their order.
        some.sort(key=value, reverse=descending)
        ordered = some + [task for task in ordered if value(task) is None]
    return [task["id"] for task in ordered]


@pytest.mark.slow
def test_a_key_sorts_every_page_of_a_walk(
    client: TestClient, tasks: list[Json], subtests: pytest.Subtests
) -> None:
    for key in [f"{sign}{key}" for key in ORDERS for sign in ("", "-")]:
        with subtests.test(key):
            expected = in_order(tasks, key)
            assert ids(client, sort=key) == expected
            assert ids(client, sort=key, limit=2) == expected
            found = [[task["id"] for task in page] for page in pages(client, sort=key, limit=5)]
            assert found == [expected[:5], expected[5:10], expected[10:]]


@pytest.mark.slow
def test_keys_can_be_combined(
    client: TestClient, tasks: list[Json], subtests: pytest.Subtests
) -> None:
    for sort in (
        "status,-priority",
        "-due,title",
        "priority,-due,-title",
        "-completed_at,start_at,-status",
        "start_at,-id",
        "-due,-id",
        "status,-start_at,due,-id",
        "-id,title",
        "title,-created_at,updated_at,position",
    ):
        with subtests.test(sort):
            expected = in_order(tasks, *sort.split(","))
            assert ids(client, sort=sort) == expected
            assert ids(client, sort=sort, limit=1) == expected


def test_the_newest_come_first_by_default(client: TestClient, tasks: list[Json]) -> None:
    assert ids(client) == ids(client, limit=2) == in_order(tasks, "-created_at")


@pytest.mark.parametrize(
    ("sort", "code"),
    [
        ("", "sort_key"),
        ("name", "sort_key"),
        ("Title", "sort_key"),
        ("+title", "sort_key"),
        ("--title", "sort_key"),
        ("title,", "sort_key"),
        ("title, id", "sort_key"),
        ("due_on", "sort_key"),
        ("title,title", "sort_key_twice"),
        ("title,-title", "sort_key_twice"),
    ],
)
def test_what_cannot_be_sorted_by_breaks_a_rule(client: TestClient, sort: str, code: str) -> None:
    for path in ("/tasks", f"/tasks/{make(client)['id']}/subtasks"):
        assert faults(client.get(path, params={"sort": sort})) == [("sort", code)]


@pytest.mark.parametrize(
    "other",
    [
        {"sort": "title"},
        {"sort": "due"},
        {"sort": "-due", "is_open": "true"},
        {"sort": "-due", "tz": "Europe/Berlin"},
        {"sort": "-due", "deleted": "include"},
        {"sort": "-due", "q": "task"},
    ],
)
def test_a_cursor_is_bound_to_its_query(client: TestClient, other: Json) -> None:
    TaskFactory.create_batch(3)
    first = client.get("/tasks", params={"sort": "-due", "limit": 1}).json()
    cursor = first["next_cursor"]
    assert faults(client.get("/tasks", params={**other, "cursor": cursor})) == [
        ("cursor", "cursor")
    ]
    for same in ({"limit": 2}, {"include_total": "true"}):
        params = {"sort": "-due", "cursor": cursor, **same}
        assert client.get("/tasks", params=params).json()["items"][0]["id"] == 2


def test_a_cursor_of_one_tasks_subtasks_is_none_of_another(client: TestClient) -> None:
    parents = [TaskFactory.create().id for _ in range(2)]
    for parent_id in parents:
        TaskFactory.create_batch(2, parent_id=parent_id)
    paths = [f"/tasks/{parent_id}/subtasks" for parent_id in parents]
    cursor = client.get(paths[0], params={"limit": 1}).json()["next_cursor"]
    assert client.get(paths[0], params={"cursor": cursor}).status_code == 200
    for path in (paths[1], "/tasks"):
        assert faults(client.get(path, params={"cursor": cursor})) == [("cursor", "cursor")]


@pytest.mark.parametrize(
    "key",
    [
        *("title", "-due", "position"),
        *(pytest.param(key, marks=pytest.mark.slow) for key in ("start_at", "-status")),
    ],
)
def test_a_walk_sees_each_task_that_stays_once_while_others_come_and_go(
    client: TestClient, key: str
) -> None:
    names = ["due_at", "start_at"]
    for n in range(12):
        dates = dict.fromkeys(names, f"{DAY}{n % 4 + 1}T00:00:00Z") if n % 3 else {}
        make(client, title=f"t{n % 5}", status=STATUSES[n % 4], **dates)
    seen: list[int] = []
    for number, page in enumerate(pages(client, sort=key, limit=3)):
        seen += [task["id"] for task in page]
        make(client, title="a")
        make(client, title="zz", due_at=f"{DAY}9T00:00:00Z", start_at=f"{DAY}9T00:00:00Z")
        # The row that the cursor stands on goes too.
        client.delete(f"/tasks/{page[-1]['id']}", params={"permanent": "true"})
        assert number < 20
    assert len(seen) == len(set(seen))
    assert {*range(1, 13)} <= {*seen}


def test_titles_that_are_too_long_for_an_index_are_sorted_all_the_same(client: TestClient) -> None:
    """By the part that fits: the whole title without case and accents, then its beginning."""
    long = "\U0001f600" * 400
    for end in ("É", "e", "F"):
        make(client, title=long + end)
    assert [item["title"][-1] for item in walk(client, sort="title", limit=1)] == ["É", "e", "F"]
    assert [item["id"] for item in walk(client, sort="-title", limit=1)] == [3, 1, 2]
