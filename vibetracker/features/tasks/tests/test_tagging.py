"""Tags of tasks, set by name, and what a change of a tag does to the tasks that have it."""

import pytest
from starlette.testclient import TestClient

from vibetracker.core.db.changes import Change
from vibetracker.features.tags.tests.factory import TagFactory
from vibetracker.features.tasks.model import Task

from .calls import change, everything, faults, make, read, walk
from .factory import TaskFactory


def tag_names(client: TestClient) -> list[str]:
    return [tag["name"] for tag in walk(client, "/tags", limit=200)]


def test_new_names_become_tags_and_known_ones_are_found_in_any_case(client: TestClient) -> None:
    TagFactory.create(name="Straße")
    assert make(client, tags=["STRASSE", " Home "])["tags"] == ["Home", "Straße"]
    assert make(client, tags=["hOME", "strasse"])["tags"] == ["Home", "Straße"]
    assert change(client, 1, tags=["HOME"])["tags"] == ["Home"]
    assert tag_names(client) == ["Home", "Straße"]


def test_tags_come_sorted_as_lists_of_tags_and_each_once(
    client: TestClient, announced: list[Change]
) -> None:
    sent = ["b", "zebra", "C", "a", "Ä", "A", "élan", "echo", "\U0001f600", "\uffee", "_", "B"]
    names = ["_", "a", "Ä", "b", "C", "echo", "élan", "zebra", "\uffee", "\U0001f600"]
    body = {"title": "x", "tags": sent}
    assert client.post("/tasks?dry_run=true", json=body).json()["tags"] == names
    task, other = make(client, tags=sent), make(client)["id"]
    assert task["tags"] == names == tag_names(client)
    assert change(client, other, tags=sent[::-1])["tags"] == names
    assert read(client, other)["tags"] == names
    batch = {"operations": [{"op": "create", "data": body}]}
    (result,) = client.post("/tasks/batch", json=batch).json()["results"]
    assert result["task"]["tags"] == names
    assert change(client, task["id"], tags=names)["version"] == 1
    (zebra,) = [tag["id"] for tag in walk(client, "/tags") if tag["name"] == "zebra"]
    client.patch(f"/tags/{zebra}", json={"name": "émeu"})
    names[names.index("zebra")] = "émeu"
    assert [task["tags"] for task in walk(client)] == [names] * 3
    last = {it.id: it.after for it in announced if it.resource is Task}
    assert [task and task["tags"] for task in last.values()] == [names] * 3


def test_the_first_spelling_names_a_new_tag(client: TestClient) -> None:
    assert make(client, tags=["Home", "HOME", "home"])["tags"] == ["Home"]


def test_fifty_tags_are_accepted_and_one_more_is_not(client: TestClient) -> None:
    names = [f"tag {n:02}" for n in range(51)]
    assert make(client, tags=names[:50])["tags"] == names[:50]
    before = everything(client)
    for response in (
        client.post("/tasks", json={"title": "x", "tags": names}),
        client.patch("/tasks/1", json={"tags": names}),
    ):
        assert faults(response) == [("/tags", "too_long")]
    assert everything(client) == before


NO_NAMES: list[tuple[object, str]] = [
    ("", "string_too_short"),
    ("  ", "string_too_short"),
    ("a,b", "text_character"),
    ("x" * 61, "string_too_long"),
    ("a\nb", "text_control_character"),
    ("a\u0000b", "text_control_character"),
    (7, "string_type"),
    (None, "string_type"),
]


