"""Random histories of all operations: a copy that follows them is complete, and undo restores."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Event
from typing import Any

import pytest
from starlette.testclient import TestClient

from vibetracker.testing import at_once

type Json = dict[str, Any]
type Request = tuple[str, str, Json | None]

STATUSES = ["todo", "in_progress", "done", "cancelled"]
TAGS = ["home", "Garden", "work", "straße", "errand"]
LISTS = {
    "tasks": "/tasks?deleted=include&limit=200",
    "tags": "/tags?limit=200",
    "projects": "/projects?limit=200",
}
DUE: list[Json] = [
    {"due_on": "2031-03-05", "due_at": None},
    {"due_on": None, "due_at": "2031-03-05T12:00:00Z"},
    {"due_on": None, "due_at": None, "start_at": None},
]


def tags(random: Random) -> list[str]:
    """Draw the names of some tags."""
    return random.sample(TAGS, random.randrange(3))


def new_task(random: Random, last: int) -> Json:
    """Draw a new task."""
    task: Json = {"title": f"task {random.random()}", "tags": tags(random)}
    if random.random() < 0.3:
        task["parent_id"] = random.randint(1, last)
    if random.random() < 0.3:
        task |= {"status": "done", "completed_at": "2026-01-02T03:04:05Z"}
    return task


def patch(random: Random, last: int) -> Json:
    """Draw changes to a task."""
    return random.choice(
        [
            {"status": random.choice(STATUSES)},
            {"title": f"changed {random.random()}", "description": "more"},
            {"tags": tags(random)},
            {"parent_id": random.choice([None, random.randint(1, last)])},
            {"project_id": random.choice([None, 1, 2])},
            random.choice(DUE),
            {"priority": random.choice(["none", "high"]), "status": random.choice(STATUSES)},
        ]
    )


def draw(random: Random, last: int, *, purges: bool) -> Request:
    """Draw a request; many are refused."""
    task = random.randint(1, last)
    places: list[Json] = [{"to": "first"}, {"to": "last"}, {"before_id": random.randint(1, last)}]
    batch = [
        random.choice(
            [
                {"op": "create", "data": new_task(random, last)},
                {"op": "update", "id": random.randint(1, last), "data": patch(random, last)},
                {"op": "move", "id": random.randint(1, last), "data": {"to": "first"}},
                {"op": "delete", "id": random.randint(1, last)},
                {"op": "restore", "id": random.randint(1, last)},
            ]
        )
        for _ in range(3)
    ]
    retitled: Json = {"name": f"tag {random.random()}"}
    requests: list[Request] = [
        ("POST", "/tasks", new_task(random, last)),
        *[("PATCH", f"/tasks/{task}", patch(random, last))] * 3,
        ("POST", f"/tasks/{task}/move", random.choice(places)),
        ("DELETE", f"/tasks/{task}", None),
        *[("POST", f"/tasks/{random.randint(1, last)}/restore", None)] * 2,
        ("POST", "/tasks/batch", {"operations": batch}),
        ("POST", "/tasks/batch?dry_run=true", {"operations": batch}),
        ("PATCH", f"/tags/{random.randint(1, 5)}", retitled),
        ("PATCH", f"/projects/{random.randint(1, 2)}", {"description": f"{random.random()}"}),
    ]
    if purges:
        requests += [
            ("DELETE", f"/tasks/{task}?permanent=true", None),
            ("POST", f"/tags/{random.randint(1, 5)}/merge", {"source_ids": [random.randint(1, 9)]}),
            ("DELETE", f"/tags/{random.randint(1, 9)}", None),
        ]
    return random.choice(requests)


def begin(client: TestClient) -> None:
    """Create the rows that histories begin with."""
    for number in (1, 2):
        assert client.post("/projects", json={"name": f"project {number}"}).status_code == 201
    for number in range(8):
        parent = {"parent_id": number // 2} if number > 3 else {}
        task = {"title": f"task {number}", "tags": TAGS[: number % 4], **parent}
        assert client.post("/tasks", json=task).status_code == 201


def whole(client: TestClient, path: str) -> list[Json]:
    """Get all items of a list."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["next_cursor"] is None
    items: list[Json] = answer.json()["items"]
    return items


