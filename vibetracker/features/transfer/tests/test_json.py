"""Exports and imports of everything, as JSON."""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from httpx2 import Response
from sqlalchemy import insert, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.features.tags.tests.factory import TagFactory
from vibetracker.features.tasks.model import task_tags
from vibetracker.features.tasks.tests.factory import TaskFactory
from vibetracker.features.transfer.collection import collections
from vibetracker.features.transfer.export import Export, read_snapshot
from vibetracker.features.transfer.imports import PORTION
from vibetracker.features.transfer.json_format import write
from vibetracker.features.transfer.records import MOST_TOLD
from vibetracker.testing import empty

from .databases import exported, faults, imported, lists, send


def fill(client: TestClient) -> None:
    """Create some of everything: a tree that was moved, trash, tags, projects, an order."""
    client.post("/tags", json={"name": "Home", "color": "#00AA55", "description": "Around"})
    for number in range(6):
        task = {"title": f"task {number}", "tags": ["home", "Ünïcode"]}
        client.post("/tasks", json=task)
    client.post("/tasks", json={"title": "Paint", "due_on": "2026-03-01", "tags": ["shed"]})
    client.post("/tasks", json={"title": "done", "status": "done", "parent_id": 7})
    # A parent with a larger id than its child, and one in the trash with some of its children.
    client.patch("/tasks/2", json={"parent_id": 6, "status": "in_progress"})
    client.patch("/tasks/3", json={"parent_id": 2, "status": "cancelled"})
    client.post("/tasks/5/move", json={"to": "first"})
    client.patch("/tasks/4", json={"parent_id": 1})
    client.delete("/tasks/4")
    client.delete("/tasks/1")
    client.post("/tasks", json={"title": "purged"})
    client.delete("/tasks/9?permanent=true")


def test_an_export_imported_into_an_empty_service_is_the_same(
    client: TestClient, database: Database
) -> None:
    fill(client)
    before, file = lists(client), exported(client)
    empty(database)
    result = imported(client, file)
    assert result == {"created": {"tags": 3, "tasks": 8}, "skipped": []}
    assert lists(client) == before
    assert exported(client) == file
    # The trash is the same: what was deleted together is restored together.
    assert client.post("/tasks/1/restore").status_code == 200
    assert client.get("/tasks/4").status_code == 410


def test_no_id_is_reused_after_an_import(client: TestClient, database: Database) -> None:
    fill(client)
    file = exported(client)
    empty(database)
    imported(client, file)
    assert client.post("/tasks", json={"title": "next"}).json()["id"] == 10
    assert client.post("/tags", json={"name": "next"}).json()["id"] == 4


def test_an_import_beside_what_is_there_gets_new_ids_and_comes_behind(client: TestClient) -> None:
    fill(client)
    before = client.get("/tasks?deleted=include&sort=position&is_subtask=false").json()["items"]
    result = imported(client, exported(client))
    assert result["created"] == {"tags": 0, "tasks": 8}
    assert {entry["code"] for entry in result["skipped"]} == {"exists"}
    after = client.get("/tasks?deleted=include&sort=position&is_subtask=false").json()["items"]
    assert after[: len(before)] == before
    new = after[len(before) :]
    assert [task["title"] for task in new] == [task["title"] for task in before]
    assert min(task["id"] for task in new) > 9
    (painted,) = (task for task in new if task["title"] == "Paint")
    (child,) = client.get(f"/tasks/{painted['id']}/subtasks").json()["items"]
    assert child["title"] == "done"
    assert client.get("/tags?include_total=true").json()["total"] == 3


def test_filters_narrow_an_export_to_tasks_and_what_they_refer_to(client: TestClient) -> None:
    fill(client)
    file = client.get("/transfer/export?tag=shed").json()
    assert [task["title"] for task in file["tasks"]] == ["Paint"]
    assert [tag["name"] for tag in file["tags"]] == ["shed"]
    file = json.loads(exported(client, "?parent_id=7"))
    result = imported(client, file)
    assert result["created"]["tasks"] == 1
    assert ("/tasks/0/parent_id", "unknown_task") in [
        (entry["pointer"], entry["code"]) for entry in result["skipped"]
    ]


