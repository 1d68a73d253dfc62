"""Every filter of a list of tasks."""

from itertools import pairwise

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.features.tags.tests.factory import TagFactory
from vibetracker.features.tasks.model import Task

from .calls import change, faults, ids, make
from .factory import TaskFactory

PAST, FUTURE = "2020-02-02T00:00:00Z", "2222-02-02T00:00:00Z"


@pytest.fixture
def tasks(client: TestClient) -> None:
    """Create tasks of every kind; 9 is in the trash."""
    for name in ("Home", "garden", "Straße"):
        TagFactory.create(name=name)
    for task in (
        {"title": "Water the PLANTS", "tags": ["home", "garden"], "priority": "low"},
        {"title": "water", "description": "100%_of\\\nthe plants", "tags": ["garden"]},
        {"title": "ǅungla Straße", "status": "in_progress", "start_at": PAST, "parent_id": 1},
        {"title": "plan", "start_at": FUTURE, "due_at": FUTURE, "tags": ["home"]},
        {"title": "overdue", "due_at": PAST, "priority": "urgent"},
        {"title": "over", "due_at": PAST, "status": "done", "completed_at": PAST},
        {"title": "off", "due_on": "2020-02-01", "status": "cancelled", "parent_id": 1},
        {"title": "due", "due_on": "2020-02-01", "tags": ["STRASSE", "home"], "parent_id": 3},
        {"title": "water trash plants", "due_at": PAST, "tags": ["home"], "parent_id": 1},
    ):
        make(client, **task)
    assert client.delete("/tasks/9").status_code == 204


