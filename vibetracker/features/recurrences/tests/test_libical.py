"""The tables of rules against libical (Debian's package ``libical3``), another implementation.

It has a rule for short months too: ``SKIP=BACKWARD`` of RFC 7529.
"""

import ctypes
import re
from ctypes.util import find_library
from datetime import UTC, date, datetime, time

import pytest

from vibetracker.features.recurrences.rules import parse

from .table import MOST, RFC_5545, RULES, Row

LIBRARY = find_library("ical")
SHORT_MONTHS = "RSCALE=GREGORIAN;SKIP=BACKWARD;"
NOT_IN_LIBICAL = {
    "FREQ=YEARLY;BYMONTHDAY=31": "leaves out the other months",
    "FREQ=DAILY;BYMONTHDAY=1,-1": "knows no negative days of the month in days",
    "FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=2": "knows no BYSETPOS in weeks",
    "FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=-1": "knows no BYSETPOS in weeks",
}
"""What version 3.0 does not do as section 3.3.10 says; ``rrule-temporal`` for JavaScript does."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LIBRARY is None, reason="libical is not installed"),
]


def by_libical(rule: str, start: datetime) -> list[date]:
    times = (ctypes.c_long * MOST)()
    expand = ctypes.CDLL(LIBRARY).icalrecur_expand_recurrence
    expand.argtypes = [
        ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.POINTER(ctypes.c_long),
    ]  # fmt: skip
    assert expand(rule.encode(), int(start.timestamp()), MOST, times) == 1
    return [datetime.fromtimestamp(it, UTC).date() for it in times if it]


@pytest.mark.parametrize("row", [*RFC_5545, *RULES], ids=lambda row: f"{row.rule} {row.start}")
def test_libical_has_the_same_days(row: Row) -> None:
    if row.rule in NOT_IN_LIBICAL:
        pytest.skip(f"libical {NOT_IN_LIBICAL[row.rule]}")
    # The hour of the examples in UTC, which matters where they have one in UNTIL.
    hour = time(13 if row in RFC_5545 else 0, tzinfo=UTC)
    short_months = SHORT_MONTHS if parse(row.rule).implies_month_day else ""
    # It takes a day there for the one before, where the start is an instant.
    rule = re.sub(r"(UNTIL=\d{8})(?=;|$)", r"\1T000000Z", short_months + row.rule)
    days = by_libical(rule, datetime.combine(row.start, hour))
    assert row.fits([day for day in days if row.start < day < date(row.start.year + 101, 1, 1)])
