"""Recurrences as a client creates, reads, changes and ends them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from vibetracker.core.db.types import utcnow
from vibetracker.features.tasks.tests.calls import change, faults, ids, make, read, walk
from vibetracker.features.tasks.tests.factory import TaskFactory

from .factory import LAST_OF_JANUARY, RecurrenceFactory

type Json = dict[str, Any]


def post(
    client: TestClient, task_id: int, rule: str = "FREQ=MONTHLY", **fields: object
) -> Response:
    return client.post("/recurrences", json={"task_id": task_id, "rule": rule, **fields})


def occurrences(client: TestClient, recurrence_id: int, limit: int = 3) -> list[str]:
    """Get the next dues, each as a day or as an instant."""
    path = f"/recurrences/{recurrence_id}/occurrences"
    items = client.get(path, params={"limit": limit}).json()["items"]
    return [item["due_on"] or item["due_at"] for item in items]


def test_a_recurrence_is_created_and_read(client: TestClient) -> None:
    task = make(client, due_at="2040-01-31T09:00:00+01:00")
    created = post(
        client,
        task["id"],
        "freq=monthly;count=5",
        time_zone="Europe/Berlin",
        mode="after_completion",
    )
    assert created.status_code == 201
    recurrence = created.json()
    assert created.headers["location"] == f"/recurrences/{recurrence['id']}"
    assert {name: recurrence[name] for name in recurrence if not name.endswith("_at")} == {
        "id": recurrence["id"],
        "task_id": task["id"],
        "rule": "FREQ=MONTHLY;COUNT=5",
        "time_zone": "Europe/Berlin",
        "mode": "after_completion",
        "anchor": "2040-01-31T09:00:00",
        "number": 1,
        "previous_task_id": None,
        "version": 1,
    }
    read = client.get(f"/recurrences/{recurrence['id']}")
    assert (read.json(), read.headers["etag"]) == (recurrence, '"1"')


def test_the_zone_is_the_servers_and_the_mode_is_fixed(client: TestClient) -> None:
    recurrence = post(client, make(client, due_on="2040-01-31")["id"]).json()
    assert (recurrence["time_zone"], recurrence["mode"]) == ("UTC", "fixed")
    assert recurrence["anchor"] == "2040-01-31"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"rule": "FREQ=HOURLY"}, ("/rule", "recurrence_rule")),
        ({"rule": "FREQ=DAILY;BYHOUR=9"}, ("/rule", "recurrence_rule")),
        ({"rule": "FREQ=DAILY;INTERVAL=100000"}, ("/rule", "recurrence_rule")),
        ({"rule": "FREQ=DAILY;COUNT=100000"}, ("/rule", "recurrence_rule")),
        ({"rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, ("/rule", "recurrence_rule")),
        ({"rule": "FREQ=YEARLY;INTERVAL=101"}, ("/rule", "never_again")),
        ({"rule": "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6"}, ("/rule", "never_again")),
        ({"rule": "FREQ=DAILY;UNTIL=20400131"}, ("/rule", "never_again")),
        ({"rule": "x" * 501}, ("/rule", "string_too_long")),
        ({"rule": None}, ("/rule", "string_type")),
        ({"time_zone": "Mars/Olympus"}, ("/time_zone", "time_zone")),
        ({"mode": "sometimes"}, ("/mode", "enum")),
        ({"number": 2}, ("/number", "extra_forbidden")),
        ({"task_id": 99}, ("/task_id", "unknown_task")),
    ],
)
def test_what_breaks_a_rule_is_refused(
    client: TestClient, fields: Json, wanted: tuple[str, str]
) -> None:
    task = make(client, due_on="2040-01-31")
    assert faults(post(client, **{"task_id": task["id"], **fields})) == [wanted]


def test_a_task_that_cannot_come_again_is_refused(client: TestClient) -> None:
    def refused(**fields: object) -> str:
        ((pointer, code),) = faults(post(client, make(client, **fields)["id"]))
        assert pointer == "/task_id"
        return code

    assert refused() == "no_due"
    assert refused(due_on="2040-01-31", status="done") == "task_not_open"
    assert refused(due_on="2040-01-31", status="cancelled") == "task_not_open"
    trashed = make(client, due_on="2040-01-31")["id"]
    client.delete(f"/tasks/{trashed}")
    assert faults(post(client, trashed)) == [("/task_id", "unknown_task")]


def test_a_rule_that_was_over_long_ago_never_comes_again(client: TestClient) -> None:
    task = make(client, due_on="2020-01-31")
    assert faults(post(client, task["id"], "FREQ=DAILY;COUNT=3")) == [("/rule", "never_again")]
    assert post(client, task["id"], "FREQ=DAILY").status_code == 201
    old = make(client, due_on="1900-01-31")
    assert post(client, old["id"], "FREQ=YEARLY;INTERVAL=40").status_code == 201
    (recurrence,) = ids(client, "/recurrences", task_id=old["id"])
    assert occurrences(client, recurrence, 2) == ["2060-01-31", "2100-01-31"]


def test_a_task_has_one_recurrence(client: TestClient) -> None:
    recurrence = RecurrenceFactory.create()
    taken = post(client, recurrence.task_id)
    assert taken.status_code == 409
    assert taken.json()["type"] == "/problems/task-recurs-already"
    assert taken.json()["existing_id"] == recurrence.id


def test_the_list_is_filtered(client: TestClient) -> None:
    first, second = (RecurrenceFactory.create() for _ in range(2))
    client.patch(f"/recurrences/{second.id}", json={"mode": "after_completion"})
    assert ids(client, "/recurrences") == [first.id, second.id]
    assert ids(client, "/recurrences", task_id=second.task_id) == [second.id]
    assert ids(client, "/recurrences", mode="fixed") == [first.id]
    assert ids(client, "/recurrences", sort="-id", limit=1) == [second.id, first.id]
    assert faults(client.get("/recurrences?rule=FREQ")) == [("rule", "extra_forbidden")]


def test_a_change_shows_in_what_is_to_come(client: TestClient) -> None:
    recurrence = RecurrenceFactory.create()
    path = f"/recurrences/{recurrence.id}"
    assert occurrences(client, recurrence.id) == ["2040-02-29", "2040-03-31", "2040-04-30"]
    changed = client.patch(path, json={"rule": "FREQ=WEEKLY;COUNT=3"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    assert occurrences(client, recurrence.id) == ["2040-02-07", "2040-02-14"]
    assert client.patch(path, json={"rule": "FREQ=WEEKLY;COUNT=3"}).json()["version"] == 2
    assert faults(client.patch(path, json={"task_id": 1})) == [("/task_id", "extra_forbidden")]
    over = client.patch(path, json={"rule": "FREQ=DAILY;UNTIL=20400131"})
    assert faults(over) == [("/rule", "never_again")]
    assert client.patch(path, json={}, headers={"If-Match": '"1"'}).status_code == 412


def test_occurrences_are_bounded(client: TestClient) -> None:
    recurrence = RecurrenceFactory.create(rule="FREQ=YEARLY")
    assert len(occurrences(client, recurrence.id, 200)) == 100
    assert occurrences(client, recurrence.id, 1) == ["2041-01-31"]
    path = f"/recurrences/{recurrence.id}/occurrences"
    assert faults(client.get(path, params={"limit": 201})) == [("limit", "less_than_equal")]
    assert client.get("/recurrences/99/occurrences").status_code == 404


def test_occurrences_after_completion_count_from_today(client: TestClient) -> None:
    today = utcnow().date()
    task = make(client, due_on="2020-01-31")
    rule = "FREQ=DAILY;INTERVAL=3"
    recurrence = post(client, task["id"], rule, mode="after_completion").json()
    after = utcnow().date()
    assert occurrences(client, recurrence["id"], 1)[0] in {
        str(day + timedelta(3)) for day in (today, after)
    }


def test_instants_keep_to_the_wall_clock(client: TestClient) -> None:
    task = make(client, due_at="2040-03-24T07:00:00Z")
    recurrence = post(client, task["id"], "FREQ=DAILY", time_zone="Europe/Berlin").json()
    assert occurrences(client, recurrence["id"], 2) == [
        "2040-03-25T06:00:00Z",
        "2040-03-26T06:00:00Z",
    ]


def test_another_zone_has_another_time_on_its_wall_clock(client: TestClient) -> None:
    task = make(client, due_at="2040-02-01T02:30:00Z")
    data = {"task_id": task["id"], "rule": "FREQ=DAILY"}
    assert client.post("/recurrences", json=data).json()["anchor"] == "2040-02-01T02:30:00"
    response = client.patch("/recurrences/1", json={"time_zone": "America/New_York"})
    assert response.json()["anchor"] == "2040-01-31T21:30:00"


def test_a_recurrence_is_deleted_and_the_task_stays(client: TestClient) -> None:
    recurrence = RecurrenceFactory.create()
    path = f"/recurrences/{recurrence.id}"
    assert client.delete(path, headers={"If-Match": '"7"'}).status_code == 412
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.get(f"/tasks/{recurrence.task_id}").status_code == 200
    assert post(client, recurrence.task_id).status_code == 201


def test_it_is_deleted_with_its_task(client: TestClient) -> None:
    recurrence = RecurrenceFactory.create()
    client.delete(f"/tasks/{recurrence.task_id}", params={"permanent": True})
    assert client.get(f"/recurrences/{recurrence.id}").status_code == 404


@pytest.mark.parametrize("fields", [{"status": "cancelled"}, {"due_on": None}])
def test_it_has_ended_while_its_task_cannot_come_again(client: TestClient, fields: Json) -> None:
    recurrence = RecurrenceFactory.create()
    path, task_id = f"/recurrences/{recurrence.id}", recurrence.task_id
    change(client, task_id, **fields)
    for answer in (
        client.get(path),
        client.patch(path, json={}),
        client.get(f"{path}/occurrences"),
    ):
        assert answer.status_code == 410
        assert answer.json()["type"] == "/problems/recurrence-ended"
    assert ids(client, "/recurrences") == ids(client, is_recurring=True) == []
    change(client, task_id, status="in_progress", due_on="2040-02-29")
    assert client.get(path).status_code == 200
    assert ids(client, "/recurrences") == [recurrence.id]


def test_it_has_ended_while_its_task_is_in_the_trash(client: TestClient) -> None:
    recurrence = RecurrenceFactory.create()
    path, task_id = f"/recurrences/{recurrence.id}", recurrence.task_id
    client.delete(f"/tasks/{task_id}")
    assert client.get(path).json()["type"] == "/problems/gone"
    assert ids(client, "/recurrences") == []
    assert ids(client, is_recurring=True, deleted="include") == []
    client.post(f"/tasks/{task_id}/restore")
    assert client.get(path).status_code == 200


def test_tasks_show_what_makes_them_come_again(client: TestClient) -> None:
    recurrence, plain = RecurrenceFactory.create(), make(client, due_on="2040-01-31")
    assert ids(client, is_recurring=True) == [recurrence.task_id]
    assert ids(client, is_recurring=False) == [plain["id"]]
    shown = client.get(f"/recurrences/{recurrence.id}").json()
    tasks = {task["id"]: task for task in walk(client, include="recurrence")}
    assert tasks[recurrence.task_id]["recurrence"] == shown
    assert tasks[plain["id"]]["recurrence"] is None
    one = client.get(f"/tasks/{recurrence.task_id}", params={"include": "recurrence"})
    assert one.json()["recurrence"] == shown
    assert "recurrence" not in read(client, plain["id"])


def test_lists_are_read_row_by_row_where_postgresql_takes_the_tables_for_empty(
    fill_with_stale_statistics: Callable[[Callable[[Session], object]], None],
    get_counting: Callable[[str], tuple[Response, list[int]]],
) -> None:
    def fill(session: Session) -> None:
        tasks = TaskFactory.build_batch(2_000, due_on=LAST_OF_JANUARY)
        session.add_all(tasks)
        session.flush()
        session.add_all(RecurrenceFactory.build(task_id=task.id) for task in tasks)

    fill_with_stale_statistics(fill)
    for path in ("/recurrences", "/tasks?is_recurring=true", "/tasks?is_recurring=false"):
        response, pages = get_counting(path)
        assert response.status_code == 200
        assert sum(pages) < 20_000, path