FOUND = [
    ("", "12345678"),
    ("id=3", "3"),
    ("id=3&id=5&id=9&id=77&id=3", "35"),
    ("id=9007199254740991", ""),
    ("status=done", "6"),
    ("status=todo", "12458"),
    ("status=in_progress&status=cancelled", "37"),
    ("status=todo&status=in_progress&status=done&status=cancelled", "12345678"),
    ("priority=urgent", "5"),
    ("priority=none&priority=low", "1234678"),
    ("is_open=true", "123458"),
    ("is_open=false", "67"),
    ("is_open=true&status=done", ""),
    ("q=", "12345678"),
    ("q=%20%20", "12345678"),
    ("q=water", "12"),
    ("q=plants%20WATER", "12"),
    ("q=PLAN", "124"),
    ("q=strasse", "3"),
    ("q=%E1%BA%9E", "3"),
    ("q=%C7%86UNGLA", "3"),
    ("q=%25", "2"),
    ("q=_", "2"),
    ("q=0%25_", "2"),
    ("q=%5C", "2"),
    ("q=*", ""),
    ("q=waterthe", ""),
    ("q=water%E3%80%80100", "2"),
    ("q=plants%09water", "12"),
    ("q=%0Aplants%0D%0Awater%0A", "12"),
    ("tag=home", "148"),
    ("tag=HOME&tag=Garden", "1"),
    ("tag=home&tag=nothing", ""),
    ("tag=straSSe", "8"),
    ("tag_any=garden&tag_any=strasse", "128"),
    ("tag_any=nothing", ""),
    ("tag_none=home", "23567"),
    ("tag_none=home&tag_none=garden", "3567"),
    ("tag_none=nothing", "12345678"),
    ("tag_any=home&tag_none=garden", "48"),
    # The same value for two filters, and then two values.
    ("tag=home&tag_any=home&tag_none=nothing", "148"),
    ("tag=home&tag_any=garden&tag_none=strasse", "1"),
    ("tag=home&tag=home", "148"),
    ("tag=home&tag=strasse", "8"),
    ("has_tags=true", "1248"),
    ("has_tags=false", "3567"),
    ("has_due=true", "45678"),
    ("has_due=false", "123"),
    ("overdue=true", "58"),
    ("overdue=false", "123467"),
    ("actionable=true", "12358"),
    ("actionable=false", "467"),
    # 7 and 8 are due at the last instant of the first of February.
    ("due_after=2020-02-02", "456"),
    ("due_after=2020-02-02T00:00:00Z", "456"),
    ("due_after=2020-02-02T00:00:00.000001Z", "4"),
    ("due_after=2020-02-01T23:59:59.999999Z", "45678"),
    ("due_before=2020-02-02", "78"),
    ("due_before=2020-02-01T23:59:59.999999Z", ""),
    ("due_before=2020-02-02T00:00:00.000001Z", "5678"),
    ("due_before=2020-02-03", "5678"),
    ("due_after=2020-02-01&due_before=2020-02-02", "78"),
    ("due_after=2020-02-02&due_before=2020-02-03", "56"),
    ("due_after=2020-02-02&due_before=2020-02-02", ""),
    ("due_after=2020-02-01&tz=Pacific/Kiritimati", "45678"),
    ("due_after=2020-02-02&tz=Pacific/Kiritimati", "456"),
    ("due_after=2020-02-02T00:00:00Z&tz=Pacific/Kiritimati", "456"),
    ("due_before=2020-02-02T00:00:00Z&tz=Pacific/Kiritimati", "78"),
    ("due_before=2020-02-02&tz=America/New_York", "5678"),
    ("due_after=2020-02-02&tz=America/New_York", "4"),
    ("due_before=9998-12-31", "45678"),
    ("due_after=1900-01-01", "45678"),
    ("start_after=2020-02-02", "34"),
    ("start_after=2020-02-02T00:00:00.000001Z", "4"),
    ("start_before=2020-02-02", ""),
    ("start_before=2020-02-02T00:00:00.000001Z", "3"),
    ("start_before=2020-02-02&tz=America/New_York", "3"),
    ("completed_after=2020-02-02", "6"),
    ("completed_after=2020-02-03", ""),
    ("completed_before=2020-02-02", ""),
    ("completed_before=2020-02-03", "6"),
    ("created_after=2020-01-01", "12345678"),
    ("created_before=2020-01-01", ""),
    ("updated_before=9998-12-31", "12345678"),
    ("updated_after=9998-12-31", ""),
    ("parent_id=1", "37"),
    ("parent_id=3", "8"),
    ("parent_id=77", ""),
    ("is_subtask=true", "378"),
    ("is_subtask=false", "12456"),
    ("deleted=exclude", "12345678"),
    ("deleted=include", "123456789"),
    ("deleted=only", "9"),
    ("deleted=only&tag=home&q=trash&parent_id=1", "9"),
    ("status=todo&priority=none&tag=garden&has_due=false&is_subtask=false", "2"),
]
"""Queries, and the ids of the tasks that they find."""


@pytest.mark.usefixtures("tasks")
def test_a_filter_finds_what_it_says(client: TestClient, subtests: pytest.Subtests) -> None:
    for query, found in FOUND:
        with subtests.test(query):
            page = client.get(f"/tasks?sort=id&include_total=true&{query}".rstrip("&")).json()
            assert [task["id"] for task in page["items"]] == [*map(int, found)]
            assert page["total"] == len(found)


@pytest.mark.usefixtures("tasks")
def test_a_flag_divides_the_tasks_in_two(client: TestClient, subtests: pytest.Subtests) -> None:
    for flag in ("is_open", "has_tags", "has_due", "overdue", "actionable", "is_subtask"):
        with subtests.test(flag):
            queries = ({flag: value, "deleted": "include"} for value in ("true", "false"))
            yes, no = (ids(client, **query) for query in queries)
            assert yes
            assert no
            assert sorted(yes + no) == [*range(1, 10)]


@pytest.fixture
def moments(database: Database, client: TestClient) -> list[str]:
    """Create four tasks, created and changed at four instants, a microsecond apart."""
    stamps = [f"2020-02-02T00:00:00.00000{n}Z" for n in range(4)]
    for stamp in stamps:
        make(client, status="done", completed_at=stamp, start_at=stamp)
    with database.engine.begin() as connection:
        same = {"created_at": Task.completed_at, "updated_at": Task.completed_at}
        connection.execute(update(Task).values(same))
    return stamps


