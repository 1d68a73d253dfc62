"""Public: the recurrence rules of RFC 5545 (section 3.3.10), of days to years."""

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime
from functools import lru_cache
from itertools import takewhile
from typing import Any, Final, Literal

from dateutil.rrule import DAILY, MONTHLY, WEEKLY, YEARLY, rrule, weekday, weekdays

from vibetracker.core.api.schema import LAST_YEAR
from vibetracker.features.tasks.calendar import DAY

HORIZON = 100
"""Years after which a rule that has not come by then counts as one that never comes again."""
CYCLE = 400
"""Years after which the Gregorian calendar repeats, the days of the week included."""
FREQUENCIES: Final[dict[str, Literal[0, 1, 2, 3]]] = {
    "DAILY": DAILY,
    "WEEKLY": WEEKLY,
    "MONTHLY": MONTHLY,
    "YEARLY": YEARLY,
}
WEEKDAYS = dict(zip(("MO", "TU", "WE", "TH", "FR", "SA", "SU"), weekdays, strict=True))
LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
MOST_POSITIONS = {DAILY: 1, WEEKLY: 7, MONTHLY: 31, YEARLY: 366}
"""The most days that one period of a frequency has."""


class RuleError(ValueError):
    """A rule cannot be read or says nothing that makes sense; the text says why."""


@dataclass(frozen=True)
class Part:
    """A part of a rule: how its value is spelled, in words and as a pattern, and read."""

    values: str
    pattern: str
    read: Callable[[str], Any]

    def parse(self, text: str, name: str) -> Any:
        """Return the value of the part."""
        if not re.fullmatch(self.pattern, text, re.ASCII):
            raise RuleError(f"{name} is {self.values}")
        return self.read(text)


def _listed(values: str, pattern: str, read: Callable[[str], Any] = int) -> Part:
    def read_all(text: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(read(item) for item in text.split(",")))

    return Part(f"a comma list of {values}", f"{pattern}(,{pattern})*", read_all)


def _weekday(text: str) -> weekday:
    plain = WEEKDAYS[text[-2:]]
    return plain(int(text[:-2])) if text[:-2] else plain


def _until(text: str) -> date:
    form = "%Y%m%dT%H%M%SZ" if "T" in text else "%Y%m%d"
    try:
        moment = datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        raise RuleError("UNTIL is no day of the calendar, or no time of it") from None
    return moment if "T" in text else moment.date()


_DAY_NAMES = "(MO|TU|WE|TH|FR|SA|SU)"
PARTS = {
    "FREQ": Part(
        "DAILY, WEEKLY, MONTHLY or YEARLY", "(DAILY|WEEKLY|MONTHLY|YEARLY)", FREQUENCIES.get
    ),
    "INTERVAL": Part("1 to 999", "[1-9][0-9]{0,2}", int),
    "COUNT": Part("2 to 9999", "([2-9]|[1-9][0-9]{1,3})", int),
    "UNTIL": Part(
        "a date as 20301231, or an instant in UTC as 20301231T235959Z",
        "(19|[2-9][0-9])[0-9]{6}(T[0-9]{6}Z)?",
        _until,
    ),
    "BYDAY": _listed(
        "MO to SU, of months and years also as 1MO or -1FR",
        f"([+-]?(0?[1-9]|[1-4][0-9]|5[0-3]))?{_DAY_NAMES}",
        _weekday,
    ),
    "BYMONTHDAY": _listed("1 to 31 or -31 to -1", "[+-]?(0?[1-9]|[12][0-9]|3[01])"),
    "BYMONTH": _listed("1 to 12", "(0?[1-9]|1[0-2])"),
    "BYSETPOS": _listed(
        "1 to 366 or -366 to -1", "[+-]?([1-9][0-9]?|[12][0-9]{2}|3[0-5][0-9]|36[0-6])"
    ),
    "WKST": Part("MO to SU", _DAY_NAMES, WEEKDAYS.__getitem__),
}
_OTHERS = "|".join(f"{name}={part.pattern}" for name, part in PARTS.items() if name != "FREQ")
PATTERN = f"^FREQ={PARTS['FREQ'].pattern}(;({_OTHERS}))*$"
"""What a rule looks like in a JSON Schema; the other parts can stand in front of FREQ as well."""


