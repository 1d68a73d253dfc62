"""Dues keep their time on the wall clock, in every zone."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import pytest

from vibetracker.features.recurrences.occurrences import Due, Series

DAY = timedelta(days=1)
FIRST = date(2024, 1, 1)
DAYS = (date(2027, 1, 1) - FIRST).days
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
HALF_PAST_TWO = time(2, 30)


def chain(rule: str, zone: ZoneInfo, due: Due, number: int) -> Iterator[Due]:
    """Yield the dues that tasks have which are each completed at once."""
    anchor = None
    for _ in range(number):
        yield due
        series = Series.of(rule, zone.key, due, anchor)
        anchor = series.anchor.isoformat()
        _, due = next(series.dues(BEGIN - DAY))


def transitions() -> dict[ZoneInfo, list[date]]:
    """Return the zones that had transitions in these years, each with the weeks that have them."""
    found = {}
    for zone in map(ZoneInfo, sorted(available_timezones() - {"localtime"})):
        weeks = [BEGIN + DAY * number for number in range(0, DAYS, 7)]
        offsets = [week.astimezone(zone).utcoffset() for week in weeks]
        changed = [
            week.date()
            for week, before, after in zip(weeks, offsets, offsets[1:], strict=False)
            if before != after
        ]
        if changed:
            found[zone] = changed
    return found


def check_daily(zone: ZoneInfo, first: date, number: int) -> int:
    """Compare dues at 2:30 with the definition, and return how many were in a gap."""
    start = datetime.combine(first, HALF_PAST_TWO, zone).astimezone(UTC)
    gaps = 0
    for index, due in enumerate(chain("FREQ=DAILY", zone, start, number)):
        assert isinstance(due, datetime)
        local, day = due.astimezone(zone), first + DAY * index
        # Of a time that comes twice the first, of one that does not the offset before.
        assert local.fold == 0
        if (local.date(), local.time()) != (day, HALF_PAST_TWO):
            gaps += 1
            before = (due - DAY).astimezone(zone).utcoffset()
            assert before is not None
            assert due == datetime.combine(day, HALF_PAST_TWO, UTC) - before, (zone.key, local)
    return gaps


@pytest.mark.slow
def test_daily_at_half_past_two_across_a_year_of_transitions_of_each_zone() -> None:
    zones = transitions()
    gaps = sum(check_daily(zone, week, 9) for zone, weeks in zones.items() for week in weeks[:2])
    assert len(zones) > 150
    assert gaps > 100


@pytest.mark.slow
def test_daily_at_half_past_two_for_three_years_in_each_zone_with_a_transition() -> None:
    assert sum(check_daily(zone, FIRST, DAYS) for zone in transitions()) > 300


@pytest.mark.parametrize(
    ("zone", "start", "wanted"),
    [
        # Clocks go from 2:00 to 3:00, and back.
        (
            "Europe/Berlin",
            "2026-03-28T02:30",
            ["28T02:30+01:00", "29T03:30+02:00", "30T02:30+02:00"],
        ),
        (
            "Europe/Berlin",
            "2026-10-24T02:30",
            ["24T02:30+02:00", "25T02:30+02:00", "26T02:30+01:00"],
        ),
        # From 23:00 to midnight: the due is on the next day, and the one after it is not.
        (
            "America/Nuuk",
            "2026-03-27T23:30",
            ["27T23:30-02:00", "29T00:30-01:00", "29T23:30-01:00"],
        ),
        # From midnight to 1:00.
        (
            "Africa/Cairo",
            "2026-04-23T00:30",
            ["23T00:30+02:00", "24T01:30+03:00", "25T00:30+03:00"],
        ),
        # By half an hour.
        (
            "Australia/Lord_Howe",
            "2026-10-03T02:10",
            ["03T02:10+10:30", "04T02:40+11:00", "05T02:10+11:00"],
        ),
        # A day that there was not.
        (
            "Pacific/Apia",
            "2011-12-29T09:00",
            ["29T09:00-10:00", "31T09:00+14:00", "01T09:00+14:00"],
        ),
    ],
)
def test_gaps_and_overlaps(zone: str, start: str, wanted: list[str]) -> None:
    where = ZoneInfo(zone)
    due = datetime.fromisoformat(start).replace(tzinfo=where).astimezone(UTC)
    begin = Series.of("FREQ=DAILY", zone, due)
    found = [due, *(it for _, it in islice(begin.dues(due), 2))]
    shown = [it.astimezone(where) for it in found if isinstance(it, datetime)]
    assert [f"{it:%dT%H:%M}{it.isoformat()[-6:]}" for it in shown] == wanted


def test_a_weekly_due_that_a_gap_moves_to_the_next_day_stays_on_its_weekday() -> None:
    nuuk = ZoneInfo("America/Nuuk")
    saturday = datetime(2026, 3, 21, 23, 30, tzinfo=nuuk).astimezone(UTC)
    dues = [due for due in chain("FREQ=WEEKLY", nuuk, saturday, 4) if isinstance(due, datetime)]
    assert [f"{due.astimezone(nuuk):%a %H:%M}" for due in dues] == [
        "Sat 23:30",
        "Sun 00:30",
        "Sat 23:30",
        "Sat 23:30",
    ]


def test_a_due_that_was_moved_by_hand_is_the_anchor_of_the_next() -> None:
    def following(due: Due, anchor: str) -> Due:
        series = Series.of("FREQ=MONTHLY", "Europe/Berlin", due, anchor)
        return next(series.dues(BEGIN))[1]

    assert following(date(2026, 2, 28), "2026-01-31") == date(2026, 3, 31)
    assert following(date(2026, 2, 27), "2026-01-31") == date(2026, 3, 27)
    gap, eight = datetime(2026, 3, 29, 1, 30, tzinfo=UTC), datetime(2026, 3, 29, 6, tzinfo=UTC)
    assert following(gap, "2026-02-28T02:30:00") == datetime(2026, 4, 29, 0, 30, tzinfo=UTC)
    assert following(eight, "2026-02-28T02:30:00") == datetime(2026, 4, 29, 6, tzinfo=UTC)
    # A day instead of an instant, and the other way round.
    assert following(date(2026, 2, 28), "2026-01-31T02:30:00") == date(2026, 3, 31)
    assert following(eight, "2026-03-29") == datetime(2026, 4, 29, 6, tzinfo=UTC)
