"""Which days a rule has, and which rules there are."""

import re
from calendar import monthrange
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from vibetracker.features.recurrences.rules import PATTERN, RuleError, canonical, parse

from .table import NEW_YORK, RFC_5545, RULES, Row

UTC = ZoneInfo("UTC")


def test_the_examples_of_rfc_5545() -> None:
    nine = time(9, tzinfo=NEW_YORK)
    for row in RFC_5545:
        dues = row.dues(datetime.combine(row.start, nine), NEW_YORK)
        local = [due.astimezone(NEW_YORK) for due in dues if isinstance(due, datetime)]
        assert row.fits([moment.date() for moment in local]), row.rule
        assert {moment.timetz() for moment in local} == {nine}
    assert len(RFC_5545) == 35


@pytest.mark.parametrize("row", RULES, ids=lambda row: f"{row.rule} from {row.start}")
def test_rules_of_days(row: Row) -> None:
    assert row.fits(row.dues(row.start, UTC))


@pytest.mark.parametrize("day", [28, 29, 30, 31])
def test_a_month_end_keeps_its_anchor_for_ten_years(day: int) -> None:
    start = date(2024, 1, day)
    dues = Row("FREQ=MONTHLY;COUNT=121", start, [], None, goes_on=True).dues(start, UTC)
    months = [(2024 + month // 12, month % 12 + 1) for month in range(1, 121)]
    assert dues == [date(*month, min(day, monthrange(*month)[1])) for month in months]


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("", "Expected parts"),
        ("DAILY", "Expected parts"),
        ("FREQ=DAILY;", "Expected parts"),
        ("RRULE:FREQ=DAILY", "Expected parts"),
        ("FREQ=DAILY;BYHOUR=9", "Expected parts"),
        ("FREQ=YEARLY;BYWEEKNO=20", "Expected parts"),
        ("FREQ=YEARLY;BYYEARDAY=1", "Expected parts"),
        ("RSCALE=GREGORIAN;FREQ=DAILY", "Expected parts"),
        ("INTERVAL=2", "FREQ is missing"),
        ("FREQ=DAILY;FREQ=WEEKLY", "FREQ is there twice"),
        ("FREQ=SECONDLY", "FREQ is DAILY"),
        ("FREQ=MINUTELY", "FREQ is DAILY"),
        ("FREQ=HOURLY", "FREQ is DAILY"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL is 1 to 999"),
        ("FREQ=DAILY;INTERVAL=1000", "INTERVAL is 1 to 999"),
        ("FREQ=DAILY;INTERVAL=99999999999999999999", "INTERVAL is 1 to 999"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL is 1 to 999"),
        ("FREQ=DAILY;INTERVAL=\u0661", "INTERVAL is 1 to 999"),
        ("FREQ=DAILY;COUNT=1", "COUNT is 2 to 9999"),
        ("FREQ=DAILY;COUNT=10000", "COUNT is 2 to 9999"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20300101", "COUNT and UNTIL"),
        ("FREQ=DAILY;UNTIL=20300230", "UNTIL is no day"),
        ("FREQ=DAILY;UNTIL=20300220T250000Z", "UNTIL is no day"),
        ("FREQ=DAILY;UNTIL=20300220T100000", "UNTIL is a date"),
        ("FREQ=DAILY;UNTIL=2030-02-20", "UNTIL is a date"),
        ("FREQ=WEEKLY;BYDAY=", "BYDAY is a comma list"),
        ("FREQ=WEEKLY;BYDAY=XX", "BYDAY is a comma list"),
        ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY is a comma list"),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY has numbers in months"),
        ("FREQ=MONTHLY;BYDAY=6MO", "BYDAY has numbers up to 5"),
        ("FREQ=YEARLY;BYMONTH=1;BYDAY=-6MO", "BYDAY has numbers up to 5"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY does not go with WEEKLY"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY is a comma list"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY is a comma list"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30,31", "BYMONTHDAY is no day"),
        ("FREQ=DAILY;BYMONTH=4,6;BYMONTHDAY=-31", "BYMONTHDAY is no day"),
        ("FREQ=YEARLY;BYMONTH=13", "BYMONTH is a comma list"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS chooses"),
        ("FREQ=WEEKLY;BYDAY=MO;BYSETPOS=8", "BYSETPOS is at most 7"),
        ("FREQ=YEARLY;BYDAY=MO;BYSETPOS=367", "BYSETPOS is a comma list"),
        ("FREQ=WEEKLY;WKST=1", "WKST is MO"),
    ],
)
def test_what_is_no_rule_says_why(rule: str, fault: str) -> None:
    with pytest.raises(RuleError, match=fault):
        parse(rule)


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6",
        "FREQ=YEARLY;BYDAY=MO;BYSETPOS=60",
        "FREQ=YEARLY;INTERVAL=101",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
        "FREQ=YEARLY;INTERVAL=2;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=WEEKLY;UNTIL=20250103",
        "FREQ=WEEKLY;UNTIL=20250107T235959Z",
    ],
)
@pytest.mark.parametrize("start", [date(2025, 1, 1), date(9989, 1, 4)])
def test_a_rule_that_never_comes_again_has_an_end(rule: str, start: date) -> None:
    assert Row(rule, start, [], None, goes_on=False).dues(start, UTC) == []


def test_rules_end_with_the_calendar() -> None:
    start = date(9990, 6, 1)
    dues = Row("FREQ=YEARLY", start, [], None, goes_on=True).dues(start, UTC)
    assert [due.year for due in dues] == [*range(9991, 9998)]


def test_until_is_a_day_or_an_instant_whatever_the_due_is() -> None:
    line_islands = ZoneInfo("Pacific/Kiritimati")
    day, instant = date(2040, 1, 31), datetime(2040, 1, 31, 9, tzinfo=line_islands)

    def last(until: str, due: date) -> int:
        row = Row(f"FREQ=DAILY;UNTIL={until}", due, [], None, goes_on=True)
        return row.dues(due, line_islands)[-1].day

    # Half past eleven in UTC is half past one on the next day there.
    assert last("20400204T113000Z", day) == 5
    assert last("20400204", day) == 4
    assert last("20400204T185900Z", instant) == 3
    assert last("20400204T190000Z", instant) == 4
    assert last("20400204", instant) == 3


def test_a_rule_is_written_as_rfc_5545_wants_it() -> None:
    assert canonical("interval=2;byday=mo,-1fr;freq=monthly") == (
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=MO,-1FR"
    )


def test_the_pattern_fits_every_rule_of_the_tables() -> None:
    for row in (*RFC_5545, *RULES):
        assert re.fullmatch(PATTERN, row.rule), row.rule
