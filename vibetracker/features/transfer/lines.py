"""The lines of a file of text, whatever its size, and what they often hold."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import BinaryIO

from vibetracker.features.tasks.calendar import LAST_ZONE, last_instant

from .records import Place, Record, Values, broken

MAX_LINE = 512 * 1024
"""Bytes of a line; the longest description has less than half of it."""


def lines_of(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """Read a file from its beginning: each line with its number and its end.

    A problem where it is not UTF-8, or has a line that is longer than any record.
    """
    file.seek(0)
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            raise broken(Place(number), "too_long", f"A line has at most {MAX_LINE} bytes")
        if number == 1:
            line = line.removeprefix(BOM_UTF8)
        try:
            yield number, line.decode()
        except UnicodeDecodeError:
            raise broken(Place(number), "encoding", "The line is not UTF-8") from None


def one_line(text: str) -> str:
    """Return a text as a title can have it."""
    return " ".join(text.split())


class Projects:
    """The projects that the tasks of a file name."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def record(self, name: str, place: Place) -> Iterator[Record]:
        """Yield the record of a project, the first time that it is named."""
        if name not in self._named:
            self._named.add(name)
            yield Record("projects", {"id": name, "name": name}, place, only_named=True)


def put_start(values: Values, start: str | None) -> bool:
    """Put a start into the values of a task; return whether there is room for it before its due."""
    latest = None
    # What is no time at all is found when the record is checked.
    with suppress(ValueError, OverflowError):
        if due := values.get("due_at"):
            latest = datetime.fromisoformat(due)
        elif due := values.get("due_on"):
            latest = last_instant(date.fromisoformat(due), LAST_ZONE)
        if start and latest and datetime.fromisoformat(start) > latest:
            return False
    if start:
        values["start_at"] = start
    return True


def instant(moment: datetime) -> str:
    """Write an instant as records have it."""
    # One that is no instant in UTC is in a year that is refused when the record is checked.
    with suppress(OverflowError):
        moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"