class Copy:
    """A client's copy of everything, built from nothing but changes."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.rows: dict[tuple[str, int], Json] = {}
        self.versions: dict[tuple[str, int], int] = {}
        self.seen: set[int] = set()
        self.cursor: str | None = None

    def follow(self, limit: int = 7) -> None:
        """Apply what is new."""
        while True:
            params = {"limit": limit} | ({"after": self.cursor} if self.cursor else {})
            page = self.client.get("/changes", params=params).json()
            for change in page["items"]:
                self._apply(change)
            self.cursor = page["next_cursor"]
            if not page["has_more"]:
                return

    def _apply(self, change: Json) -> None:
        assert change["id"] not in self.seen
        self.seen.add(change["id"])
        key = (change["resource"], change["resource_id"])
        row = self.rows.pop(key, {})
        for name, (before, after) in change["changes"].items():
            assert row.get(name) == before, change
            row[name] = after
        if change["action"] == "deleted":
            assert change["version"] == self.versions[key]
            return
        assert change["version"] == self.versions.get(key, 0) + 1, change
        self.versions[key] = change["version"]
        self.rows[key] = row

    def check(self) -> None:
        """Compare the copy with what the lists show."""
        for resource, path in LISTS.items():
            mine = {row_id: row for (kind, row_id), row in self.rows.items() if kind == resource}
            shown = {item["id"]: item for item in whole(self.client, path)}
            assert mine.keys() == shown.keys()
            for row_id, item in shown.items():
                assert item.pop("version") == self.versions[resource, row_id]
                del item["updated_at"]
                assert {name: mine[row_id].get(name) for name in item} == item


@pytest.fixture
def run(busy_client: TestClient) -> Callable[..., None]:
    """Return a function that sends random requests."""

    def send(seed: object, count: int, *, purges: bool, last: int = 14) -> None:
        random = Random(str(seed))  # noqa: S311 - no secret
        for _ in range(count):
            method, path, body = draw(random, last, purges=purges)
            answer = busy_client.request(method, path, json=body)
            assert answer.status_code < 500, f"{method} {path} {body}: {answer.text}"

    return send


def follow_all(
    client: TestClient, run: Callable[..., None], seed: int, count: int, clients: int
) -> None:
    """Let several clients write while one follows, and compare at the end."""
    begin(client)
    copy, is_over = Copy(client), Event()

    def follow() -> None:
        while not is_over.is_set():
            copy.follow()

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        try:
            at_once(lambda number: run((seed, number), count, purges=True), clients)
        finally:
            is_over.set()
        following.result()
    copy.follow()
    copy.check()


def undo_all(client: TestClient, run: Callable[..., None], seed: int, count: int) -> None:
    """Undo everything, the last first, and compare with the beginning."""
    begin(client)
    mark = client.get("/changes", params={"after": "now"}).json()["next_cursor"]
    start = {path: view(client, path) for path in LISTS.values()}
    run(seed, count, purges=False)
    changes: list[Json] = []
    while True:
        page = client.get("/changes", params={"after": mark, "limit": 200}).json()
        changes += page["items"]
        mark = page["next_cursor"]
        if not page["has_more"]:
            break
    for change in reversed(changes):
        answer = client.post(f"/changes/{change['id']}/revert")
        assert answer.status_code == 200, (change, answer.text)
    for path, rows in start.items():
        now = view(client, path)
        # What was created is in the trash.
        assert {row_id: now[row_id] for row_id in rows} == rows
        assert all(row.get("deleted_at") for row_id, row in now.items() if row_id not in rows)


def view(client: TestClient, path: str) -> dict[int, Json]:
    """Return the items of a list by their ids, without the members that every change differs in."""
    left_out = {"version", "updated_at"}
    return {
        item["id"]: {name: item[name] for name in item if name not in left_out}
        for item in whole(client, path)
    }


def test_a_copy_that_follows_is_complete(busy_client: TestClient, run: Callable[..., None]) -> None:
    follow_all(busy_client, run, seed=1, count=15, clients=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_undo_restores_the_beginning(
    busy_client: TestClient, run: Callable[..., None], seed: int
) -> None:
    undo_all(busy_client, run, seed=seed, count=25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_long_histories_of_many_clients(
    busy_client: TestClient, run: Callable[..., None], seed: int
) -> None:
    follow_all(busy_client, run, seed=seed, count=60, clients=6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_undo_of_long_histories(
    busy_client: TestClient, run: Callable[..., None], seed: int
) -> None:
    undo_all(busy_client, run, seed=seed, count=60)