def test_a_name_that_no_tag_can_have_breaks_a_rule(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    make(client)
    before = everything(client)
    for name, code in NO_NAMES:
        with subtests.test(repr(name)):
            for response in (
                client.post("/tasks", json={"title": "x", "tags": ["good", name]}),
                client.patch("/tasks/1", json={"tags": ["good", name]}),
            ):
                assert faults(response) == [("/tags/1", code)]
            assert everything(client) == before


def test_missing_tags_can_be_refused(client: TestClient) -> None:
    make(client, tags=["Home"])
    before = everything(client)
    body = {"title": "x", "tags": ["new", "HOME", "newer"]}
    for response in (
        client.post("/tasks?missing_tags=reject", json=body),
        client.patch("/tasks/1?missing_tags=reject", json=body),
    ):
        assert faults(response) == [("/tags/0", "unknown_tag"), ("/tags/2", "unknown_tag")]
    assert everything(client) == before
    body["tags"] = ["HOME"]
    assert client.post("/tasks?missing_tags=reject", json=body).json()["tags"] == ["Home"]
    assert client.patch("/tasks/1?missing_tags=reject", json=body).json()["tags"] == ["Home"]
    assert client.post("/tasks?missing_tags=create", json={"title": "x"}).status_code == 201


def test_a_task_that_is_refused_leaves_no_tags_behind(client: TestClient) -> None:
    response = client.post("/tasks", json={"title": "x", "tags": ["new"], "parent_id": 77})
    assert faults(response) == [("/parent_id", "unknown_parent")]
    assert tag_names(client) == []


def test_tags_stay_when_no_task_has_them_any_more(client: TestClient) -> None:
    task = make(client, tags=["home"])
    change(client, task["id"], tags=[])
    assert tag_names(client) == ["home"]
    client.delete(f"/tasks/{task['id']}?permanent=true")
    assert tag_names(client) == ["home"]


@pytest.mark.parametrize(
    ("method", "path", "body", "names"),
    [
        ("PATCH", "/tags/1", {"name": "z"}, ["b", "c", "z"]),
        ("PATCH", "/tags/1", {"name": "A"}, ["A", "b", "c"]),
        ("PATCH", "/tags/1", {"name": "z", "color": "#aabbcc"}, ["b", "c", "z"]),
        ("DELETE", "/tags/1", None, ["b", "c"]),
        ("POST", "/tags/4/merge", {"source_ids": [1]}, ["b", "c", "other"]),
        ("POST", "/tags/4/merge", {"source_ids": [1, 2, 3]}, ["other"]),
        ("POST", "/tags/2/merge", {"source_ids": [1]}, ["b", "c"]),
        ("POST", "/tags/2/merge", {"source_ids": [1, 3, 4]}, ["b"]),
    ],
)
def test_a_change_of_tags_is_one_version_of_each_task_that_has_it(
    client: TestClient,
    method: str,
    path: str,
    body: dict[str, object] | None,
    names: list[str],
) -> None:
    """Those in the trash too, and no other task."""
    tags = [TagFactory.create(name=name) for name in ("a", "b", "c", "other")]
    tagged = [TaskFactory.create(tags=tags[:3], trashed=trashed).id for trashed in (False, True)]
    stranger = TaskFactory.create().id
    before = {task["id"]: task for task in walk(client, deleted="include")}
    assert [before[task_id]["tags"] for task_id in tagged] == [["a", "b", "c"]] * 2
    answer = client.request(method, path, json=body) if body else client.delete(path)
    assert answer.is_success, answer.text
    now = {task["id"]: task for task in walk(client, deleted="include")}
    assert now.pop(stranger) == before[stranger]
    for task_id in tagged:
        old, new = before[task_id], now[task_id]
        assert new["tags"] == names
        assert new["version"] == old["version"] + 1
        assert new["updated_at"] > old["updated_at"]
        assert new["deleted_at"] == old["deleted_at"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/tags/1", {"color": "#aabbcc"}),
        ("PATCH", "/tags/1", {"name": "a", "description": "x"}),
        ("PATCH", "/tags/2", {"name": "z"}),
        ("POST", "/tags/1/merge", {"source_ids": [2]}),
        ("DELETE", "/tags/2", None),
    ],
)
def test_what_a_task_does_not_show_of_tags_is_no_version(
    client: TestClient, method: str, path: str, body: dict[str, object] | None
) -> None:
    tag, _ = TagFactory.create(name="a"), TagFactory.create(name="b")
    task = TaskFactory.create(tags=[tag])
    before = read(client, task.id)
    answer = client.request(method, path, json=body) if body else client.delete(path)
    assert answer.is_success, answer.text
    assert read(client, task.id) == before
