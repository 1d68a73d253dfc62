"""The time zones that a calendar defines itself (RFC 5545 section 3.6.5)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice

from dateutil.relativedelta import relativedelta
from dateutil.rrule import weekdays
from icalendar import vUTCOffset

MOST = 20
"""Onsets and rules of a zone."""
ONCE = relativedelta()
DAYS = {str(day): day for day in weekdays}
RULE = re.compile(
    r"FREQ=YEARLY(;INTERVAL=1|;WKST=[A-Z]{2}|;UNTIL=(?P<until>[\dTZ]+)"
    rf"|;BYMONTH=(?P<month>0?[1-9]|1[0-2])|;BYDAY=(?P<week>[+-]?[1-4])(?P<day>{'|'.join(DAYS)}))*",
    re.ASCII,
)
"""Once a year: on the day of the first onset, or on a day of the week in a month."""

type Properties = Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class Observance:
    """Standard or daylight time: when it begins, on the clocks before that, and its offset."""

    onset: datetime
    before: timedelta
    offset: timedelta
    yearly: relativedelta = ONCE
    """Where it begins in each year."""
    until: datetime | None = None

    def latest(self, local: datetime) -> datetime | None:
        """Return the last onset that is not after a local time."""
        # A time that the clocks leave out has the offset before (section 3.3.5).
        last = local - max(self.offset - self.before, timedelta())
        last = min(last, self.until or last)
        if self.yearly is ONCE:
            return self.onset if self.onset <= last else None
        years = range(max(self.onset.year, last.year - 1), last.year + 1)
        onsets = (_onset(self, year) for year in years)
        return max((onset for onset in onsets if self.onset <= onset <= last), default=None)


@lru_cache(maxsize=1024)
def _onset(observance: Observance, year: int) -> datetime:
    return observance.onset + relativedelta(year=year) + observance.yearly


class Zone(tzinfo):
    """A time zone of some observances."""

    def __init__(self, observances: Sequence[Observance]) -> None:
        self._observances = observances

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Return the offset of the observance with the latest onset."""
        if moment is None:
            return None
        local = moment.replace(tzinfo=None)
        begun = [(onset, it.offset) for it in self._observances if (onset := it.latest(local))]
        return max(begun)[1] if begun else min(self._observances, key=lambda it: it.onset).before

    def fromutc(self, moment: datetime) -> datetime:
        """Return a time in UTC as on these clocks."""
        guess = moment + (self.utcoffset(moment) or timedelta())
        return moment + (self.utcoffset(guess) or timedelta())

    def dst(self, _: datetime | None) -> None:
        """Return None for not known, as for the name."""

    tzname = dst


def zone_of(observances: Sequence[Properties]) -> Zone | None:
    """Return the zone of some observances; None where there is more to them than is read."""
    try:
        found = [*islice((it for each in observances for it in _read(each)), MOST + 1)]
    except (LookupError, OverflowError, ValueError):
        return None
    return Zone(found) if 0 < len(found) <= MOST else None


def _read(properties: Properties) -> Iterator[Observance]:
    before, offset = (_offset(properties[name][0]) for name in ("TZOFFSETFROM", "TZOFFSETTO"))
    onset = _local(properties["DTSTART"][0], before)
    yield Observance(onset, before, offset)
    for text in ",".join(properties.get("RDATE", ())).split(","):
        if text:
            yield Observance(_local(text, before), before, offset)
    for line in properties.get("RRULE", ()):
        rule = RULE.fullmatch(line.strip().upper())
        if rule is None or (rule["day"] and not rule["month"]):
            raise ValueError(line)
        yearly = relativedelta(month=int(rule["month"] or onset.month))
        if rule["day"]:
            week = int(rule["week"])
            yearly += relativedelta(day=1 if week > 0 else 31, weekday=DAYS[rule["day"]](week))
        until = _local(rule["until"], before) if rule["until"] else None
        yield Observance(onset, before, offset, yearly, until)


def _offset(text: str) -> timedelta:
    offset: timedelta = vUTCOffset.from_ical(text.strip())  # type: ignore[no-untyped-call] # it has no types
    return offset


def _local(text: str, offset: timedelta) -> datetime:
    """Read a time; one in UTC as on clocks of an offset."""
    moment = datetime.fromisoformat(text.strip())
    return (moment + offset if moment.tzinfo else moment).replace(tzinfo=None)
