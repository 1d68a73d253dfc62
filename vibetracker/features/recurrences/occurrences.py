"""Public: when a task comes again; the dues of a rule, by the wall clock of a zone."""

from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from itertools import islice
from typing import Any, Self
from zoneinfo import ZoneInfo

from vibetracker.features.tasks.calendar import DAY, last_instant

from . import rules
from .rules import HORIZON, Rule

type Due = date
"""The day of a ``due_on``, or the instant of a ``due_at`` in UTC."""


def due_of(task: Mapping[str, Any]) -> Due | None:
    """Return the due of a task's members, if it has one."""
    due: Due | None = task["due_on"] or task["due_at"]
    return due


def dues_of(due: Due) -> dict[str, Due | None]:
    """Return the members that a task with this due has."""
    is_instant = isinstance(due, datetime)
    return {"due_on": None if is_instant else due, "due_at": due if is_instant else None}


@dataclass(frozen=True)
class Series:
    """The dues that follow on one: days, or instants at the same time on the wall clock.

    A time that clocks skip is read with the offset before the gap, and of one that comes twice the
    first is meant (RFC 5545, section 3.3.5).
    """

    rule: Rule
    zone: ZoneInfo
    day: date
    """The day that the rule counts from."""
    anchor: date
    """The day of the month that dues keep to, and their time on the wall clock, without a zone.

    They are those of the due, unless its month was too short or its time was skipped.
    """

    @classmethod
    def of(cls, rule: str, zone: str, due: Due, anchor: str | None = None) -> Self:
        """Return the series that follows on a due.

        ``anchor`` is that of the due before, in ISO 8601. A due that was moved by hand does not
        fit it, and is an anchor itself.
        """
        parsed, where = rules.parse(rule), ZoneInfo(zone)
        old = None if anchor is None else datetime.fromisoformat(anchor)
        if not isinstance(due, datetime):
            return cls(parsed, where, due, _kept(old, due))
        local = due.astimezone(where).replace(tzinfo=None)
        day, clock = local.date(), local.time()
        if old and anchor and "T" in anchor:
            # Where clocks skip midnight, a due late in the evening is one of the next day.
            for nominal in (day, day - DAY):
                if _instant(nominal, old.time(), where) == due:
                    day, clock = nominal, old.time()
                    break
        return cls(parsed, where, day, datetime.combine(_kept(old, day), clock))

    def from_day_of(self, completed_at: datetime) -> Self:
        """Return the series at the same time of day that counts from the day of a completion."""
        return self.from_day(completed_at.astimezone(self.zone).date())

    def from_day(self, day: date) -> Self:
        """Return the series at the same time of day that counts from a day, its own anchor."""
        clock = self._clock
        return replace(
            self, day=day, anchor=datetime.combine(day, clock) if clock is not None else day
        )

    def dues(self, now: datetime, number: int = 1) -> Iterator[tuple[int, Due]]:
        """Yield the dues that lie behind ``now``, each with its number among all of the rule.

        ``number`` is that of the due that the series follows on. What has passed is counted too.
        A day is due at its last instant. The end is that of the rule, or a century away.
        """
        count = self.rule.count
        left = None if count is None else max(0, count - number)
        last_year = max(self.day.year, now.year) + HORIZON
        following = enumerate(islice(self._from_day(last_year), left), number + 1)
        return ((index, due) for index, due in following if self.end(due) > now)

    @property
    def _clock(self) -> time | None:
        return self.anchor.time() if isinstance(self.anchor, datetime) else None

    def _from_day(self, last_year: int) -> Iterator[Due]:
        previous = self._due(self.day)
        for day in self.rule.days_after(self.day, self.anchor.day, last_year):
            due = self._due(day)
            if self._is_over(day, due):
                return
            # A day that a zone has skipped is the next one there.
            if due > previous:
                yield due
            previous = due

    def _due(self, day: date) -> Due:
        return day if self._clock is None else _instant(day, self._clock, self.zone)

    def end(self, due: Due) -> datetime:
        """Return the instant at which something is due."""
        return due if isinstance(due, datetime) else last_instant(due, self.zone)

    def _is_over(self, day: date, due: Due) -> bool:
        """Return whether a due is behind ``UNTIL``, which is a day or an instant itself."""
        until = self.rule.until
        if isinstance(until, datetime):
            return due > (
                until if isinstance(due, datetime) else until.astimezone(self.zone).date()
            )
        return until is not None and day > until


def _instant(day: date, clock: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, clock, zone).astimezone(UTC)


def _kept(old: datetime | None, day: date) -> date:
    """Return a day of the month that is the old one, where this month is too short for that."""
    if old and (old.day == day.day or old.day > day.day == monthrange(day.year, day.month)[1]):
        return old.date()
    return day
