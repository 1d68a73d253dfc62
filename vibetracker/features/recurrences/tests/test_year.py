"""A year of completions, early and late ones, and what else becomes of tasks in between."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.features.recurrences.occurrences import Due, Series
from vibetracker.features.tasks.calendar import Clock, ServerClockDep, last_instant
from vibetracker.features.tasks.tests.calls import change, make, walk
from vibetracker.testing import empty

type Json = dict[str, Any]

SERVER_CLOCK = get_args(ServerClockDep)[1].dependency
BEGIN = datetime(2025, 1, 31, 1, 30, tzinfo=UTC)
RULES = [
    "FREQ=DAILY",
    "FREQ=DAILY;INTERVAL=3",
    "FREQ=WEEKLY",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR",
    "FREQ=MONTHLY",
    "FREQ=MONTHLY;BYDAY=1SU,-1SU",
    "FREQ=YEARLY;BYMONTH=2,3,6,11",
]
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]


@dataclass
class Year:
    """A recurrence, and the tasks that it has had."""

    client: TestClient
    rule: str
    zone: ZoneInfo
    is_timed: bool
    now: datetime = BEGIN
    done: list[int] = field(default_factory=list)
    given: list[Due] = field(default_factory=list)
    """The dues of the tasks, the open one's being the last."""
    every: list[Due] = field(default_factory=list)
    """The dues of the rule behind the first, computed at once."""

    def begin(self) -> None:
        """Create the first task, and its recurrence."""
        due: Due = BEGIN if self.is_timed else BEGIN.date()
        task = make(self.client, **{"due_at" if self.is_timed else "due_on": due.isoformat()})
        body = {"task_id": task["id"], "rule": self.rule, "time_zone": self.zone.key}
        assert self.client.post("/recurrences", json=body).status_code == 201
        self.given.append(due)
        series = Series.of(self.rule, self.zone.key, due)
        self.every = [it for _, it in islice(series.dues(BEGIN - timedelta(days=2)), 800)]

    def ends(self, due: Due) -> datetime:
        """Return when something is due."""
        return due if isinstance(due, datetime) else last_instant(due, self.zone)

    def task(self) -> Json:
        """Return the task that comes again: there is one, it is open, and has the next due."""
        (task,) = walk(self.client, is_recurring=True)
        (other,) = walk(self.client, is_open=True)
        assert task == other
        due = task["due_at"] or task["due_on"]
        due = datetime.fromisoformat(due) if self.is_timed else date.fromisoformat(due)
        assert due == self.given[-1]
        return task

    def complete(self, how: str) -> None:
        """Complete the task, and expect the next due that lies behind it and in the future."""
        task = self.task()
        if how == "batch":
            done = {"op": "update", "id": task["id"], "data": {"status": "done"}}
            body = {"operations": [done, done]}
            assert self.client.post("/tasks/batch", json=body).status_code == 200
        else:
            change(self.client, task["id"], status="done")
            change(self.client, task["id"], status="done")
        self.done.append(task["id"])
        later = (it for it in self.every if it > self.given[-1] and self.ends(it) > self.now)
        self.given.append(next(later))

    def open_again(self) -> None:
        """Open the last one again, once for each time that it was completed."""
        if self.done:
            change(self.client, self.done.pop(), status="todo")
            self.given.pop()
            self.done.clear()

    def interrupt(self, how: str) -> None:
        """End the recurrence for a moment."""
        task_id = self.task()["id"]
        if how == "cancel":
            change(self.client, task_id, status="cancelled")
        else:
            self.client.delete(f"/tasks/{task_id}")
        assert walk(self.client, is_recurring=True) == walk(self.client, "/recurrences") == []
        if how == "cancel":
            change(self.client, task_id, status="in_progress")
            change(self.client, task_id, status="todo")
        else:
            self.client.post(f"/tasks/{task_id}/restore")


EVENTS = st.tuples(
    st.integers(0, 40 * 24),
    st.sampled_from(["patch"] * 4 + ["batch"] * 2 + ["open again", "cancel", "trash"]),
)


def live(client: TestClient, app: FastAPI, year: Year, events: list[tuple[int, str]]) -> None:
    """Let the events of a year happen, each some hours behind the one before."""
    app.dependency_overrides[SERVER_CLOCK] = lambda: Clock(ZoneInfo("UTC"), year.now)
    year.begin()
    for hours, event in events:
        year.now += timedelta(hours=hours)
        if year.now > BEGIN + timedelta(days=366):
            break
        if event == "open again":
            year.open_again()
        elif event in {"cancel", "trash"}:
            year.interrupt(event)
        else:
            year.complete(event)
        year.task()
    tasks = walk(client, status="done")
    assert len(tasks) == len({task["due_on"] or task["due_at"] for task in tasks})


@pytest.mark.slow
@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    # The database is emptied at the beginning of each example.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rule=st.sampled_from(RULES),
    zone=st.sampled_from(ZONES),
    is_timed=st.booleans(),
    events=st.lists(EVENTS, min_size=5, max_size=60),
)
def test_a_year_of_completions(
    app: FastAPI,
    client: TestClient,
    database: Database,
    rule: str,
    zone: str,
    is_timed: bool,  # noqa: FBT001 - drawn by Hypothesis
    events: list[tuple[int, str]],
) -> None:
    empty(database)
    live(client, app, Year(client, rule, ZoneInfo(zone), is_timed), events)
