"""Due and start: at most one due, and none before the start."""

from datetime import UTC, date, datetime

import pytest
from starlette.testclient import TestClient

from .calls import Json, change, everything, faults, ids, make
from .factory import TaskFactory

NOON = "2030-05-01T12:00:00Z"
BEFORE_NOON = "2030-05-01T11:59:59.999999Z"
AFTER_NOON = "2030-05-01T12:00:00.000001Z"


@pytest.mark.parametrize(
    "dates",
    [
        {"due_at": NOON, "start_at": NOON},
        {"due_at": "2030-05-01T12:00:00+02:00", "start_at": "2030-05-01T10:00:00Z"},
        # A day is due at its end.
        {"due_on": "2030-05-01", "start_at": NOON},
        {"due_on": "2030-05-01", "start_at": "2030-05-02T00:00:00Z"},
        {"due_on": "9998-12-31", "start_at": "9998-12-31T23:59:59Z"},
        {"start_at": "9998-12-31T23:59:59Z"},
        {"due_on": "1900-01-01"},
    ],
)
def test_a_start_up_to_the_due_is_accepted(client: TestClient, dates: Json) -> None:
    make(client, **dates)
    task = make(client)
    assert client.patch(f"/tasks/{task['id']}", json=dates).status_code == 200


@pytest.mark.parametrize(
    ("has", "patch", "fault"),
    [
        ({}, {"due_on": "2030-05-01", "due_at": NOON}, ("/due_at", "two_dues")),
        ({"due_on": "2030-05-01"}, {"due_at": NOON}, ("/due_at", "two_dues")),
        ({"due_at": NOON}, {"due_on": "2030-05-01"}, ("/due_on", "two_dues")),
        ({}, {"due_at": NOON, "start_at": AFTER_NOON}, ("/start_at", "start_after_due")),
        ({"due_at": NOON}, {"start_at": AFTER_NOON}, ("/start_at", "start_after_due")),
        ({"start_at": NOON}, {"due_at": BEFORE_NOON}, ("/due_at", "start_after_due")),
        ({"start_at": NOON}, {"due_on": "2030-04-30"}, ("/due_on", "start_after_due")),
        (
            {"due_on": "2030-05-01"},
            {"start_at": "2030-05-02T12:00:00Z"},
            ("/start_at", "start_after_due"),
        ),
        (
            {"due_on": "2030-05-01", "start_at": NOON},
            {"due_on": None, "due_at": BEFORE_NOON},
            ("/due_at", "start_after_due"),
        ),
        (
            {"due_at": NOON, "start_at": NOON},
            {"due_on": "2030-04-30", "due_at": None},
            ("/due_on", "start_after_due"),
        ),
    ],
)
def test_dates_that_contradict_each_other_break_a_rule(
    client: TestClient, has: Json, patch: Json, fault: tuple[str, str]
) -> None:
    """Whatever part of them the request itself names."""
    task = make(client, **has)
    before = everything(client)
    assert faults(client.patch(f"/tasks/{task['id']}", json=patch)) == [fault]
    both = {name: value for name, value in {**has, **patch}.items() if value is not None}
    assert faults(client.post("/tasks", json={"title": "x", **both}))[0][1] == fault[1]
    assert everything(client) == before


@pytest.mark.parametrize(
    ("has", "patch"),
    [
        ({"due_on": "2030-05-01"}, {"due_at": NOON, "due_on": None}),
        ({"due_at": NOON}, {"due_on": "2030-05-01", "due_at": None}),
        ({"due_at": NOON, "start_at": NOON}, {"due_at": BEFORE_NOON, "start_at": BEFORE_NOON}),
        ({"due_at": NOON, "start_at": NOON}, {"start_at": AFTER_NOON, "due_at": None}),
        ({"due_at": NOON, "start_at": NOON}, {"due_at": BEFORE_NOON, "start_at": None}),
    ],
)
def test_a_patch_is_judged_by_its_result(client: TestClient, has: Json, patch: Json) -> None:
    task = make(client, **has)
    response = client.patch(f"/tasks/{task['id']}", json=patch)
    assert response.status_code == 200, response.text
    assert response.json()["version"] == 2
    assert {name: response.json()[name] for name in patch} == patch


@pytest.mark.parametrize(
    ("has", "patch", "due"),
    [
        ({"due_on": "2030-05-01"}, {"due_at": "2030-01-01T00:00:00Z", "due_on": None}, 1),
        ({"due_at": "2030-01-01T00:00:00Z"}, {"due_on": "2030-05-01", "due_at": None}, 5),
        ({"due_at": "2030-01-01T00:00:00Z"}, {"due_at": "2030-05-01T00:00:00Z"}, 5),
        ({"due_on": "2030-01-01"}, {"due_on": "2030-05-01"}, 5),
        ({"due_on": "2030-01-01"}, {"due_on": None}, None),
        ({"due_at": "2030-01-01T00:00:00Z"}, {"due_at": None}, None),
    ],
)
def test_lists_use_the_due_that_a_patch_has_set(
    client: TestClient, has: Json, patch: Json, due: int | None
) -> None:
    make(client, **has)
    client.patch("/tasks/1", json=patch)
    for month in (1, 5):
        within = {"due_after": f"2030-{month:02}-01", "due_before": f"2030-{month:02}-15"}
        found = ids(client, **within)
        assert bool(found) is (month == due)
    assert bool(ids(client, has_due="true")) is (due is not None)


def test_stored_dates_are_no_obstacle_to_other_changes(client: TestClient) -> None:
    """They may have been written when other rules held."""
    start = datetime(2030, 5, 2, 12, tzinfo=UTC)
    task = TaskFactory.create(due_on=date(2030, 5, 1), start_at=start)
    assert change(client, task.id, title="other", status="done")["version"] == 2
    response = client.patch(f"/tasks/{task.id}", json={"start_at": start.isoformat()})
    assert faults(response) == [("/start_at", "start_after_due")]
