"""Reads the tables of rules: each with the day that it counts from, and the days that follow."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

from vibetracker.features.recurrences.occurrences import Due, Series

NEW_YORK = ZoneInfo("America/New_York")
MOST = 200
"""How many days of a rule are compared."""


@dataclass(frozen=True)
class Row:
    """A rule of a table."""

    rule: str
    start: date
    days: list[date]
    last: date | None
    """The last day of a rule that ends behind those that are listed."""
    goes_on: bool
    """Whether others follow on those that are listed."""

    @classmethod
    def parse(cls, rule: str, line: str) -> Self:
        """Read the two lines of a row."""
        start, *words = line.replace(":", "").split()
        goes_on = "..." in words
        end = words.index("...") if goes_on else len(words)
        last = [date.fromisoformat(word) for word in words[end + 1 :]]
        days = [date.fromisoformat(word) for word in words[:end]]
        return cls(rule, date.fromisoformat(start), days, last[0] if last else None, goes_on)

    def fits(self, found: list[date]) -> bool:
        """Return whether these are the days of the row, or begin like them."""
        begin = found[: len(self.days)]
        ends = found[-1] == self.last if self.last else True
        return begin == self.days and ends and (len(found) > len(self.days)) == self.goes_on

    def dues(self, due: Due, zone: ZoneInfo) -> list[Due]:
        """Return the dues that follow on one by the rule."""
        series = Series.of(self.rule, zone.key, due)
        return [found for _, found in islice(series.dues(datetime(1900, 1, 1, tzinfo=UTC)), MOST)]


def rows(name: str) -> list[Row]:
    """Read a table."""
    lines = (Path(__file__).parent / name).read_text().splitlines()
    return [Row.parse(*pair) for pair in zip(lines[::2], lines[1::2], strict=True)]


RFC_5545 = rows("rfc5545.txt")
"""The examples of section 3.8.5.3 with the parts that are supported; of 9:00 in New York."""
RULES = rows("rules.txt")
"""Rules of days."""