@pytest.mark.parametrize("format", ["json", "csv"])
def test_a_tree_of_the_trash_is_imported_again_where_a_filter_has_left_a_gap(
    client: TestClient,
    format: str,  # noqa: A002 - the parameter's name
) -> None:
    for parent_id, status in ((None, "todo"), (1, "done"), (2, "todo"), (3, "todo")):
        task = {"title": "a", "parent_id": parent_id, "status": status}
        assert client.post("/tasks", json=task).status_code == 201
    client.delete("/tasks/1")
    file = exported(client, f"?format={format}&is_open=true")
    result = imported(client, file, f"?format={format}")
    assert [it["code"] for it in result["skipped"]] == ["unknown_task"]
    assert client.get("/tasks").json()["items"] == []
    assert client.post("/tasks/6/restore").status_code == 200
    assert [it["id"] for it in client.get("/tasks?sort=id").json()["items"]] == [6, 7]


def test_a_dry_run_and_a_repeated_import(client: TestClient) -> None:
    file = {"tasks": [{"id": 7, "title": "a"}, {"title": "b", "parent_id": 7}]}
    assert imported(client, file, "?dry_run=true")["created"] == {"tasks": 2}
    assert client.get("/tasks").json()["items"] == []
    # The dry run has used no ids either.
    assert client.post("/tasks", json={"title": "first"}).json()["id"] == 1
    client.delete("/tasks/1?permanent=true")
    headers = {"Content-Type": "application/json", "Idempotency-Key": "import"}
    content = json.dumps(file)
    first = client.post("/transfer/import", content=content, headers=headers)
    second = client.post("/transfer/import", content=content, headers=headers)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.content == first.content
    tasks = client.get("/tasks?sort=id").json()["items"]
    assert [(task["title"], task["parent_id"]) for task in tasks] == [("a", None), ("b", 7)]


def test_what_has_no_counterpart_is_reported(client: TestClient) -> None:
    file = {
        "zoo": [{"id": 1}, {"id": 2}],
        "motto": "x",
        "tasks": [{"title": "a", "my/colour": "red"}, {"title": "b", "my/colour": "red"}],
    }
    result = imported(client, file)
    assert result["created"] == {"tasks": 2}
    assert [(entry["pointer"], entry["code"]) for entry in result["skipped"]] == [
        ("/zoo/0", "unknown_collection"),
        ("/motto", "unknown_collection"),
        ("/tasks/0/my~1colour", "unknown_member"),
    ]
    assert "(2 times)" in result["skipped"][0]["detail"]


def test_what_is_left_out_again_and_again_is_counted(client: TestClient) -> None:
    members = {f"x{number}": 1 for number in range(MOST_TOLD + 500)}
    skipped = imported(client, {"tasks": [{"title": "a", **members}]})["skipped"]
    assert len(skipped) == MOST_TOLD + 1
    assert skipped[-1]["detail"].endswith("(500 times)")


BROKEN_RECORDS: list[tuple[str, tuple[int, str, str]]] = [
    ('{"title": "a"},\n{"title": ""}', (2, "/tasks/1/title", "string_too_short")),
    ('{"title": "a"},\n\n 5', (3, "/tasks/1", "not_an_object")),
    ('{"title": "a", "status": "later"}', (1, "/tasks/0/status", "enum")),
    ('{"title": "a", "id": 1},\n{"title": "b", "id": 1}', (2, "/tasks/1/id", "repeated")),
    ('{"title": "a", "id": [1]}', (1, "/tasks/0/id", "reference")),
    ('{"title": "a", "id": true}', (1, "/tasks/0/id", "reference")),
    ('{"title": "a", "id": 1, "parent_id": true}', (1, "/tasks/0/parent_id", "reference")),
    ('\n{"title": "a", "\\ud800": 1}', (2, "", "text_surrogate")),
    ('{"title": "a", "id": 9007199254740991}', (1, "/tasks/0/id", "id")),
    ('{"title": "a", "parent_id": 2.5}', (1, "/tasks/0/parent_id", "reference")),
    (
        '{"title": "a", "due_on": "2026-01-01", "due_at": "2026-01-01T00:00:00Z"}',
        (1, "/tasks/0/due_at", "two_dues"),
    ),
    ('{"title": "a", "version": 9007199254740992}', (1, "/tasks/0/version", "less_than_equal")),
    ('{"title": "a", "completed_at": "2026-01-01T00:00:00Z"}', (1, "/tasks/0", "does_not_fit")),
    ('{"title": "a", "position": "zz"}', (1, "/tasks/0/position", "string_pattern_mismatch")),
    ('{"title": "a", "title": "b"}', (1, "", "repeated")),
    (
        '{"title": "a", "id": 1, "parent_id": 1}',
        (1, "/tasks/0/parent_id", "not_its_own_parent"),
    ),
    (
        '{"title": "a", "id": 1, "parent_id": 2},\n{"title": "b", "id": 2, "parent_id": 1}',
        (1, "/tasks/0", "circle"),
    ),
    (
        (
            '{"title": "a", "id": 1, "deleted_at": "2026-01-01T00:00:00Z"},\n'
            '{"title": "b", "parent_id": 1}'
        ),
        (2, "/tasks/1/parent_id", "parent_in_trash"),
    ),
    (
        ",\n".join(
            json.dumps({"title": "a", "id": n, "deleted_at": "2026-01-01T00:00:00Z", **more})
            for n, more in enumerate([{}, {}, {"parent_id": 1, "deleted_with": 2}], 1)
        ),
        (3, "/tasks/2/deleted_with", "deleted_with"),
    ),
    (
        ",\n".join(
            json.dumps({"title": "a", "id": n, "parent_id": n - 1 or None}) for n in range(1, 10)
        ),
        (9, "/tasks/8/parent_id", "too_deep"),
    ),
]


