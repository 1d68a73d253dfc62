"""Recurrences beside features that they do not know."""

import json
from copy import deepcopy

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.testing import empty

LISTS = ("/recurrences?sort=id", "/tasks?sort=id&include=recurrence&deleted=include")


def recurring(client: TestClient, rule: str = "FREQ=MONTHLY;COUNT=4") -> int:
    """Create a task that comes again, and return its id."""
    task_id: int = client.post("/tasks", json={"title": "x", "due_on": "2040-01-31"}).json()["id"]
    body = {"task_id": task_id, "rule": rule, "time_zone": "Europe/Berlin"}
    assert client.post("/recurrences", json=body).status_code == 201
    return task_id


def finish(client: TestClient, task_id: int, status: str = "done") -> None:
    """Change the status of a task."""
    assert client.patch(f"/tasks/{task_id}", json={"status": status}).status_code == 200


def due(client: TestClient, task_id: int) -> str:
    """Return when a task is due."""
    day: str = client.get(f"/tasks/{task_id}").json()["due_on"]
    return day


def import_file(client: TestClient, content: bytes | str) -> Response:
    """Import a file of whatever media type."""
    headers = {"Content-Type": "application/octet-stream"}
    return client.post("/transfer/import", content=content, headers=headers)


def test_a_next_task_that_became_what_it_was_is_taken_back_too(client: TestClient) -> None:
    first = recurring(client)
    client.patch(f"/tasks/{first}", json={"start_at": "2040-01-29T08:00:00Z", "tags": ["home"]})
    finish(client, first)
    (recurrence,) = client.get("/recurrences").json()["items"]
    assert client.patch("/tags/1", json={"name": "house"}).status_code == 200
    for status in ("cancelled", "todo"):
        finish(client, recurrence["task_id"], status)
    finish(client, first, "todo")
    assert client.get(f"/tasks/{recurrence['task_id']}").status_code == 410
    assert client.get("/recurrences").json()["items"][0]["task_id"] == first


def test_an_import_brings_recurrences_to_where_they_were(
    client: TestClient, database: Database
) -> None:
    first, second, third = (recurring(client) for _ in range(3))
    finish(client, first)
    finish(client, second, "cancelled")
    client.delete(f"/tasks/{third}")
    before = [client.get(path).json() for path in LISTS]
    file = client.get("/transfer/export").content
    empty(database)
    imported = import_file(client, file).json()
    assert imported == {"created": {"tasks": 4, "recurrences": 3}, "skipped": []}
    assert [client.get(path).json() for path in LISTS] == before
    # Beside what is there, everything has other ids.
    assert import_file(client, file).status_code == 200
    (_, other) = client.get("/recurrences").json()["items"]
    finish(client, other["task_id"])
    (_, moved) = client.get("/recurrences").json()["items"]
    assert (moved["number"], moved["previous_task_id"]) == (3, other["task_id"])
    assert due(client, moved["task_id"]) == "2040-03-31"
    finish(client, other["task_id"], "todo")
    finish(client, other["previous_task_id"], "todo")
    assert client.get(f"/tasks/{moved['task_id']}").status_code == 410


def test_an_import_into_an_empty_service_keeps_the_id_of_a_task_before_that_is_deleted(
    client: TestClient, database: Database
) -> None:
    first = recurring(client)
    finish(client, first)
    client.delete(f"/tasks/{first}?permanent=true")
    before = [client.get(path).json() for path in LISTS]
    assert before[0]["items"][0]["previous_task_id"] == first
    file = client.get("/transfer/export").content
    empty(database)
    imported = import_file(client, file).json()
    assert imported == {"created": {"tasks": 1, "recurrences": 1}, "skipped": []}
    assert [client.get(path).json() for path in LISTS] == before
    # Beside what is there, the id is that of another task.
    other = import_file(client, file).json()
    assert [entry["code"] for entry in other["skipped"]] == ["unknown_task"]
    # Without a word of the ids that were assigned, another task would get it.
    empty(database)
    untold = {name: rows for name, rows in json.loads(file).items() if name != "last_ids"}
    untold["recurrences"][0]["previous_task_id"] = 99
    content = json.dumps(untold)
    other = import_file(client, content).json()
    assert [entry["code"] for entry in other["skipped"]] == ["unknown_task"]


