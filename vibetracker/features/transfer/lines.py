"""The lines of a file of text, whatever its size, and what they often hold."""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import BinaryIO

from vibetracker.features.tasks.calendar import LAST_ZONE, last_instant

from .records import LeftOut, Place, Record, Values, broken

MAX_LINE = 512 * 1024
"""Bytes of a line; the longest description has less than half of it."""
MAX_LINES = 5_000_000
"""Of a file; the most records with a dozen lines each have less."""
BREAKS = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
"""White space that no title has."""
MAX_ZONE = 100
"""Characters of the name of a time zone; a longer one may be of many levels of folders."""


def lines_of(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """Read a file from its beginning: each line with its number and its end.

    A problem where it is not UTF-8, or has a line that is longer than any record.
    """
    for number, line in bytes_of(file):
        yield number, text_of(line, number)


def text_of(line: bytes, number: int) -> str:
    """Return the text of a line; a problem where it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise broken(Place(number), "encoding", "The line is not UTF-8") from None


def bytes_of(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Read the lines of a file before they are decoded."""
    file.seek(0)
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if number > MAX_LINES:
            raise broken(Place(number), "too_many", f"A file has at most {MAX_LINES} lines")
        if len(line) == MAX_LINE:
            raise broken(Place(number), "too_long", f"A line has at most {MAX_LINE} bytes")
        if number == 1:
            line = line.removeprefix(BOM_UTF8)
        yield number, line


def one_line(text: str) -> str:
    """Return a text as a title can have it."""
    return " ".join(filter(None, map(str.strip, BREAKS.split(text))))


class Projects:
    """The projects that the tasks of a file name."""

    def __init__(self, *, is_foreign: bool = True) -> None:
        self._is_foreign = is_foreign
        self._named: set[str] = set()

    def put(self, values: Values, name: str, place: Place) -> Iterator[Record]:
        """Put a project into the values of a task; yield its record the first time it is named.

        Nothing for no name.
        """
        if not name:
            return
        values["project_id"] = name
        if name not in self._named:
            self._named.add(name)
            named = {"id": name, "name": name}
            yield Record("projects", named, place, only_named=True, is_foreign=self._is_foreign)


def put_start(values: Values, start: str | None, place: Place) -> Iterator[LeftOut]:
    """Put a start into the values of a task, unless it lies behind the due."""
    latest, is_behind = None, False
    # What is no time at all is found when the record is checked.
    with suppress(ValueError, OverflowError):
        if due := values.get("due_at"):
            latest = datetime.fromisoformat(due)
        elif due := values.get("due_on"):
            latest = last_instant(date.fromisoformat(due), LAST_ZONE)
        if start and latest:
            is_behind = datetime.fromisoformat(start) > latest
    if is_behind:
        yield LeftOut(
            place.of("start_at"), "start_after_due", "A task cannot start after it is due"
        )
    elif start:
        values["start_at"] = start


def instant(moment: datetime) -> str:
    """Write an instant as records have it."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        # In any zone it is in a year that is found when the record is checked.
        moment = moment.replace(tzinfo=UTC)
    return moment.isoformat(timespec="microseconds")