def test_a_broken_record_is_refused_with_its_line(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    for tasks, expected in BROKEN_RECORDS:
        with subtests.test(f"{tasks:.60}"):
            response = send(client, f'{{"tasks": [{tasks}]}}')
            assert faults(response)[0] == expected
            assert client.get("/tasks?deleted=include").json()["items"] == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (b'{"tasks": [{"title": "a"},\n{"title": ', 2),
        (b'{"tasks": [{"title": "a"}', 1),
        (b"", None),
        (b"\x00", 1),
        (b'{"tasks": [\n{"title": "\xff"}]}', 2),
        ('{"tasks": []}'.encode("utf-16"), 1),
        (b'{"tasks": [' + b"[" * 100_000, 1),
        (b'{"tasks": ' + b'{"a": ' * 100_000, 1),
        (b'{"tasks": [{"title": NaN}]}', 1),
        (b'{"tasks": [{"title": "' + b"x" * 3_000_000, 1),
        (b'{"tasks": [{"title" "' + b"x" * 3_000_000 + b'"}]}', 1),
        (b'{"tasks": [{"id": ' + b"9" * 5000 + b"}]}", 1),
        (b'{"tasks": []} trailing', 1),
        (b'{"tasks": [{"title": "a"} {"title": "b"}]}', 1),
    ],
)
def test_what_is_no_json_is_refused_with_its_line(
    client: TestClient, file: bytes, line: int | None
) -> None:
    response = send(client, file)
    assert response.status_code == (400 if line else 422), response.text
    assert response.json().get("line") == line


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("[]", (1, "", "not_an_object")),
        ("\nnull", (2, "", "not_an_object")),
        ('{"tasks": {}}', (1, "/tasks", "not_an_object")),
        ('{"tasks": null}', (1, "/tasks", "not_an_object")),
        ('{"\\ud800": 1}', (1, "", "text_surrogate")),
        ('{"vibetracker": true}', (1, "/vibetracker", "version")),
        ('{"last_ids": []}', (1, "/last_ids", "last_ids")),
        ('{"last_ids": {"tasks": true}}', (1, "/last_ids", "last_ids")),
        ('{"last_ids": {"tasks": 9007199254740991}}', (1, "/last_ids", "last_ids")),
        (
            '{"tasks": [\n{"title": "a", "description": "%s"}]}' % ("x" * 3_000_000),
            (2, "", "too_long"),
        ),
        ('{"foo": {"a": [%s0]}}\n' % ("17, " * 800_000), (1, "", "too_long")),
    ],
)
def test_json_that_is_no_export_is_refused_with_its_line(
    client: TestClient, file: str, expected: tuple[int, str, str]
) -> None:
    assert faults(send(client, file)) == [expected]


def test_whatever_version_a_task_comes_with_it_can_go_on_and_out_again(client: TestClient) -> None:
    imported(client, {"tasks": [{"title": "a", "version": 2**53 - 1}]})
    assert client.patch("/tasks/1", json={"title": "b"}).status_code == 200
    assert imported(client, exported(client))["created"] == {"tasks": 1}
    assert client.patch("/tasks/2", json={"title": "c"}).status_code == 200