IMPOSSIBLE: list[tuple[str, object]] = [
    ("anchor", "31 January"),
    ("anchor", "2040-02-30"),
    ("anchor", "2040-01-31T09:00:00Z"),
    ("anchor", "2040-01-31T09:00:00-05:00"),
    ("anchor", "20400131"),
    ("anchor", ""),
    ("number", 0),
    ("time_zone", "Mars/Olympus"),
    ("rule", "FREQ=HOURLY"),
]


def test_an_import_takes_nothing_that_no_recurrence_can_have(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    recurring(client)
    exported = client.get("/transfer/export").json()
    for member, value in IMPOSSIBLE:
        with subtests.test(f"{member} {value}"):
            file = deepcopy(exported)
            file["recurrences"][0][member] = value
            refused = import_file(client, json.dumps(file))
            assert refused.status_code == 422
            assert refused.json()["errors"][0]["pointer"] == f"/recurrences/0/{member}"


def test_an_import_of_the_highest_number_goes_on(client: TestClient, database: Database) -> None:
    task_id = recurring(client, "FREQ=MONTHLY")
    file = client.get("/transfer/export").json()
    file["recurrences"][0]["number"] = 2**31 - 1
    empty(database)
    assert import_file(client, json.dumps(file)).status_code == 200
    finish(client, task_id)
    assert client.get("/recurrences").json()["items"][0]["number"] == 2**31 - 1
    assert import_file(client, client.get("/transfer/export").content).status_code == 200


def test_a_task_that_a_file_says_to_be_the_one_before_itself_stays_when_it_is_opened(
    client: TestClient, database: Database
) -> None:
    task_id = recurring(client)
    finish(client, task_id)
    file = client.get("/transfer/export").json()
    file["recurrences"][0] |= {"task_id": task_id, "previous_task_id": task_id}
    empty(database)
    assert import_file(client, json.dumps(file)).status_code == 200
    finish(client, task_id, "todo")
    assert due(client, task_id) == "2040-01-31"
    assert client.get("/recurrences").json()["items"][0]["task_id"] == task_id


def change_of(client: TestClient, task_id: int, request_id: str) -> int:
    """Return the id of the change that a request has made of a task."""
    query = f"request_id={request_id}&resource=tasks&resource_id={task_id}"
    (change,) = client.get(f"/changes?{query}").json()["items"]
    number: int = change["id"]
    return number


def test_undoing_the_request_that_completed_a_task_takes_the_next_one_back(
    client: TestClient,
) -> None:
    """And once more, for the completion before."""
    task_ids, shown = [recurring(client)], client.get("/recurrences").json()["items"]
    for request_id in ("first", "second"):
        body, headers = {"status": "done"}, {"X-Request-ID": request_id}
        client.patch(f"/tasks/{task_ids[-1]}", json=body, headers=headers)
        task_ids.append(client.get("/recurrences").json()["items"][0]["task_id"])
    for request_id, task_id in (("second", task_ids[1]), ("first", task_ids[0])):
        undone = client.post("/changes/revert", json={"request_id": request_id})
        assert undone.status_code == 200
        (recurrence,) = client.get("/recurrences").json()["items"]
        (task,) = client.get("/tasks?is_open=true").json()["items"]
        assert task["id"] == recurrence["task_id"] == task_id
    unversioned = {"version": 1, "updated_at": shown[0]["updated_at"]}
    assert [it | unversioned for it in client.get("/recurrences").json()["items"]] == shown
    finish(client, task_ids[0])
    (task,) = client.get("/tasks?is_open=true").json()["items"]
    assert task["due_on"] == "2040-02-29"


def test_undoing_the_change_of_the_task_does_so_too(client: TestClient) -> None:
    task_id = recurring(client)
    body, headers = {"status": "done"}, {"X-Request-ID": "done"}
    client.patch(f"/tasks/{task_id}", json=body, headers=headers)
    change_id = change_of(client, task_id, "done")
    assert client.post(f"/changes/{change_id}/revert").status_code == 200
    (task,) = client.get("/tasks?is_open=true").json()["items"]
    (recurrence,) = client.get("/recurrences").json()["items"]
    assert task["id"] == recurrence["task_id"] == task_id
    assert recurrence["number"] == 1
    # Undone itself, the task is done again, and comes again.
    again = client.get("/changes", params={"resource": "tasks", "resource_id": task_id})
    change_id = again.json()["items"][-1]["id"]
    assert client.post(f"/changes/{change_id}/revert").status_code == 200
    (task,) = client.get("/tasks?is_open=true").json()["items"]
    assert task["due_on"] == "2040-02-29"


@pytest.mark.parametrize(
    ("at_once", "since"), [({"title": "paid"}, {}), ({}, {"title": "paid", "due_on": "2039-01-31"})]
)
@pytest.mark.parametrize("whole", [False, True])
def test_undoing_a_completion_takes_the_next_one_back_whatever_the_task_is_called(
    client: TestClient, at_once: dict[str, str], since: dict[str, str], *, whole: bool
) -> None:
    """The change of the task and the whole request alike."""
    task_id = recurring(client)
    finish(client, task_id)
    task_id = client.get("/recurrences").json()["items"][0]["task_id"]
    body, headers = {"status": "done", **at_once}, {"X-Request-ID": "done"}
    client.patch(f"/tasks/{task_id}", json=body, headers=headers)
    client.patch(f"/tasks/{task_id}", json=since)
    path = "/changes/revert" if whole else f"/changes/{change_of(client, task_id, 'done')}/revert"
    undone = client.post(path, json={"request_id": "done"} if whole else None)
    assert undone.status_code == 200
    (task,) = client.get("/tasks?is_open=true").json()["items"]
    (recurrence,) = client.get("/recurrences").json()["items"]
    assert (task["id"], recurrence["task_id"], recurrence["number"]) == (task_id, task_id, 2)


@pytest.mark.parametrize("whole", [False, True])
def test_undoing_a_completion_leaves_a_next_one_whose_due_was_moved(
    client: TestClient, *, whole: bool
) -> None:
    task_id = recurring(client)
    headers = {"X-Request-ID": "done"}
    client.patch(f"/tasks/{task_id}", json={"status": "done"}, headers=headers)
    following = client.get("/recurrences").json()["items"][0]["task_id"]
    client.patch(f"/tasks/{following}", json={"due_on": "2041-02-28"})
    path = "/changes/revert" if whole else f"/changes/{change_of(client, task_id, 'done')}/revert"
    undone = client.post(path, json={"request_id": "done"} if whole else None)
    assert undone.status_code == (409 if whole else 200)
    (recurrence,) = client.get("/recurrences").json()["items"]
    assert (recurrence["task_id"], recurrence["number"]) == (following, 2)


def test_undoing_the_end_of_a_recurrence_lets_it_go_on(client: TestClient) -> None:
    task_id = recurring(client)
    headers = {"X-Request-ID": "end"}
    client.patch(f"/tasks/{task_id}", json={"status": "cancelled"}, headers=headers)
    assert client.get("/recurrences").json()["items"] == []
    assert client.post("/changes/revert", json={"request_id": "end"}).status_code == 200
    assert client.get("/recurrences").json()["items"][0]["task_id"] == task_id


def test_undoing_what_was_made_of_a_recurrence(client: TestClient) -> None:
    recurring(client)
    before = client.get("/recurrences/1").json()
    body = {"rule": "FREQ=WEEKLY", "mode": "after_completion", "time_zone": "UTC"}
    client.patch("/recurrences/1", json=body, headers={"X-Request-ID": "change"})
    assert client.post("/changes/revert", json={"request_id": "change"}).status_code == 200
    after = client.get("/recurrences/1").json()
    assert after == before | {"version": 3, "updated_at": after["updated_at"]}
    (created, *_) = client.get("/changes?resource=recurrences").json()["items"]
    assert client.post(f"/changes/{created['id']}/revert").status_code == 200
    assert client.get("/recurrences/1").status_code == 404
