"""A task that is done comes again, once, and is taken back with its completion."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from starlette.testclient import TestClient

from vibetracker.core.db.types import utcnow
from vibetracker.features.tasks.tests.calls import change, ids, make, read, walk

type Json = dict[str, Any]

COPIED = ("title", "description", "priority", "tags", "parent_id", "project_id")


def recurring(client: TestClient, rule: str = "FREQ=MONTHLY", **fields: Any) -> Json:
    """Create a task that comes again."""
    body: Json = {"rule": rule}
    body |= {name: fields.pop(name) for name in ("mode", "time_zone") if name in fields}
    task = make(client, **fields)
    body["task_id"] = task["id"]
    created = client.post("/recurrences", json=body)
    assert created.status_code == 201, created.text
    return task


def complete(client: TestClient, task_id: int) -> Json:
    """Complete a task, and get the one that its recurrence has moved on to."""
    change(client, task_id, status="done")
    (recurrence,) = walk(client, "/recurrences")
    assert recurrence["previous_task_id"] == task_id
    return read(client, recurrence["task_id"])


def batch(client: TestClient, task: Json, *operations: Json | None) -> None:
    """Change a task several times in one request; None deletes it."""
    body = [
        {"op": "delete", "id": task["id"]}
        if it is None
        else it
        if "op" in it
        else {"op": "update", "id": task["id"], "data": it}
        for it in operations
    ]
    answer = client.post("/tasks/batch", json={"operations": body})
    assert answer.status_code == 200, answer.text


def dues(client: TestClient, task: Json, number: int) -> Iterator[str]:
    """Complete a task and those that follow on it; yield their dues."""
    for _ in range(number):
        task = complete(client, task["id"])
        yield task["due_on"] or task["due_at"]


def test_the_next_task_is_a_copy_in_the_same_place(client: TestClient) -> None:
    parent = make(client, title="parent")["id"]
    before, task, after = (
        recurring(
            client,
            title="Pay the rent",
            description="By *transfer*",
            priority="high",
            tags=["money", "home"],
            due_on="2040-01-31",
            parent_id=parent,
        )
        if number == 1
        else make(client, parent_id=parent)
        for number in range(3)
    )
    following = complete(client, task["id"])
    assert {name: following[name] for name in COPIED} == {name: task[name] for name in COPIED}
    assert (following["status"], following["due_on"]) == ("todo", "2040-02-29")
    assert (following["version"], following["started_at"]) == (1, None)
    assert ids(client, f"/tasks/{parent}/subtasks") == [
        before["id"],
        task["id"],
        following["id"],
        after["id"],
    ]
    done = read(client, task["id"])
    assert (done["status"], done["due_on"], done["version"]) == ("done", "2040-01-31", 2)
    assert done["position"] == task["position"]
    (recurrence,) = walk(client, "/recurrences")
    assert (recurrence["number"], recurrence["version"]) == (2, 2)


def test_a_root_stays_in_its_place_however_often_it_is_done(client: TestClient) -> None:
    task, last = recurring(client, "FREQ=DAILY", due_on="2040-01-31"), make(client)
    for _ in range(5):
        following = complete(client, task["id"])
        assert ids(client, sort="position")[-2:] == [following["id"], last["id"]]
        task = following


@pytest.mark.parametrize(
    ("rule", "due", "wanted"),
    [
        ("FREQ=MONTHLY", "2041-01-31", ["2041-02-28", "2041-03-31", "2041-04-30", "2041-05-31"]),
        pytest.param(
            *("FREQ=MONTHLY;INTERVAL=2", "2040-12-31", ["2041-02-28", "2041-04-30", "2041-06-30"]),
            marks=pytest.mark.slow,
        ),
        (
            "FREQ=YEARLY",
            "2040-02-29",
            ["2041-02-28", "2042-02-28", "2043-02-28", "2044-02-29", "2045-02-28"],
        ),
        ("FREQ=MONTHLY;BYMONTHDAY=31", "2041-01-31", ["2041-03-31", "2041-05-31"]),
        ("FREQ=WEEKLY;BYDAY=MO,TH", "2040-01-02", ["2040-01-05", "2040-01-09", "2040-01-12"]),
    ],
)
def test_days_keep_their_anchor(client: TestClient, rule: str, due: str, wanted: list[str]) -> None:
    task = recurring(client, rule, due_on=due)
    assert [*dues(client, task, len(wanted))] == wanted


def test_instants_keep_their_anchor_and_their_time_on_the_wall_clock(client: TestClient) -> None:
    """Half past two, across the end of February and a gap that skips the time."""
    task = recurring(client, due_at="2040-01-31T01:30:00Z", time_zone="Europe/Berlin")
    assert [*dues(client, task, 4)] == [
        "2040-02-29T01:30:00Z",
        "2040-03-31T00:30:00Z",
        "2040-04-30T00:30:00Z",
        "2040-05-31T00:30:00Z",
    ]
    gap = "2040-03-24T01:30:00Z"
    for recurrence in walk(client, "/recurrences"):
        client.delete(f"/recurrences/{recurrence['id']}")
    task = recurring(client, "FREQ=DAILY", due_at=gap, time_zone="Europe/Berlin")
    assert [*dues(client, task, 2)] == ["2040-03-25T01:30:00Z", "2040-03-26T00:30:00Z"]


def test_what_was_missed_is_left_out_and_counted(client: TestClient) -> None:
    begin = utcnow().date() - timedelta(days=9)
    task = recurring(client, "FREQ=DAILY;INTERVAL=2;COUNT=8", due_on=str(begin))
    following = complete(client, task["id"])
    assert following["due_on"] == str(begin + timedelta(days=10))
    (recurrence,) = walk(client, "/recurrences")
    assert recurrence["number"] == 6
    assert [*dues(client, following, 2)] == [str(begin + timedelta(days=it)) for it in (12, 14)]
    (last,) = ids(client, is_recurring=True)
    change(client, last, status="done")
    assert ids(client, is_open=True) == []
    assert client.get(f"/recurrences/{recurrence['id']}").status_code == 410


def test_a_day_is_due_until_it_is_over(client: TestClient) -> None:
    """In the recurrence's zone: these two never have the same day."""
    for zone in ("Etc/GMT+12", "Pacific/Kiritimati"):
        today = utcnow().astimezone(ZoneInfo(zone)).date()
        task = recurring(
            client, "FREQ=DAILY", due_on=str(today - timedelta(days=3)), time_zone=zone
        )
        following = complete(client, task["id"])
        assert following["due_on"] == str(today)
        client.delete(f"/tasks/{following['id']}")


