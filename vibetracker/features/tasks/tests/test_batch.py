"""Batches: many changes in one transaction, which are what the same changes are one by one."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from httpx2 import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Base
from vibetracker.testing import empty

from .calls import Json, everything, faults, ids, make, read, walk
from .factory import TaskFactory


def create(title: str = "new", **members: Any) -> Json:
    """Return the operation that creates a task; ``ref`` is its name, the rest is data."""
    named = {"ref": members.pop("ref")} if "ref" in members else {}
    return {"op": "create", **named, "data": {"title": title, **members}}


def update(task_id: int, if_match: str | None = None, **data: Any) -> Json:
    """Return the operation that changes a task."""
    return {"op": "update", "id": task_id, **_demand(if_match), "data": data}


def delete(task_id: int, if_match: str | None = None) -> Json:
    """Return the operation that puts a task into the trash."""
    return {"op": "delete", "id": task_id, **_demand(if_match)}


def restore(task_id: int, if_match: str | None = None) -> Json:
    """Return the operation that brings a task back."""
    return {"op": "restore", "id": task_id, **_demand(if_match)}


def _demand(if_match: str | None) -> Json:
    return {} if if_match is None else {"if_match": if_match}


def send(client: TestClient, operations: Sequence[Json], **options: Any) -> Response:
    """Send a batch."""
    response: Response = client.post("/tasks/batch", json={"operations": operations}, **options)
    return response


def run(client: TestClient, *operations: Json) -> list[Json]:
    """Run a batch that succeeds, and return its results."""
    response = send(client, operations)
    assert response.status_code == 200, response.text
    results: list[Json] = response.json()["results"]
    return results


def rows(database: Database) -> dict[str, int]:
    """Count the rows of every table that has any."""
    with database.engine.connect() as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }
    return {name: count for name, count in counts.items() if count}


def test_operations_happen_in_their_order(client: TestClient) -> None:
    TaskFactory.create_batch(3)
    response = send(
        client, [delete(1), create("a", tags=["x"]), update(2, title="b"), restore(1), delete(3)]
    )
    assert response.status_code == 200
    assert not {"etag", "location"} & set(response.headers)
    results = response.json()["results"]
    assert [(result["status"], result["id"]) for result in results] == [
        (204, 1),
        (201, 4),
        (200, 2),
        (200, 1),
        (204, 3),
    ]
    assert ["task" in result for result in results] == [False, True, True, True, False]
    for result in results:
        if "task" in result:
            assert result["task"] == read(client, result["id"])
    assert ids(client, sort="id") == [1, 2, 4]


def test_a_result_is_the_task_as_its_operation_left_it(client: TestClient) -> None:
    task = make(client)
    results = run(
        client,
        update(1, status="in_progress", tags=["a"]),
        update(1, tags=["b"]),
        update(1, tags=["b"]),
        delete(1),
        restore(1),
        update(1, tags=["c"]),
        restore(1),
    )
    tasks = [result.get("task", {}) for result in results]
    assert [task.get("version") for task in tasks] == [2, 3, 3, None, 5, 6, 6]
    assert [task.get("tags") for task in tasks] == [["a"], ["b"], ["b"], None, ["b"], ["c"], ["c"]]
    assert tasks[0]["updated_at"] > task["updated_at"]
    assert tasks[-1] == read(client, 1)


def test_a_parent_can_be_one_that_the_batch_creates(client: TestClient) -> None:
    TaskFactory.create_batch(2)
    results = run(
        client,
        create("root", ref="root"),
        create("first", ref="first", parent_ref="root"),
        update(2, parent_ref="first"),
        create("second", parent_ref=" root "),
        update(1, parent_ref="root", title="third"),
        create("other root", ref="unused"),
    )
    parents = {result["id"]: result["task"]["parent_id"] for result in results}
    assert parents == {3: None, 4: 3, 2: 4, 5: 3, 1: 3, 6: None}
    titles = [task["title"] for task in walk(client, "/tasks/3/subtasks")]
    assert titles == ["first", "second", "third"]
    assert ids(client, "/tasks/4/subtasks") == [2]
    assert ids(client, sort="position", is_subtask=False) == [3, 6]


def test_a_task_can_move_under_one_that_the_batch_creates(client: TestClient) -> None:
    TaskFactory.create_batch(2)
    run(
        client,
        create("root", ref="root"),
        create("first", parent_ref="root"),
        {"op": "move", "id": 1, "data": {"to": "first", "parent_ref": "root"}},
        {"op": "move", "id": 2, "data": {"after_id": 1, "parent_ref": "root"}},
    )
    assert ids(client, "/tasks/3/subtasks", sort="position") == [1, 2, 4]


def test_a_new_task_can_be_addressed_by_the_id_that_it_gets(client: TestClient) -> None:
    TaskFactory.create_batch(2)
    results = run(
        client,
        create("a", tags=["x"], ref="a"),
        create("b", parent_ref="a"),
        create("c"),
        update(3, '"1"', title="A", tags=["y"]),
        delete(3),
        restore(3),
        update(4, '"3"', title="B", parent_id=None),
        {"op": "move", "id": 5, "data": {"to": "first"}},
        update(3, '"4"', status="done"),
    )
    told = [
        (result["id"], result["task"]["title"], result["task"]["version"])
        for result in results
        if "task" in result
    ]
    assert told == [
        (3, "a", 1),
        (4, "b", 1),
        (5, "c", 1),
        (3, "A", 2),
        (3, "A", 4),
        (4, "B", 4),
        (5, "c", 2),
        (3, "A", 5),
    ]
    assert [results[0]["task"]["tags"], results[3]["task"]["tags"]] == [["x"], ["y"]]
    assert ids(client, sort="position") == [5, 1, 2, 3, 4]
    assert results[-1]["task"] == read(client, 3)


def test_new_tasks_come_last_in_the_order_of_their_operations(client: TestClient) -> None:
    TaskFactory.create_batch(2)
    run(client, *(create(parent_id=1) for _ in range(5)), *(create() for _ in range(95)))
    assert ids(client, "/tasks/1/subtasks") == [3, 4, 5, 6, 7]
    assert ids(client, sort="position", is_subtask=False, limit=200) == [1, 2, *range(8, 103)]


def test_operations_see_what_earlier_ones_did(client: TestClient) -> None:
    TaskFactory.create()
    results = run(
        client,
        update(1, '"1"', title="a"),
        update(1, '"2"', tags=["x"]),
        delete(1, '"3"'),
        restore(1, '"4"'),
        update(1, '"5"', title="b"),
        restore(1, '"6"'),
        update(1, '"9", "6"', title="c"),
        update(1, "*", title="d"),
    )
    assert results[-1]["task"]["version"] == 8


def test_a_tag_is_created_once_and_spelled_as_at_first(client: TestClient) -> None:
    make(client, tags=["Old"])
    results = run(
        client,
        create(tags=["New", "old"]),
        create(tags=["NEW"]),
        update(1, tags=["new", "OLD"]),
        create(tags=[]),
    )
    names = [result["task"]["tags"] for result in results]
    assert names == [["New", "Old"], ["New"], ["New", "Old"], []]
    assert [tag["name"] for tag in walk(client, "/tags")] == ["New", "Old"]


FAILURES: dict[str, tuple[list[Json], int, str, str, list[tuple[str, str]]]] = {
    "no such task": ([update(99, title="x")], 404, "not-found", "", []),
    "nothing to delete": ([delete(99)], 404, "not-found", "", []),
    "nothing to restore": ([restore(99)], 404, "not-found", "", []),
    "a change of what is in the trash": ([update(4, title="x")], 410, "gone", "", []),
    "a deletion of what is in the trash": ([delete(4)], 410, "gone", "", []),
    "a child of what an operation deletes": (
        [delete(1), update(2, title="x")],
        410,
        "gone",
        "",
        [],
    ),
    "a change of what an operation deletes": (
        [delete(2), restore(4), update(2, title="x")],
        410,
        "gone",
        "",
        [],
    ),
    "the same deletion twice": (
        [delete(2), delete(2)],
        410,
        "gone",
        "",
        [],
    ),
    "restored under what is in the trash": (
        [delete(2), delete(1), restore(2)],
        409,
        "parent-in-trash",
        "",
        [],
    ),
    "a cycle": ([update(1, parent_id=3)], 409, "task-cycle", "", []),
    "a cycle through a new task": (
        [create(ref="r", parent_id=3), update(1, parent_ref="r")],
        409,
        "task-cycle",
        "",
        [],
    ),
    "another version": ([update(1, '"7"', title="x")], 412, "precondition-failed", "", []),
    "a weak version": ([delete(1, 'W/"1"')], 412, "precondition-failed", "", []),
    "the version before the batch": (
        [update(1, title="x"), delete(1, '"1"')],
        412,
        "precondition-failed",
        "",
        [],
    ),
    "restored with another version": ([restore(4, '"7"')], 412, "precondition-failed", "", []),
    "no such parent": (
        [create(parent_id=99)],
        422,
        "validation-failed",
        "/data",
        [("/parent_id", "unknown_parent")],
    ),
    "a parent in the trash": (
        [update(3, parent_id=4)],
        422,
        "validation-failed",
        "/data",
        [("/parent_id", "unknown_parent")],
    ),
    "a parent that an operation deletes": (
        [create(parent_id=1), delete(1), create(parent_id=1)],
        422,
        "validation-failed",
        "/data",
        [("/parent_id", "unknown_parent")],
    ),
    "a parent whose parent an operation deletes": (
        [create(ref="r", parent_id=1), create(parent_ref="r"), delete(1), create(parent_ref="r")],
        422,
        "validation-failed",
        "/data",
        [("/parent_ref", "unknown_parent")],
    ),
    "too deep": (
        [
            create(ref="0"),
            *(create(ref=f"{level}", parent_ref=f"{level - 1}") for level in range(1, 8)),
            create(parent_ref="7"),
        ],
        422,
        "validation-failed",
        "/data",
        [("/parent_ref", "too_deep")],
    ),
    "a ref that no create has": (
        [create(ref="r"), create(parent_ref="R")],
        422,
        "validation-failed",
        "/data",
        [("/parent_ref", "unknown_ref")],
    ),
    "a ref before its create": (
        [update(1, parent_ref="r")],
        422,
        "validation-failed",
        "/data",
        [("/parent_ref", "unknown_ref")],
    ),
    "a move under a ref that no create has": (
        [{"op": "move", "id": 1, "data": {"to": "first", "parent_ref": "r"}}],
        422,
        "validation-failed",
        "/data",
        [("/parent_ref", "unknown_ref")],
    ),
    "a task as its own parent": (
        [create(ref="r", parent_ref="r")],
        422,
        "validation-failed",
        "/data",
        [("/parent_ref", "unknown_ref")],
    ),
    "a ref given twice": (
        [create(ref="r"), create(ref="r ")],
        422,
        "validation-failed",
        "",
        [("/ref", "ref_twice")],
    ),
    "two parents": (
        [create(ref="r"), create(parent_ref="r", parent_id=None)],
        422,
        "validation-failed",
        "/data",
        [("/parent_ref", "two_parents")],
    ),
    "done before it is": (
        [create(completed_at="2026-01-01T00:00:00Z")],
        422,
        "validation-failed",
        "/data",
        [("/completed_at", "not_done")],
    ),
    "two dues": (
        [update(1, due_on="2026-01-01"), update(1, due_at="2026-01-01T00:00:00Z")],
        422,
        "validation-failed",
        "/data",
        [("/due_at", "two_dues")],
    ),
    "a start after the due": (
        [create(start_at="2026-01-02T00:00:00Z", due_at="2026-01-01T00:00:00Z")],
        422,
        "validation-failed",
        "/data",
        [("/start_at", "start_after_due")],
    ),
}


def test_the_first_failure_is_named_and_nothing_remains(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    for parent_id in (None, 1, 2):
        TaskFactory.create(parent_id=parent_id)
    TaskFactory.create(trashed=True)
    before = everything(client)
    for name, (failing, status, slug, place, broken) in FAILURES.items():
        with subtests.test(name):
            operations = [create("kept?", tags=["new"]), *failing]
            index = len(operations) - 1
            response = send(client, [*operations, create(tags=["never"])])
            problem = response.json()
            assert (response.status_code, problem["type"]) == (status, f"/problems/{slug}"), problem
            assert problem["pointer"] == f"/operations/{index}"
            if broken:
                pointer = f"/operations/{index}{place}"
                assert faults(response) == [(pointer + end, code) for end, code in broken]
            else:
                assert "errors" not in problem
            assert "etag" not in response.headers or status == 412
            assert everything(client) == before


def test_a_missing_tag_can_be_refused(client: TestClient) -> None:
    make(client, tags=["there"])
    before = everything(client)
    operations = [create(tags=["there"]), create(tags=["THERE", "missing"])]
    response = send(client, operations, params={"missing_tags": "reject"})
    assert faults(response) == [("/operations/1/data/tags/1", "unknown_tag")]
    assert everything(client) == before
    assert send(client, operations[:1], params={"missing_tags": "reject"}).status_code == 200


MALFORMED: dict[str, tuple[Any, list[tuple[str, str]]]] = {
    "none": ([], [("", "too_short")]),
    "too many": ([create()] * 101, [("", "too_long")]),
    "no list": ({}, [("", "list_type")]),
    "no object": ([3], [("/0", "model_attributes_type")]),
    "no op": ([{"id": 1}], [("/0/op", "missing")]),
    "nothing": ([{}], [("/0/op", "missing")]),
    "move to no place": ([{"op": "move", "id": 1, "data": {}}], [("/0/data", "one_place")]),
    "unknown op": ([{"op": "purge", "id": 1}], [("/0/op", "union_tag_invalid")]),
    "create without data": ([{"op": "create"}], [("/0/data", "missing")]),
    "create with id": ([create() | {"id": 1}], [("/0/id", "extra_forbidden")]),
    "create with if_match": ([create() | {"if_match": "*"}], [("/0/if_match", "extra_forbidden")]),
    "create without title": ([{"op": "create", "data": {}}], [("/0/data/title", "missing")]),
    "update without id": ([{"op": "update", "data": {}}], [("/0/id", "missing")]),
    "update with ref": ([update(1) | {"ref": "r"}], [("/0/ref", "extra_forbidden")]),
    "update of what is read-only": (
        [create(), update(1, version=1)],
        [("/1/data/version", "extra_forbidden")],
    ),
    "an id that is none": ([delete(0)], [("/0/id", "greater_than_equal")]),
    "delete with data": ([delete(1) | {"data": {}}], [("/0/data", "extra_forbidden")]),
    "permanent delete": ([delete(1) | {"permanent": True}], [("/0/permanent", "extra_forbidden")]),
    "null for if_match": ([restore(1) | {"if_match": None}], [("/0/if_match", "string_type")]),
    "empty ref": ([create(ref=" ")], [("/0/ref", "string_too_short")]),
    "several": (
        [create(""), delete(1), create(priority="x")],
        [("/0/data/title", "string_too_short"), ("/2/data/priority", "enum")],
    ),
}


def test_a_malformed_batch_is_refused(client: TestClient, subtests: pytest.Subtests) -> None:
    TaskFactory.create()
    before = everything(client)
    for name, (operations, broken) in MALFORMED.items():
        with subtests.test(name):
            response = send(client, operations)
            assert faults(response) == [(f"/operations{pointer}", code) for pointer, code in broken]
            first = re.match(r"/\d+", broken[0][0])
            assert response.json().get("pointer") == (f"/operations{first[0]}" if first else None)
    assert everything(client) == before


def test_a_failure_of_the_last_leaves_no_row(client: TestClient, database: Database) -> None:
    operations = [create(f"{n}", ref=f"{n}", tags=[f"tag {n}", "all"]) for n in range(99)]
    response = send(client, [*operations, delete(4711)], headers={"Idempotency-Key": "key"})
    assert (response.status_code, response.json()["pointer"]) == (404, "/operations/99")
    assert rows(database) == {}
    repaired = [*operations, create("99", parent_ref="98")]
    response = send(client, repaired, headers={"Idempotency-Key": "key"})
    assert response.status_code == 200
    # Listeners may have written rows too.
    written = {"tasks": 100, "tags": 100, "task_tags": 198, "idempotency_keys": 1}
    assert written.items() <= rows(database).items()


def test_a_batch_is_replayed(client: TestClient, database: Database) -> None:
    operations = [create(ref="a", tags=["x"]), create(parent_ref="a")]
    first, second = (send(client, operations, headers={"Idempotency-Key": "key"}) for _ in range(2))
    assert first.status_code == 200
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert (second.status_code, second.content) == (200, first.content)
    assert rows(database)["tasks"] == 2
    other = send(client, operations[:1], headers={"Idempotency-Key": "key"})
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")


def test_a_dry_run_responds_the_same_and_commits_nothing(
    client: TestClient, database: Database
) -> None:
    make(client, tags=["old"])
    before = everything(client)
    operations = [
        create("a", ref="a", tags=["new", "old"], status="in_progress"),
        create("b", parent_ref="a"),
        update(1, '"1"', parent_ref="a", tags=["new"]),
        delete(1, '"2"'),
        restore(1),
    ]
    key = {"Idempotency-Key": "key"}
    dry = send(client, operations, headers=key, params={"dry_run": "true"})
    assert everything(client) == before
    assert "idempotency_keys" not in rows(database)
    real = send(client, operations, headers=key)
    assert (dry.status_code, real.status_code) == (200, 200)
    assert "idempotency-replayed" not in real.headers
    names = {result["id"]: number for number, result in enumerate(dry.json()["results"])}
    real_names = {result["id"]: number for number, result in enumerate(real.json()["results"])}
    assert [plain(result, names) for result in dry.json()["results"]] == [
        plain(result, real_names) for result in real.json()["results"]
    ]


@pytest.mark.parametrize("last", [update(1, '"2"', title="x"), create(parent_ref="nobody")])
def test_a_dry_run_fails_as_the_batch_would(client: TestClient, last: Json) -> None:
    TaskFactory.create()
    before = everything(client)
    problems = []
    for params in ({"dry_run": "true"}, {}):
        response = send(client, [create(tags=["x"]), last], params=params)
        problem = response.json()
        del problem["request_id"]
        problems.append((response.status_code, problem))
    assert problems[0] == problems[1]
    assert everything(client) == before


LARGE: dict[str, list[Json]] = {
    "alone": [create(f"{n}") for n in range(100)],
    "under one new task": [
        create("root", ref="root"),
        *(create(f"{n}", parent_ref="root") for n in range(99)),
    ],
    "under one task": [create(f"{n}", parent_id=1) for n in range(100)],
    "with one tag": [create(f"{n}", tags=["one"]) for n in range(100)],
    "with tags of their own": [create(f"{n}", tags=[f"a{n}", f"b{n}"]) for n in range(100)],
    "with more tags than one statement takes": [
        create(f"{n}", tags=[f"{n} {m}" for m in range(12)]) for n in range(100)
    ],
}
LARGEST = [create(f"{n}", tags=[f"{n} {m}" for m in range(50)]) for n in range(100)]
"""It has as many tags as can be."""


@pytest.mark.parametrize(
    "operations",
    [
        *(pytest.param(operations, id=name) for name, operations in LARGE.items()),
        pytest.param(LARGEST, id="with as many tags as can be", marks=pytest.mark.slow),
    ],
)
def test_a_hundred_new_tasks_take_few_statements(
    client: TestClient,
    database: Database,
    statements: list[tuple[str, Any]],
    operations: list[Json],
) -> None:
    make(client, tags=["one"])
    statements.clear()
    assert len(run(client, *operations)) == 100
    sent = [sql for sql, _ in statements]
    if database.engine.dialect.name == "sqlite":
        # SQLAlchemy inserts one row per statement: SQLite does not return ids in a known order.
        inserts = {sql for sql in sent if sql.startswith("INSERT")}
        sent = [*inserts, *(sql for sql in sent if sql not in inserts)]
    # Those of listeners included; the largest batch has 5,000 tags, too.
    assert len(sent) <= 25, sent


def plain(value: Any, names: dict[int, Any]) -> Any:
    """Return a result or a task with names for its ids, and without what time or chance decide."""
    if not isinstance(value, dict):
        return value
    return {
        name: names[member]
        if name in {"id", "parent_id"} and member is not None
        else member is None
        if name.endswith("_at") or name == "position"
        else plain(member, names)
        for name, member in value.items()
    }


SEEDS: list[Json] = [
    create("root", ref="root", tags=["a"]),
    create("child", ref="child", parent_ref="root", due_on="2026-05-01"),
    create("grandchild", parent_ref="child", status="in_progress"),
    create("other", tags=["a", "b"], status="done"),
    create("trash", ref="trash"),
    create("trash below", parent_ref="trash"),
]
FIELDS = {
    "description": st.sampled_from(["", "text"]),
    "status": st.sampled_from(["todo", "in_progress", "done", "cancelled"]),
    "priority": st.sampled_from(["none", "urgent"]),
    "due_on": st.sampled_from([None, "2026-05-01"]),
    "due_at": st.sampled_from([None, "2026-06-01T12:00:00Z"]),
    "start_at": st.sampled_from([None, "2026-05-20T00:00:00Z"]),
    "tags": st.lists(st.sampled_from(["a", "A", "b", "C", "c"]), max_size=3),
}


@st.composite
def plans(draw: st.DrawFn) -> list[Json]:
    """Draw operations that name each task by its title, instead of by an id or a ref."""
    plan: list[Json] = []
    titles = st.sampled_from([seed["data"]["title"] for seed in SEEDS])
    # A few, so that the operations meet.
    known = draw(st.lists(titles, min_size=1, max_size=2, unique=True))
    old = st.sampled_from(tuple(known))
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["update", "update", "create", "delete", "restore"]))
        operation: Json = {"op": kind}
        if kind != "create":
            operation["task"] = draw(old)
            if demand := draw(st.sampled_from([None, None, None, '"1", "2"', '"3", "4"'])):
                operation["if_match"] = demand
        if kind in {"create", "update"}:
            fields = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=3, unique=True))
            operation["data"] = {name: draw(FIELDS[name]) for name in fields}
            if draw(st.booleans()):
                parents = [None, *known] if kind == "update" else known
                operation["data"]["parent"] = draw(st.sampled_from(parents))
        if kind == "create":
            title = f"new {number}"
            operation["data"]["title"] = title
            known.append(title)
        plan.append(operation)
    return plan


def sow(client: TestClient, database: Database) -> dict[str, int]:
    """Empty the tables, create the same few tasks, and return their ids by title."""
    empty(database)
    results = run(client, *SEEDS)
    run(client, delete(results[4]["id"]))
    return {result["task"]["title"]: result["id"] for result in results}


def harvest(client: TestClient) -> tuple[list[Json], dict[str | None, list[str]], list[str]]:
    """Return all that is stored: the tasks, the children of each in order, and the tags."""
    tasks = walk(client, deleted="include", sort="position,title")
    titles = {task["id"]: task["title"] for task in tasks}
    children: dict[str | None, list[str]] = {}
    for task in tasks:
        children.setdefault(titles.get(task["parent_id"]), []).append(task["title"])
    tasks.sort(key=lambda task: task["title"])
    tags = [tag["name"] for tag in walk(client, "/tags")]
    return [plain(task, titles) for task in tasks], children, tags


type Outcome = tuple[int, Any]
"""A status, with the task or with what is wrong."""


def one_by_one(
    client: TestClient, plan: list[Json], ids: dict[str, int]
) -> list[tuple[Json, Outcome]]:
    """Follow a plan with a request for each operation; those that fail change nothing."""
    outcomes: list[tuple[Json, Outcome]] = []
    for operation in plan:
        data = dict(operation.get("data", {}))
        if "parent" in data:
            parent = data.pop("parent")
            if parent is not None and parent not in ids:
                continue  # Its creation has failed.
            data["parent_id"] = None if parent is None else ids[parent]
        path = f"/tasks/{ids[operation['task']]}" if "task" in operation else "/tasks"
        headers = {"If-Match": operation["if_match"]} if "if_match" in operation else {}
        match operation["op"]:
            case "delete":
                response = client.delete(path, headers=headers)
            case "restore":
                response = client.post(f"{path}/restore", headers=headers)
            case "update":
                response = client.patch(path, json=data, headers=headers)
            case _:
                response = client.post(path, json=data)
        if response.is_success:
            task = response.json() if response.content else None
            if task is not None:
                ids[task["title"]] = task["id"]
            titles = {task_id: title for title, task_id in ids.items()}
            outcomes.append((operation, (response.status_code, plain(task, titles))))
        else:
            outcomes.append((operation, (response.status_code, wrong(response.json()))))
    return outcomes


def together(client: TestClient, plan: list[Json], ids: dict[str, int]) -> list[Outcome]:
    """Follow a plan with one batch; where it fails, return that alone."""
    operations = []
    for operation in plan:
        written = dict(operation)
        if "task" in written:
            written["id"] = ids[written.pop("task")]
        if "data" in written:
            written["data"] = data = dict(written["data"])
            if "parent" in data:
                parent = data.pop("parent")
                if parent is None or parent in ids:
                    data["parent_id"] = ids.get(parent)
                else:
                    data["parent_ref"] = parent
            if operation["op"] == "create":
                written["ref"] = data["title"]
        operations.append(written)
    response = send(client, operations)
    answer = response.json()
    if not response.is_success:
        assert answer["pointer"] == f"/operations/{len(plan) - 1}", answer
        return [(response.status_code, wrong(answer, f"{answer['pointer']}/data"))]
    tasks = [result.get("task") for result in answer["results"]]
    titles = {task_id: title for title, task_id in ids.items()}
    titles |= {task["id"]: task["title"] for task in tasks if task}
    return [
        (result["status"], plain(task, titles))
        for result, task in zip(answer["results"], tasks, strict=True)
    ]


def wrong(problem: Json, prefix: str = "") -> Any:
    """Return the parts of a problem that do not depend on ids."""
    return problem["type"], [
        (fault["pointer"].removeprefix(prefix).replace("parent_ref", "parent_id"), fault["code"])
        for fault in problem.get("errors", ())
    ]


def compare(client: TestClient, database: Database, plan: list[Json]) -> None:
    """Follow a plan one by one; a batch has to be what succeeded, and to fail as the last did."""
    outcomes = one_by_one(client, plan, sow(client, database))
    state = harvest(client)
    done = [(operation, outcome) for operation, outcome in outcomes if outcome[0] < 400]
    if done:
        seeds = sow(client, database)
        assert together(client, [operation for operation, _ in done], seeds) == [
            outcome for _, outcome in done
        ]
        assert harvest(client) == state
    failures = [index for index, (_, outcome) in enumerate(outcomes) if outcome[0] >= 400]
    if failures:
        last = failures[-1]
        ahead = [operation for operation, outcome in outcomes[:last] if outcome[0] < 400]
        failing, failure = outcomes[last]
        seeds = sow(client, database)
        state = harvest(client)
        ((status, what),) = together(client, [*ahead, failing], seeds)
        assert harvest(client) == state
        assert (status, what) == failure


PLANS = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    # The database is emptied at the beginning of each example.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@PLANS
@given(plan=plans())
def test_a_batch_is_and_fails_as_its_operations_do_one_by_one(
    client: TestClient, database: Database, plan: list[Json]
) -> None:
    compare(client, database, plan)


@pytest.mark.slow
@settings(PLANS, max_examples=25)
@given(plan=plans())
def test_many_batches_are_and_fail_as_their_operations_do_one_by_one(
    client: TestClient, database: Database, plan: list[Json]
) -> None:
    compare(client, database, plan)


def test_many_tasks_move_in_one_request(client: TestClient) -> None:
    for _ in range(4):
        make(client)
    moves: list[Json] = [
        {"op": "move", "id": 4, "data": {"to": "first"}},
        {"op": "move", "id": 1, "data": {"after_id": 3}, "if_match": '"1"'},
        {"op": "move", "id": 2, "data": {"to": "first", "parent_id": 3}},
    ]
    response = client.post("/tasks/batch", json={"operations": moves})
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [(it["status"], it["id"], it["task"]["version"]) for it in results] == [
        (200, 4, 2),
        (200, 1, 2),
        (200, 2, 2),
    ]
    assert ids(client, sort="position", is_subtask=False) == [4, 3, 1]
    assert ids(client, "/tasks/3/subtasks") == [2]


def test_a_move_in_a_batch_fails_as_it_would_alone(client: TestClient) -> None:
    for _ in range(2):
        make(client)
    moves: list[Json] = [
        {"op": "move", "id": 2, "data": {"to": "first"}},
        {"op": "move", "id": 1, "data": {"before_id": 4711}},
    ]
    response = client.post("/tasks/batch", json={"operations": moves})
    assert response.status_code == 422
    problem = response.json()
    assert problem["pointer"] == "/operations/1"
    assert problem["errors"][0]["pointer"] == "/operations/1/data/before_id"
    assert ids(client, sort="position") == [1, 2]