def test_json_is_read_however_it_is_laid_out(client: TestClient) -> None:
    tasks = [{"title": "x" * 500, "description": "é" * 50_000} for _ in range(6)]
    result = imported(client, b"\xef\xbb\xbf" + json.dumps({"tasks": tasks}, indent=3).encode())
    assert result["created"] == {"tasks": 6}


@pytest.mark.parametrize("there", [0, 1])
def test_tags_of_json_may_be_behind_the_tasks(client: TestClient, there: int) -> None:
    for number in range(there):
        client.post("/tasks", json={"title": str(number)})
    tasks = [{"title": "a", "tags": ["A"]} for _ in range(PORTION + 1)]
    result = imported(client, {"tasks": tasks, "tags": [{"name": "a", "color": "#00aa55"}]})
    assert result == {"created": {"tags": 1, "tasks": len(tasks)}, "skipped": []}
    (tag,) = client.get("/tags").json()["items"]
    assert (tag["name"], tag["color"]) == ("a", "#00aa55")
    found = client.get("/tasks?tag=a&include_total=true").json()
    assert found["total"] == len(tasks)


def test_the_media_type_has_to_be_that_of_the_format(client: TestClient) -> None:
    assert send(client, "{}", "?format=json", "text/html").status_code == 415
    response = client.post("/transfer/import", content=b"{}")
    assert response.status_code == 415
    assert "application/octet-stream" in response.headers["Accept"]
    assert send(client, "{}", "?format=xml").status_code == 422
    assert send(client, "{}", "?format=json", "application/json; charset=utf-8").status_code == 200


def test_an_export_is_of_one_moment(busy_client: TestClient, busy_database: Database) -> None:
    fill(busy_client)
    before = exported(busy_client)
    with busy_database.session(write=False) as session:
        read_snapshot(session)
        written = write(Export(session, collections(busy_client.app.state.features)))  # type: ignore[attr-defined] # a FastAPI
        parts = [next(written)]
        busy_client.delete("/tasks/7?permanent=true")
        busy_client.post("/tasks", json={"title": "late", "tags": ["late"]})
        parts += written
    assert b"".join(parts) == before
    assert b"late" in exported(busy_client)


def test_an_export_of_some_tasks_reads_row_by_row_where_postgresql_takes_the_tables_for_empty(
    fill_with_stale_statistics: Callable[[Callable[[Session], object]], None],
    get_counting: Callable[[str], tuple[Response, list[int]]],
) -> None:
    def fill(session: Session) -> None:
        tags = TagFactory.build_batch(2_000)
        tasks = TaskFactory.build_batch(2_000)
        session.add_all([*tags, *tasks])
        session.flush()
        pairs = [
            {"owner_id": task.id, "tag_id": tag.id} for task, tag in zip(tasks, tags, strict=True)
        ]
        session.execute(insert(task_tags), pairs)

    fill_with_stale_statistics(fill)
    response, pages = get_counting("/transfer/export?priority=none")
    assert len(response.json()["tags"]) == 2_000
    assert max(pages) < 50_000


def test_an_import_reads_little_where_postgresql_has_seen_the_tables_empty(
    client: TestClient, database: Database, rows_read: list[int]
) -> None:
    with database.engine.connect() as connection:
        connection.execute(text("VACUUM ANALYZE"))
    tasks = [{"id": number, "title": "many", "tags": ["a"]} for number in range(1, 3_001)]
    made = imported(client, {"vibetracker": 1, "tasks": tasks})["created"]
    assert made == {"tasks": len(tasks)}
    assert 0 < sum(rows_read) < 300 * len(tasks)


@pytest.mark.parametrize("lacks", ["room", "folder"])
def test_a_file_that_the_temporary_folder_cannot_have_is_unavailable(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    if lacks == "room":
        full = partial(Path.open, Path("/dev/full"), "r+b")
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    headers = {"Content-Type": "application/json"}
    response = client.post("/transfer/import", content=b" " * 2**21, headers=headers)
    assert (response.status_code, response.headers.get("Retry-After")) == (503, "1")
    assert response.json()["detail"].startswith("The temporary folder did not answer")