def test_adjacent_ranges_neither_overlap_nor_leave_a_gap(
    client: TestClient, moments: list[str], subtests: pytest.Subtests
) -> None:
    """The bound itself is in the range that begins with it, and in no other."""
    for field in ("created", "updated", "completed", "start"):
        after, before = f"{field}_after", f"{field}_before"
        with subtests.test(field):
            for number, moment in enumerate(moments):
                assert ids(client, sort="id", **{before: moment}) == [*range(1, number + 1)]
                assert ids(client, sort="id", **{after: moment}) == [*range(number + 1, 5)]
            for number, (moment, following) in enumerate(pairwise(moments), start=1):
                assert ids(client, **{after: moment, before: following}) == [number]
            assert ids(client, **{after: moments[1], before: moments[1]}) == []


UPSIDE_DOWN = [
    {"after": "2020-02-02", "before": "2020-02-01"},
    {"after": "2020-02-02T00:00:00.000001Z", "before": "2020-02-02"},
    # The same date, which begins hours earlier in this zone.
    {"after": "2020-02-02T00:00:00Z", "before": "2020-02-02", "tz": "Asia/Kathmandu"},
]


def test_a_range_upside_down_holds_nothing(client: TestClient, subtests: pytest.Subtests) -> None:
    make(client, due_on="2020-02-01", status="done", start_at="2020-02-01T12:00:00Z")
    for field in ("due", "created", "updated", "completed", "start"):
        for bounds in UPSIDE_DOWN:
            params = {key if key == "tz" else f"{field}_{key}": bounds[key] for key in bounds}
            with subtests.test(str(params)):
                for path in ("/tasks", "/tasks/1/subtasks"):
                    assert ids(client, path, **params) == []


def test_a_search_finds_what_a_patch_has_written(client: TestClient) -> None:
    make(client, title="old title", description="old text")
    change(client, 1, title="new title")
    assert ids(client, q="new old") == [1]
    change(client, 1, description="other text")
    assert ids(client, q="old") == []
    assert ids(client, q="new other") == [1]


def test_a_search_ignores_accents(client: TestClient, subtests: pytest.Subtests) -> None:
    make(client, title="Café à la plage")
    make(client, description="CAFE in Łódź, Đà Nẵng, Smørrebrød")
    make(client, title="other")
    for q, found in (
        ("cafe", [1, 2]),
        ("CAFÉ", [1, 2]),
        ("cafe\u0301 a la", [1]),
        ("lodz", [2]),
        ("da nang", [2]),
        ("smorrebrod", [2]),
        ("ca\u00adfe", [1, 2]),
        ("\u0301", []),
    ):
        with subtests.test(q):
            assert ids(client, q=q, sort="id") == found


def test_a_search_ignores_how_a_letter_is_composed(client: TestClient) -> None:
    make(client, description="cafe\N{COMBINING ACUTE ACCENT}")
    assert ids(client, q="CAFÉ") == [1]


def test_a_hundred_ids_can_be_asked_for_and_fifty_tags(client: TestClient) -> None:
    make(client)
    assert ids(client, id=[*range(1, 101)]) == [1]
    assert faults(client.get("/tasks", params={"id": [*range(1, 102)]})) == [("id", "too_long")]
    names = [f"t{n}" for n in range(51)]
    for parameter in ("tag", "tag_any", "tag_none"):
        assert client.get("/tasks", params={parameter: names[:50]}).status_code == 200
        response = client.get("/tasks", params={parameter: names})
        assert faults(response) == [(parameter, "too_long")]


def test_a_trashed_tree_is_listed_by_its_own_rules(client: TestClient) -> None:
    parent = TaskFactory.create().id
    child = TaskFactory.create(parent_id=parent).id
    client.delete(f"/tasks/{parent}")
    assert ids(client, deleted="only", parent_id=parent) == [child]
    assert ids(client, deleted="only", is_subtask="false") == [parent]