@pytest.mark.parametrize("due_on", ["2020-01-31", "2040-01-31"])
def test_after_completion_counts_from_the_day_of_it(client: TestClient, due_on: str) -> None:
    rule = "FREQ=DAILY;INTERVAL=10"
    task = recurring(client, rule, due_on=due_on, mode="after_completion")
    following = complete(client, task["id"])
    completed_at = datetime.fromisoformat(read(client, task["id"])["completed_at"])
    assert following["due_on"] == str(completed_at.date() + timedelta(days=10))


def test_after_completion_keeps_the_time_of_the_due(client: TestClient) -> None:
    task = recurring(
        client,
        "FREQ=WEEKLY",
        due_at="2020-01-31T08:15:00Z",
        mode="after_completion",
        time_zone="Asia/Kathmandu",
    )
    due = datetime.fromisoformat(complete(client, task["id"])["due_at"])
    assert (due.astimezone(UTC).hour, due.minute) == (8, 15)
    assert timedelta(days=6) < due - utcnow() < timedelta(days=8)


def test_the_start_keeps_its_distance(client: TestClient) -> None:
    task = recurring(client, due_at="2040-01-31T09:00:00Z", start_at="2040-01-29T18:00:00Z")
    assert complete(client, task["id"])["start_at"] == "2040-02-27T18:00:00Z"
    (recurrence,) = walk(client, "/recurrences")
    client.delete(f"/recurrences/{recurrence['id']}")
    task = recurring(client, due_on="2040-01-31", start_at="2040-01-30T07:00:00Z")
    assert complete(client, task["id"])["start_at"] == "2040-02-28T07:00:00Z"


