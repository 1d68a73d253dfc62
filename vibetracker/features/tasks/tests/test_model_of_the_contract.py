"""Random tasks, filters and sorts, compared with a model of the contract in plain Python."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from starlette.testclient import TestClient

from vibetracker.core.api.text import searchable
from vibetracker.core.db.database import Database
from vibetracker.features.projects.tests.factory import ProjectFactory
from vibetracker.features.tags.model import Tag
from vibetracker.features.tasks.model import Task, task_tags

type Json = dict[str, Any]

STATUSES = ["todo", "in_progress", "done", "cancelled"]
PRIORITIES = ["none", "low", "medium", "high", "urgent"]
PROJECTS = [1, 2]
TAGS = ["home", "Garden", "work", "straße"]
WORDS = ["plan", "PLAN", "call", "50%", "a_b", "Straße", "İstanbul"]
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Kiritimati"]
SORT_KEYS = ["id", "title", "status", "priority", "due", "created_at", "completed_at", "position"]
EPOCH = datetime(2026, 3, 28, 12, tzinfo=UTC)

moments = st.integers(-72, 72).map(lambda hours: EPOCH + timedelta(hours=hours))
days = st.integers(-3, 3).map(lambda offset: EPOCH.date() + timedelta(days=offset))
bounds = moments.map(lambda moment: moment.isoformat().replace("+00:00", "Z")) | days.map(str)
flags = st.sampled_from(["true", "false"])
names = st.lists(st.sampled_from([*TAGS, "HOME", "STRASSE", "unknown"]), min_size=1, max_size=2)


@st.composite
def new_tasks(draw: st.DrawFn) -> Json:
    """Draw a task that a client may create."""
    task: Json = {
        "title": " ".join(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))),
        "description": draw(st.sampled_from(["", "call\nthem", "Plan 50%"])),
        "status": draw(st.sampled_from(STATUSES)),
        "priority": draw(st.sampled_from(PRIORITIES)),
        "tags": draw(st.lists(st.sampled_from(TAGS), max_size=3)),
        "project_id": draw(st.sampled_from([None, *PROJECTS])),
    }
    if draw(st.booleans()):
        task["due_on"] = str(draw(days))
    elif draw(st.booleans()):
        task["due_at"] = draw(moments).isoformat()
    return task


filters = st.fixed_dictionaries(
    {},
    optional={
        "status": st.lists(st.sampled_from(STATUSES), min_size=1, max_size=2),
        "priority": st.lists(st.sampled_from(PRIORITIES), min_size=1, max_size=2),
        "is_open": flags,
        "q": st.sampled_from(["plan", "CALL them", "%", "_", "strasse", "", "PLAN 50"]),
        "tag": names,
        "tag_any": names,
        "tag_none": names,
        "has_tags": flags,
        "has_due": flags,
        "project_id": st.lists(st.sampled_from([*PROJECTS, 77]), min_size=1, max_size=2),
        "has_project": flags,
        "overdue": flags,
        "due_after": bounds,
        "due_before": bounds,
        "is_subtask": flags,
        "actionable": flags,
        "tz": st.sampled_from(ZONES),
    },
)
sorts = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(SORT_KEYS),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda term: term[1],
)


def instant(text: str, zone: ZoneInfo) -> datetime:
    if "T" in text:
        return datetime.fromisoformat(text)
    return datetime.combine(date.fromisoformat(text), time.min, zone).astimezone(UTC)


def due(task: Json, zone: ZoneInfo) -> datetime | None:
    if task["due_on"]:
        next_day = date.fromisoformat(task["due_on"]) + timedelta(days=1)
        return instant(str(next_day), zone) - timedelta(microseconds=1)
    return datetime.fromisoformat(task["due_at"]) if task["due_at"] else None


def matches(task: Json, query: Json) -> bool:
    zone = ZoneInfo(query.get("tz", "UTC"))
    end = due(task, zone)
    still_open = task["status"] in STATUSES[:2]
    keys = {name.casefold() for name in task["tags"]}
    text = f"{task['title']}\n{task['description']}".casefold()

    def tags(name: str) -> set[str]:
        return {tag.casefold() for tag in query[name]}

    rules: dict[str, Callable[[], bool]] = {
        "status": lambda: task["status"] in query["status"],
        "priority": lambda: task["priority"] in query["priority"],
        "is_open": lambda: still_open,
        "q": lambda: all(term in text for term in query["q"].casefold().split()),
        "tag": lambda: tags("tag") <= keys,
        "tag_any": lambda: bool(tags("tag_any") & keys),
        "tag_none": lambda: not tags("tag_none") & keys,
        "has_tags": lambda: bool(keys),
        "has_due": lambda: end is not None,
        "project_id": lambda: task["project_id"] in query["project_id"],
        "has_project": lambda: task["project_id"] is not None,
        "overdue": lambda: still_open and end is not None and end < datetime.now(UTC),
        "due_after": lambda: end is not None and end >= instant(query["due_after"], zone),
        "due_before": lambda: end is not None and end < instant(query["due_before"], zone),
        "is_subtask": lambda: task["parent_id"] is not None,
        "actionable": lambda: still_open,
    }
    return all(rule() == (query[name] != "false") for name, rule in rules.items() if name in query)


def ordered(tasks: list[Json], sort: list[tuple[bool, str]], zone: ZoneInfo) -> list[int]:
    values: dict[str, Callable[[Json], Any]] = {
        "title": lambda task: (searchable(task["title"]), task["title"]),
        "status": lambda task: STATUSES.index(task["status"]),
        "priority": lambda task: PRIORITIES.index(task["priority"]),
        "due": lambda task: due(task, zone),
    }
    tasks = sorted(tasks, key=lambda task: task["id"])
    for descending, name in reversed(sort):
        value = values.get(name, lambda task, name=name: task[name])
        known = [task for task in tasks if value(task) is not None]
        # A stable sort leaves equal items in their order, in reverse too.
        known.sort(key=value, reverse=descending)
        tasks = known + [task for task in tasks if value(task) is None]
    return [task["id"] for task in tasks]


@pytest.fixture
def empty(database: Database) -> Callable[[], None]:
    """Empty the tables between the examples, which share the fixtures of one test."""
    ProjectFactory.create_batch(len(PROJECTS))

    def clear() -> None:
        with database.session(write=True) as session:
            for table in (task_tags, Task, Tag):
                session.execute(delete(table))
            session.commit()

    return clear


def create(client: TestClient, tasks: list[Json]) -> list[Json]:
    operations = [{"op": "create", "data": task} for task in tasks]
    response = client.post("/tasks/batch", json={"operations": operations})
    assert response.status_code == 200, response.text
    return [result["task"] for result in response.json()["results"]]


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    # The fixtures are shared by all examples on purpose; ``empty`` isolates the examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    tasks=st.lists(new_tasks(), min_size=1, max_size=12),
    late=st.lists(new_tasks(), max_size=3),
    queries=st.lists(st.tuples(filters, sorts), min_size=1, max_size=4),
    limit=st.integers(1, 5),
    data=st.data(),
)
def test_lists_are_what_the_contract_says(
    client: TestClient,
    empty: Callable[[], None],
    tasks: list[Json],
    late: list[Json],
    queries: list[tuple[Json, list[tuple[bool, str]]]],
    limit: int,
    data: st.DataObject,
) -> None:
    empty()
    stored = create(client, tasks)
    for query, sort in queries:
        text = ",".join(f"-{name}" if descending else name for descending, name in sort)
        zone = ZoneInfo(query.get("tz", "UTC"))
        response = client.get("/tasks", params={**query, "sort": text, "limit": 200})
        expected = ordered([task for task in stored if matches(task, query)], sort, zone)
        assert [task["id"] for task in response.json()["items"]] == expected, (query, text)

        # The same by pages, while tasks come and go: what stays is seen once, and in its order.
        seen: list[int] = []
        gone: set[int] = set()
        params = {**query, "sort": text, "limit": limit}
        while True:
            page = client.get("/tasks", params=params).json()
            seen += [task["id"] for task in page["items"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
            victim = data.draw(st.sampled_from(stored))
            if victim["id"] not in gone and data.draw(st.booleans()):
                assert client.delete(f"/tasks/{victim['id']}").status_code == 204
                gone.add(victim["id"])
            if late:
                create(client, [late.pop()])
        stay = [task_id for task_id in expected if task_id not in gone]
        assert [task_id for task_id in seen if task_id in stay] == stay, (query, text)
        stored = client.get("/tasks", params={"limit": 200, "sort": "id"}).json()["items"]
        if len(stored) > 60:
            break