@dataclass(frozen=True)
class Rule:
    """A recurrence rule. What it does not say follows from the day that it counts from."""

    freq: Literal[0, 1, 2, 3]
    interval: int = 1
    count: int | None = None
    until: date | None = None
    byday: tuple[weekday, ...] = ()
    bymonthday: tuple[int, ...] = ()
    bymonth: tuple[int, ...] = ()
    bysetpos: tuple[int, ...] = ()
    wkst: weekday = weekdays[0]

    @property
    def implies_month_day(self) -> bool:
        """Whether it falls on the day of the month that it counts from, or a short month's last."""
        return self.freq in {MONTHLY, YEARLY} and not (self.byday or self.bymonthday)

    def days_after(self, day: date, month_day: int, horizon: int) -> Iterator[date]:
        """Yield the days of the rule behind one that it counts from, until the end of a year.

        ``month_day`` is the day of the month that it falls on where it implies one. ``count`` and
        ``until`` are left to the caller: the first is counted by nobody here, and the second may be
        an instant.
        """
        start, parts = day, self._parts()
        if self.implies_month_day:
            # One day stands for each month, and becomes the one that the month has.
            start, parts["bymonthday"] = day.replace(day=1), 1
            parts.setdefault("bymonth", None if self.freq == MONTHLY else day.month)
        elif self.freq == WEEKLY:
            # From the start of the week, since BYSETPOS counts in whole ones.
            start = day - DAY * ((day.weekday() - self.wkst.weekday) % 7)
            parts.setdefault("byweekday", weekdays[day.weekday()])
        # dateutil looks on until the year 9999 for a rule that never comes. In the last cycles of
        # the calendar, with the same days, that takes some milliseconds instead of seconds.
        later = (MAXYEAR - HORIZON - horizon) // CYCLE * CYCLE
        start = start.replace(year=start.year + later)
        moments = rrule(self.freq, start, self.interval, wkst=self.wkst, **parts)
        last = min(horizon, LAST_YEAR - 1) + later
        for moment in takewhile(lambda it: it.year <= last, moments):
            found = moment.date().replace(year=moment.year - later)
            if self.implies_month_day:
                found = found.replace(day=min(month_day, monthrange(found.year, found.month)[1]))
            if found > day:
                yield found

    def _parts(self) -> dict[str, Any]:
        parts = {
            "bymonthday": self.bymonthday,
            "bymonth": self.bymonth,
            "bysetpos": self.bysetpos,
            "byweekday": self._weekdays(),
        }
        return {name: value for name, value in parts.items() if value}

    def _weekdays(self) -> list[weekday]:
        """Return the days of the week; dateutil wants all of them numbered, or none."""
        if not any(day.n for day in self.byday):
            return list(self.byday)
        numbers = range(1, 6 if self.freq == MONTHLY or self.bymonth else 54)
        return [it for day in self.byday for it in ([day] if day.n else [day(n) for n in numbers])]


@lru_cache(maxsize=1024)
def parse(text: str) -> Rule:
    """Read the value of an ``RRULE``; raises ``RuleError``."""
    values: dict[str, Any] = {}
    for part in text.split(";"):
        name, _, value = part.partition("=")
        if name not in PARTS:
            raise RuleError(f"Expected parts as NAME=value between semicolons: {', '.join(PARTS)}")
        if name.lower() in values:
            raise RuleError(f"{name} is there twice")
        values[name.lower()] = PARTS[name].parse(value, name)
    if "freq" not in values:
        raise RuleError("FREQ is missing")
    rule = Rule(**values)
    _check(rule)
    return rule


def _check(rule: Rule) -> None:
    """Refuse what RFC 5545 does not allow together, and days that no calendar has."""
    if rule.count is not None and rule.until is not None:
        raise RuleError("COUNT and UNTIL do not go together")
    if rule.bymonthday and rule.freq == WEEKLY:
        raise RuleError("BYMONTHDAY does not go with WEEKLY")
    if rule.freq not in {MONTHLY, YEARLY} and any(day.n for day in rule.byday):
        raise RuleError("BYDAY has numbers in months and years alone")
    most = 5 if rule.freq == MONTHLY or rule.bymonth else 53
    if any(abs(day.n or 0) > most for day in rule.byday):
        raise RuleError(f"BYDAY has numbers up to {most} here")
    if rule.bysetpos and not (rule.byday or rule.bymonthday or rule.bymonth):
        raise RuleError("BYSETPOS chooses from what another BY part names")
    if any(abs(position) > MOST_POSITIONS[rule.freq] for position in rule.bysetpos):
        raise RuleError(f"BYSETPOS is at most {MOST_POSITIONS[rule.freq]} with this FREQ")
    months = rule.bymonth or range(1, 13)
    longest = max(LONGEST_MONTH[month - 1] for month in months)
    if rule.bymonthday and min(map(abs, rule.bymonthday)) > longest:
        raise RuleError("BYMONTHDAY is no day of these months")


def canonical(text: str) -> str:
    """Return a rule in upper case, FREQ first, as RFC 5545 wants it written; checks it too."""
    parts = text.upper().split(";")
    written = ";".join(sorted(parts, key=lambda part: not part.startswith("FREQ=")))
    parse(written)
    return written