def test_a_start_at_the_very_end_of_a_day_stays_in_it(client: TestClient) -> None:
    """The end of the day in Berlin comes an hour earlier in summer, west of it does not."""
    task = recurring(
        client,
        "FREQ=DAILY",
        due_on="2040-10-27",
        start_at="2040-10-28T11:59:00Z",
        time_zone="Europe/Berlin",
    )
    assert complete(client, task["id"])["start_at"] == "2040-10-29T11:59:59.999999Z"


def test_a_due_that_is_moved_is_what_the_next_one_counts_from(client: TestClient) -> None:
    task = recurring(client, "FREQ=WEEKLY", due_on="2040-01-02")
    change(client, task["id"], due_on="2040-01-04")
    following = complete(client, task["id"])
    assert following["due_on"] == "2040-01-11"
    change(client, following["id"], due_on=None, due_at="2040-01-12T15:00:00Z")
    assert [*dues(client, following, 2)] == ["2040-01-19T15:00:00Z", "2040-01-26T15:00:00Z"]


def test_a_due_that_is_moved_is_an_anchor_too(client: TestClient) -> None:
    task = recurring(client, due_on="2041-01-31")
    change(client, task["id"], due_on="2041-01-30")
    assert [*dues(client, task, 3)] == ["2041-02-28", "2041-03-30", "2041-04-30"]


def test_another_rule_counts_from_the_task_as_it_is(client: TestClient) -> None:
    task = recurring(client, "FREQ=MONTHLY;COUNT=3", due_on="2041-01-31")
    following = complete(client, task["id"])
    (recurrence,) = ids(client, "/recurrences")
    path = f"/recurrences/{recurrence}"
    assert client.patch(path, json={"rule": "FREQ=MONTHLY;COUNT=2"}).json()["number"] == 1
    assert [*dues(client, following, 1)] == ["2041-03-31"]


@pytest.mark.parametrize("fields", [{"status": "cancelled"}, {"status": "in_progress"}])
def test_nothing_but_completing_makes_a_task_come_again(client: TestClient, fields: Json) -> None:
    task = recurring(client, due_on="2040-01-31")
    change(client, task["id"], **fields)
    client.delete(f"/tasks/{task['id']}")
    client.post(f"/tasks/{task['id']}/restore")
    assert ids(client, deleted="include") == [task["id"]]


def test_a_dry_run_makes_nothing(client: TestClient) -> None:
    task = recurring(client, due_on="2040-01-31")
    body = {"status": "done"}
    assert client.patch(f"/tasks/{task['id']}?dry_run=true", json=body).status_code == 200
    assert ids(client) == ids(client, is_recurring=True) == [task["id"]]


