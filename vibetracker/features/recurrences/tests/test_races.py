"""Requests at the same time: a task that is done comes again once."""

from collections.abc import Callable
from functools import partial

from httpx2 import Response
from starlette.testclient import TestClient

from vibetracker.features.tasks.tests.calls import ids, read
from vibetracker.testing import at_once

from .factory import RecurrenceFactory


def together(*requests: Callable[[], Response]) -> list[int]:
    """Send requests together, and return their statuses in the same order."""
    answers = at_once(lambda number: requests[number](), len(requests))
    return [answer.status_code for answer in answers]


def patching(client: TestClient, task_id: int, **fields: object) -> Callable[[], Response]:
    return partial(client.patch, f"/tasks/{task_id}", json=fields)


def check_that_it_came_once(client: TestClient, task_id: int, due_on: str = "2040-02-29") -> None:
    tasks = [read(client, it) for it in ids(client, deleted="include") if it >= task_id]
    assert [task["due_on"] for task in tasks if task["status"] == "todo"] == [due_on]
    assert len(tasks) == 2
    (recurring,) = ids(client, is_recurring=True)
    assert recurring == tasks[0]["id"]


def test_two_completions_at_once(busy_client: TestClient) -> None:
    task_id = RecurrenceFactory.create().task_id
    assert together(*[patching(busy_client, task_id, status="done")] * 6) == [200] * 6
    check_that_it_came_once(busy_client, task_id)


def test_a_completion_beside_other_changes(busy_client: TestClient) -> None:
    task_id = RecurrenceFactory.create().task_id
    done = patching(busy_client, task_id, status="done")
    others = [patching(busy_client, task_id, title=f"title {number}") for number in range(4)]
    assert together(done, *others) == [200] * 5
    check_that_it_came_once(busy_client, task_id)


def test_completions_in_batches_and_with_one_key(busy_client: TestClient) -> None:
    task_id = RecurrenceFactory.create().task_id
    body = {"operations": [{"op": "update", "id": task_id, "data": {"status": "done"}}]}
    headers = {"Idempotency-Key": "one"}
    batch = partial(busy_client.post, "/tasks/batch", json=body)
    statuses = together(*[partial(batch, headers=headers)] * 3, *[batch] * 2)
    # One with the key of a request that is in flight is a 409, and can be repeated.
    assert {200} <= set(statuses) <= {200, 409}
    assert partial(batch, headers=headers)().status_code == 200
    check_that_it_came_once(busy_client, task_id)


def test_a_completion_beside_the_end_of_the_recurrence(busy_client: TestClient) -> None:
    for _ in range(4):
        recurrence = RecurrenceFactory.create()
        done = patching(busy_client, recurrence.task_id, status="done")
        end = partial(busy_client.delete, f"/recurrences/{recurrence.id}")
        assert together(done, end) == [200, 204]
        assert ids(busy_client, is_recurring=True) == []
        assert busy_client.get(f"/recurrences/{recurrence.id}").status_code == 404


def test_a_completion_beside_a_change_of_the_rule(busy_client: TestClient) -> None:
    for _ in range(4):
        recurrence = RecurrenceFactory.create()
        done = patching(busy_client, recurrence.task_id, status="done")
        rule = {"rule": "FREQ=WEEKLY"}
        other = partial(busy_client.patch, f"/recurrences/{recurrence.id}", json=rule)
        # One that comes just when the task is done finds that it has ended.
        assert together(done, other) in ([200, 200], [200, 410])
        (following,) = ids(busy_client, is_recurring=True)
        assert read(busy_client, following)["due_on"] in {"2040-02-29", "2040-02-07"}
        busy_client.delete(f"/tasks/{following}")


def test_two_recurrences_of_a_task_at_once(busy_client: TestClient) -> None:
    task_id = RecurrenceFactory.create().task_id
    (recurrence_id,) = ids(busy_client, "/recurrences")
    busy_client.delete(f"/recurrences/{recurrence_id}")
    body = {"task_id": task_id, "rule": "FREQ=DAILY"}
    post = partial(busy_client.post, "/recurrences", json=body)
    assert sorted(together(*[post] * 4)) == [201, 409, 409, 409]


def test_completions_of_subtasks_beside_what_becomes_of_their_parent(
    busy_client: TestClient,
) -> None:
    """Nothing live is left below the trash."""
    for _ in range(4):
        parent, first, second = (RecurrenceFactory.create().task_id for _ in range(3))
        for task_id in (first, second):
            patching(busy_client, task_id, parent_id=parent)()
        statuses = together(
            patching(busy_client, first, status="done"),
            partial(busy_client.delete, f"/tasks/{parent}"),
            patching(busy_client, second, status="done"),
        )
        assert statuses[1] == 204
        assert set(statuses) <= {200, 204, 410}
        assert ids(busy_client, parent_id=parent) == []
