"""Days and zones: when a day ends, by Python, by both databases and in lists."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select
from starlette.testclient import TestClient

from vibetracker.cli.needs import with_needs
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import discover, sources
from vibetracker.features.tasks.calendar import (
    SPELLED_OUT,
    Clock,
    LastInstant,
    last_instant,
    start_of_day,
)
from vibetracker.features.tasks.model import Task
from vibetracker.testing import empty

from .calls import faults, ids, make
from .factory import TaskFactory

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)

ODD_DAYS = [
    ("UTC", date(2024, 2, 29)),
    ("Europe/Berlin", date(2024, 3, 31)),
    ("Europe/Berlin", date(2024, 10, 27)),
    ("Asia/Kathmandu", date(2024, 1, 1)),
    ("Pacific/Kiritimati", date(2024, 1, 1)),
    ("Etc/GMT+12", date(2024, 1, 1)),
    # Midnight is skipped.
    ("America/Sao_Paulo", date(2017, 10, 15)),
    ("Asia/Beirut", date(2022, 3, 27)),
    ("Africa/Cairo", date(2023, 4, 28)),
    # The hour before midnight comes twice.
    ("America/Sao_Paulo", date(2018, 2, 18)),
    ("Asia/Beirut", date(2022, 10, 30)),
    ("Africa/Cairo", date(2023, 10, 27)),
    # Midnight comes twice.
    ("America/Havana", date(2023, 11, 5)),
    ("Atlantic/Azores", date(2023, 10, 29)),
    # Clocks go back past midnight, into the day before.
    ("America/St_Johns", date(2010, 11, 7)),
    # There is no 30 December.
    ("Pacific/Apia", date(2011, 12, 30)),
]
"""Zones, and days on which their offset changes, among others."""

ZONES = sorted({zone for zone, _ in ODD_DAYS})


def first_instant_after(day: date, zone: str) -> datetime:
    """Find the end of a day by looking at the clock every half hour."""
    clock = ZoneInfo(zone)
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    while moment.astimezone(clock).date() <= day:
        moment += timedelta(minutes=15)
    return moment


@pytest.mark.parametrize(("zone", "odd"), ODD_DAYS)
def test_a_day_ends_before_the_first_instant_of_a_later_day(zone: str, odd: date) -> None:
    for offset in range(-3, 4):
        day = odd + offset * DAY
        expected = first_instant_after(day, zone)
        if zone == "America/St_Johns":
            # It changes its clocks a minute after midnight, which the steps miss.
            assert expected - last_instant(day, ZoneInfo(zone)) <= timedelta(minutes=15)
        else:
            assert last_instant(day, ZoneInfo(zone)) == expected - TICK


@pytest.mark.parametrize(("zone", "odd"), ODD_DAYS)
def test_the_last_day_due_is_the_last_that_ended_before(zone: str, odd: date) -> None:
    clock = Clock(ZoneInfo(zone))
    days = [odd + offset * DAY for offset in range(-5, 6)]
    ends = {day: last_instant(day, clock.zone) for day in days}
    for end in [ends[day] for day in days[2:]]:
        for instant in (end - TICK, end, end + TICK, end + timedelta(minutes=45)):
            over = [day for day in days if ends[day] < instant]
            assert clock.last_day_due_before(instant) == over[-1]


def test_sql_ends_a_day_when_python_does(database: Database) -> None:
    """On both databases; PostgreSQL does it by rules and data of its own."""
    years = [date(year, 1, 1) + n * DAY for year in (2010, 2011, 2017, 2023) for n in range(365)]
    columns = {"title": "x", "title_key": "x", "search_text": "x", "position": "8", "version": 1}
    with database.session(write=True) as session:
        rows = [
            {**columns, "due_on": day, "due": last_instant(day, ZoneInfo("UTC"))} for day in years
        ]
        session.execute(insert(Task), rows)
        for zone in (*ZONES, *SPELLED_OUT):
            ends = session.execute(select(Task.due_on, LastInstant(Task.due_on, zone))).all()
            wrong = [
                (zone, day, end)
                for day, end in ends
                if day is not None and end != last_instant(day, ZoneInfo(zone))
            ]
            assert wrong == []
            assert len(ends) == len(years)


@pytest.mark.slow
def test_lists_know_when_a_day_ends_in_the_zone_that_is_asked_for(
    client: TestClient, database: Database, subtests: pytest.Subtests
) -> None:
    for zone, odd in ODD_DAYS:
        empty(database)
        dues: dict[int, datetime] = {}
        for offset in (2, -1, 0, 1, -2):
            day = odd + offset * DAY
            end = last_instant(day, ZoneInfo(zone))
            dues[TaskFactory.create(due_on=day).id] = end
            for moment in (end, end - TICK, end + TICK):
                if abs(offset) < 2:
                    dues[TaskFactory.create(due_at=moment).id] = moment
        undated = TaskFactory.create().id
        with subtests.test(zone=zone, day=str(odd)):
            expected = sorted(dues, key=lambda task_id: (dues[task_id], task_id))
            assert ids(client, sort="due", tz=zone) == [*expected, undated]
            assert ids(client, sort="due", tz=zone, limit=5) == [*expected, undated]
            backwards = sorted(expected, key=lambda task_id: dues[task_id], reverse=True)
            assert ids(client, sort="-due", tz=zone) == [*backwards, undated]
            for bound in (odd, odd + DAY):
                # As a bound, a date is the start of that day.
                instant = start_of_day(bound, ZoneInfo(zone))
                before = [task_id for task_id in expected if dues[task_id] < instant]
                for value in (bound.isoformat(), instant.isoformat()):
                    found = ids(client, sort="due", tz=zone, due_before=value)
                    assert found == before
                    found = ids(client, sort="due", tz=zone, due_after=value)
                    assert found == expected[len(before) :]


def test_ranges_of_days_tile_in_every_zone(client: TestClient, subtests: pytest.Subtests) -> None:
    days = [date(2023, 10, 25) + n * DAY for n in range(8)]
    made = [TaskFactory.create(due_on=day).id for day in days]
    for zone in ("UTC", "Africa/Cairo", "Atlantic/Azores", "Pacific/Kiritimati"):
        with subtests.test(zone):
            for number, (day, following) in enumerate(pairwise(days)):
                within = {"due_after": f"{day}", "due_before": f"{following}", "tz": zone}
                assert ids(client, **within) == [made[number]]


def test_what_is_due_on_a_day_is_the_last_of_that_day(client: TestClient) -> None:
    on_day = make(client, due_on="2031-03-05")["id"]
    late = make(client, due_at="2031-03-05T23:59:59Z")["id"]
    next_day = make(client, due_at="2031-03-06T00:00:00Z")["id"]
    for zone in ({}, {"tz": "UTC"}, {"tz": "Etc/UTC"}):
        assert ids(client, sort="due", **zone) == [late, on_day, next_day]
        assert ids(client, sort="-due", limit=1, **zone) == [next_day, on_day, late]
        within = {"due_after": "2031-03-05", "due_before": "2031-03-06"}
        assert ids(client, sort="due", **within, **zone) == [late, on_day]


@pytest.mark.parametrize(
    "zone", ["", "europe/berlin", "Mars/Base", "localtime", "../UTC", "UTC+1", "+02:00", "a\u0000b"]
)
def test_a_zone_that_does_not_exist_breaks_a_rule(client: TestClient, zone: str) -> None:
    for path in ("/tasks", f"/tasks/{make(client)['id']}/subtasks"):
        assert faults(client.get(path, params={"tz": zone}))[0][0] == "tz"


def test_a_request_can_name_one_zone(client: TestClient) -> None:
    response = client.get("/tasks?tz=UTC&tz=Europe/Berlin")
    assert faults(response) == [("tz", "repeated")]


def test_without_a_zone_the_server_has_its_own() -> None:
    """In this zone a day of 2030 ends at 18:15 in UTC."""
    settings = Settings(database_url="sqlite://", time_zone="Asia/Kathmandu", _env_file=None)
    end, last = "2030-05-01T18:15:00Z", "2030-05-01T18:14:59.999999Z"
    features = discover(only=with_needs({"tasks"}, sources()))
    with TestClient(create_app(settings, features)) as client:
        task = make(client, due_on="2030-05-01")
        assert ids(client, due_before=end) == [task["id"]] == ids(client, due_after=last)
        assert ids(client, due_before=last) == ids(client, due_after=end) == []
        assert ids(client, due_before=end, tz="UTC") == []


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_start_is_refused_only_when_the_day_is_over_everywhere(zone: str) -> None:
    """Whatever the zone of the server is; the last place is twelve hours behind UTC."""
    settings = Settings(database_url="sqlite://", time_zone=zone, _env_file=None)
    with TestClient(create_app(settings)) as client:
        make(client, due_on="2026-04-01", start_at="2026-04-01T22:00:00-07:00")
        make(client, due_on="2026-04-01", start_at="2026-04-02T11:59:59.999999Z")
        body = {"title": "x", "due_on": "2026-04-01", "start_at": "2026-04-02T12:00:00Z"}
        assert faults(client.post("/tasks", json=body)) == [("/start_at", "start_after_due")]