def test_a_task_completed_twice_or_in_a_batch_comes_again_once(client: TestClient) -> None:
    task = recurring(client, due_on="2040-01-31")
    operations = [
        {"op": "update", "id": task["id"], "data": {"status": status}}
        for status in ("done", "todo", "done", "done")
    ]
    body = {"operations": [*operations, {"op": "create", "data": {"title": "x"}}]}
    first = client.post("/tasks/batch", json=body, headers={"Idempotency-Key": "done"})
    again = client.post("/tasks/batch", json=body, headers={"Idempotency-Key": "done"})
    assert (first.status_code, again.content) == (200, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    change(client, task["id"], status="done", title="changed")
    assert len(ids(client)) == 3
    (following,) = ids(client, is_recurring=True)
    assert read(client, following)["due_on"] == "2040-02-29"


def test_a_batch_that_takes_the_completion_back_makes_nothing(client: TestClient) -> None:
    task = recurring(client, due_on="2040-01-31")
    batch(client, task, {"status": "done"}, {"title": "x"}, {"status": "todo"})
    assert ids(client, deleted="include") == ids(client, is_recurring=True) == [task["id"]]
    (recurrence,) = walk(client, "/recurrences")
    assert recurrence["version"] == 1


@pytest.mark.parametrize(
    "later",
    [{"title": "x", "tags": []}, {"due_on": None}, {"status": "cancelled"}, {"parent_id": 1}, None],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_completion_counts_whatever_the_same_batch_does_later(
    client: TestClient, later: Json | None, *, nested: bool
) -> None:
    project = client.post("/projects", json={"name": "Home"}).json()["id"]
    assert make(client)["id"] == 1
    parent = make(client, project_id=project)["id"]
    place = {"parent_id": parent} if nested else {}
    task = recurring(client, due_on="2040-01-31", title="Sweep", tags=["home"], **place)
    last = make(client, **place)
    batch(client, task, {"status": "done"}, later)
    (recurrence,) = walk(client, "/recurrences")
    assert recurrence["previous_task_id"] == task["id"]
    following = read(client, recurrence["task_id"])
    assert {name: following[name] for name in COPIED} == {name: task[name] for name in COPIED}
    assert (following["status"], following["due_on"]) == ("todo", "2040-02-29")
    assert task["position"] < following["position"] < last["position"]


def test_a_completion_in_a_batch_that_deletes_the_parent_makes_nothing(client: TestClient) -> None:
    parent = make(client)["id"]
    task = recurring(client, due_on="2040-01-31", parent_id=parent)
    batch(client, task, {"status": "done"}, {"op": "delete", "id": parent})
    assert sorted(ids(client, deleted="include")) == [parent, task["id"]]


def test_a_subtask_comes_again_in_the_project_that_its_parent_has_moved_to(
    client: TestClient,
) -> None:
    project = client.post("/projects", json={"name": "Home"}).json()["id"]
    parent = make(client)["id"]
    task = recurring(client, due_on="2040-01-31", parent_id=parent)
    move = {"op": "update", "id": parent, "data": {"project_id": project}}
    batch(client, task, {"status": "done"}, move)
    (recurrence,) = walk(client, "/recurrences")
    assert read(client, recurrence["task_id"])["project_id"] == project


def test_what_a_batch_completes_again_is_taken_back_like_any_other(client: TestClient) -> None:
    task = recurring(client, due_on="2040-01-31")
    batch(client, task, *({"status": status} for status in ("done", "todo", "done")))
    (recurrence,) = walk(client, "/recurrences")
    change(client, task["id"], status="todo")
    assert ids(client) == ids(client, is_recurring=True) == [task["id"]]
    # Done once more by the batch that opens it: the next one is another one then.
    following = complete(client, task["id"])
    batch(client, task, {"status": "todo"}, {"title": "x"}, {"status": "done"})
    assert read(client, following["id"])["deleted_at"] is not None
    (recurrence,) = walk(client, "/recurrences")
    assert read(client, recurrence["task_id"])["title"] == "x"
    assert (recurrence["number"], recurrence["previous_task_id"]) == (2, task["id"])


@pytest.mark.parametrize("later", [{"title": "x"}, {"status": "cancelled"}, None])
def test_opening_counts_whatever_the_same_batch_does_later(
    client: TestClient, later: Json | None
) -> None:
    task = recurring(client, due_on="2040-01-31")
    complete(client, task["id"])
    batch(client, task, {"status": "todo"}, later)
    assert {*ids(client)} <= {task["id"]}
    if later is None:
        client.post(f"/tasks/{task['id']}/restore")
    change(client, task["id"], status="in_progress")
    assert ids(client, is_recurring=True) == [task["id"]]


def test_opening_the_task_again_takes_the_next_one_back(client: TestClient) -> None:
    task = recurring(client, "FREQ=MONTHLY;COUNT=4", due_on="2040-01-31")
    (before,) = walk(client, "/recurrences")
    following = complete(client, task["id"])
    change(client, task["id"], status="todo")
    assert ids(client, is_open=True) == [task["id"]]
    assert read(client, following["id"])["deleted_at"] is not None
    (after,) = walk(client, "/recurrences")
    kept = before.keys() - {"version", "updated_at"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert [*dues(client, task, 3)] == ["2040-02-29", "2040-03-31", "2040-04-30"]


@pytest.mark.parametrize(
    ("rule", "due"),
    [
        ("FREQ=MONTHLY", {"due_on": "2041-02-28"}),
        # The next one is at half past two in Berlin, which the clocks skip on that day.
        ("FREQ=DAILY;INTERVAL=30", {"due_at": "2040-02-24T01:30:00Z"}),
    ],
)
def test_opening_the_task_again_takes_the_day_of_its_completion_back(
    client: TestClient, rule: str, due: Json
) -> None:
    task = recurring(client, rule, time_zone="Europe/Berlin", **due)
    if "due_at" in due:
        task = complete(client, task["id"])
    (recurrence,) = ids(client, "/recurrences")
    path = f"/recurrences/{recurrence}"
    before = client.get(f"{path}/occurrences").json()
    client.patch(path, json={"mode": "after_completion"})
    complete(client, task["id"])
    change(client, task["id"], status="todo")
    assert client.get(path).json()["task_id"] == task["id"]
    assert utcnow().date().isoformat() not in client.get(path).json()["anchor"]
    client.patch(path, json={"mode": "fixed"})
    assert client.get(f"{path}/occurrences").json() == before


WORK: dict[str, Json] = {
    "changed": {"description": "Notes"},
    "begun": {"status": "in_progress"},
    "moved": {"due_on": "2041-02-28"},
    "put off": {"start_at": "2040-02-20T08:00:00Z"},
    "divided": {},
}


@pytest.mark.parametrize("work", WORK)
def test_a_next_task_that_somebody_has_worked_with_stays(client: TestClient, work: str) -> None:
    task = recurring(client, "FREQ=MONTHLY;COUNT=4", due_on="2040-01-31")
    following = complete(client, task["id"])
    if work == "divided":
        make(client, parent_id=following["id"])
    else:
        change(client, following["id"], **WORK[work])
    # The recurrence does not belong to the task before any more.
    for status in ("in_progress", "done", "todo"):
        change(client, task["id"], status=status)
        assert {task["id"], following["id"]} <= set(ids(client))
        assert ids(client, is_recurring=True) == [following["id"]]
        assert [it["number"] for it in walk(client, "/recurrences")] == [2]


@pytest.mark.parametrize(
    ("since", "opened"),
    [
        ({"title": "paid", "due_on": "2039-01-31"}, {}),
        ({}, {"title": "again", "due_on": "2040-06-30"}),
    ],
)
def test_a_next_task_that_nobody_has_touched_goes_whatever_becomes_of_the_one_before(
    client: TestClient, since: Json, opened: Json
) -> None:
    task = recurring(client, "FREQ=MONTHLY;COUNT=6", due_on="2040-01-31")
    for _ in range(3):
        task = complete(client, task["id"])
    change(client, task["id"], status="done")
    change(client, task["id"], **since)
    change(client, task["id"], status="todo", **opened)
    assert ids(client, is_open=True) == ids(client, is_recurring=True) == [task["id"]]
    assert [it["number"] for it in walk(client, "/recurrences")] == [4]


def test_opening_an_older_task_changes_nothing_else(client: TestClient) -> None:
    first = recurring(client, due_on="2040-01-31")
    second = complete(client, first["id"])
    third = complete(client, second["id"])
    change(client, first["id"], status="todo")
    assert ids(client, is_recurring=True) == [third["id"]]
    assert sorted(ids(client, is_open=True)) == [first["id"], third["id"]]


def test_a_task_in_an_archived_project_is_done_and_comes_no_more(client: TestClient) -> None:
    project = client.post("/projects", json={"name": "Move"}).json()["id"]
    task = recurring(client, due_on="2040-01-31", project_id=project)
    task = complete(client, task["id"])
    assert task["project_id"] == project
    client.patch(f"/projects/{project}", json={"archived": True})
    change(client, task["id"], status="done")
    assert ids(client, is_open=True) == ids(client, "/recurrences") == []
