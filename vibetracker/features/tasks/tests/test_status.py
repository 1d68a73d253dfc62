"""The status of a task, and the timestamps that follow from it."""

from datetime import UTC, datetime
from itertools import product

import pytest
from starlette.testclient import TestClient

from .calls import Json, change, everything, faults, make, read

STATUSES = ("todo", "in_progress", "done", "cancelled")
MARKS = ("started_at", "completed_at", "cancelled_at")


def marks(task: Json) -> tuple[str | None, ...]:
    return tuple(task[mark] for mark in MARKS)


def is_recent(moment: str | None, since: datetime) -> bool:
    return moment is not None and since <= datetime.fromisoformat(moment) <= datetime.now(UTC)


@pytest.mark.parametrize("status", STATUSES)
def test_a_task_can_begin_with_any_status(client: TestClient, status: str) -> None:
    task = make(client, status=status)
    at = task["created_at"]
    assert task["status"] == status
    assert marks(task) == (
        at if status == "in_progress" else None,
        at if status == "done" else None,
        at if status == "cancelled" else None,
    )


@pytest.mark.parametrize(("old", "new"), [*product(STATUSES, STATUSES)])
def test_any_status_can_follow_any_other(client: TestClient, old: str, new: str) -> None:
    task = make(client)
    if old != "todo":
        task = change(client, task["id"], status=old)
    since = datetime.now(UTC)
    response = client.patch(f"/tasks/{task['id']}", json={"status": new})
    assert response.status_code == 200
    changed = response.json()
    assert changed["status"] == new
    if old == new:
        assert changed == task
        return
    assert changed["version"] == task["version"] + 1
    started, completed, cancelled = marks(changed)
    if new == "in_progress":
        assert is_recent(started, since)
    else:
        assert started == (None if new == "todo" else task["started_at"])
    assert is_recent(completed, since) if new == "done" else completed is None
    assert is_recent(cancelled, since) if new == "cancelled" else cancelled is None
    assert read(client, task["id"]) == changed


def test_the_start_is_the_first_one_until_the_task_is_to_do_again(client: TestClient) -> None:
    task_id = make(client)["id"]
    first = change(client, task_id, status="in_progress")["started_at"]
    assert change(client, task_id, status="done")["started_at"] == first
    assert change(client, task_id, status="in_progress")["started_at"] == first
    assert change(client, task_id, status="cancelled")["started_at"] == first
    assert change(client, task_id, status="todo")["started_at"] is None
    assert change(client, task_id, status="done")["started_at"] is None
    second = change(client, task_id, status="in_progress")["started_at"]
    assert second > first


def test_a_second_completion_has_its_own_time(client: TestClient) -> None:
    task = make(client, status="done", completed_at="2020-01-01T00:00:00Z")
    assert change(client, task["id"], status="todo")["completed_at"] is None
    assert change(client, task["id"], status="done")["completed_at"] > task["completed_at"]


def test_the_completion_of_a_task_done_before_can_be_set(client: TestClient) -> None:
    task = make(client, status="done", completed_at="2020-02-29T12:00:00+02:00")
    assert marks(task) == (None, "2020-02-29T10:00:00Z", None)
    # A change of something else, or of nothing, leaves it as it is.
    assert change(client, task["id"], status="done") == task
    assert change(client, task["id"], title="x")["completed_at"] == task["completed_at"]


@pytest.mark.parametrize("status", ["todo", "in_progress", "cancelled", None])
def test_a_completion_without_done_breaks_a_rule(client: TestClient, status: str | None) -> None:
    body = {"title": "x", "completed_at": "2020-01-01T00:00:00Z"}
    if status:
        body["status"] = status
    before = everything(client)
    assert faults(client.post("/tasks", json=body)) == [("/completed_at", "not_done")]
    assert everything(client) == before


def test_a_null_completion_is_none_whatever_the_status(client: TestClient) -> None:
    assert make(client, completed_at=None)["completed_at"] is None
    assert make(client, completed_at=None, status="done")["completed_at"] is not None


SET_BY_SERVER = [*MARKS, "id", "created_at", "updated_at", "version", "deleted_at", "position"]


def test_what_the_server_sets_cannot_be_sent(client: TestClient, subtests: pytest.Subtests) -> None:
    make(client, status="done")
    before = everything(client)
    for field in SET_BY_SERVER:
        with subtests.test(field):
            value = before[0][0][field]
            response = client.patch("/tasks/1", json={"title": "x", field: value})
            assert faults(response) == [(f"/{field}", "extra_forbidden")]
            if field != "completed_at":
                response = client.post("/tasks", json={"title": "x", field: value})
                assert faults(response) == [(f"/{field}", "extra_forbidden")]
            assert everything(client) == before
