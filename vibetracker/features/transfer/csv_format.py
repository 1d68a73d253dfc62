"""CSV (RFC 4180): this service's own tables of tasks, and the exports of Todoist.

A cell that begins like a formula is written behind an apostrophe, so that no spreadsheet runs it;
one that begins so when it is read loses the apostrophe again.
"""

import csv
from collections.abc import Callable, Iterator
from datetime import datetime
from io import StringIO
from typing import BinaryIO

from . import todoist
from .export import Export
from .lines import Projects, instant, lines_of
from .records import Found, Place, Record, Values, broken

MEDIA_TYPE = "text/csv"
EXTENSION = "csv"
EXAMPLE = 'title,tags,due_on\r\nPaint the shed,"garden,home",2026-03-01\r\n'
HAS_TRASH = True
LOST = {
    **dict.fromkeys(("position", "version", "comments", "recurrences"), ""),
    **dict.fromkeys(("tags", "projects"), "all but the names"),
}

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""How a cell begins that a spreadsheet may run, or that is written behind an apostrophe."""
COLUMNS = (
    *("id", "title", "description", "status", "priority", "due_on", "due_at", "start_at"),
    *("parent_id", "project", "tags", "started_at", "completed_at", "cancelled_at"),
    *("created_at", "updated_at", "deleted_at", "deleted_with"),
)
NAMES = {"project_id": "project", "name": "project"}
"""The columns of members that have another name here."""
NUMBERS = {"id", "parent_id", "deleted_with"}
MAX_DIGITS = 16

type Rows = Iterator[tuple[int, list[str]]]
"""The cells of each row, with the line that it begins in."""
type ReadRow = Callable[[Place, dict[str, str]], Iterator[Found]]


def write(export: Export) -> Iterator[bytes]:
    """Write a table of the tasks."""
    projects = export.names("projects")
    yield _lines([list(COLUMNS)])
    for portion in export.portions("tasks"):
        yield _lines([_cells(task, projects) for task in portion])


def _lines(rows: list[list[str]]) -> bytes:
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cells(task: Values, projects: dict[int, str]) -> list[str]:
    project = projects.get(task.get("project_id") or 0, "")
    values = {**task, "project": project, "tags": ",".join(task["tags"])}
    return [_guarded(_text(values[name])) for name in COLUMNS]


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return instant(value)
    return "" if value is None else str(value)


def _guarded(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _bare(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def read(file: BinaryIO) -> Iterator[Found]:
    """Read a table, whose first line says whose it is."""
    rows = _rows(file)
    line, header = next(rows, (1, []))
    place = Place(line)
    names = [name.strip() for name in header]
    read_row: ReadRow
    if {"TYPE", "CONTENT"} <= set(names):
        read_row, members = todoist.Todoist().read, todoist.NAMES
    elif "title" in names:
        read_row, members = _Own().read, NAMES
    else:
        detail = "Expected the columns of Todoist, or those of this service with a title"
        raise broken(place, "columns", detail)
    if len(set(names)) < len(names):
        raise broken(place, "repeated", "A column can be given once")
    for line, cells in rows:
        if not any(cells):
            continue
        place = Place(line, names=members)
        if len(cells) > len(names):
            raise broken(place, "too_many_cells", "The line has more cells than the first one")
        yield from read_row(place, dict(zip(names, cells, strict=False)))


def _rows(file: BinaryIO) -> Rows:
    lines = lines_of(file)
    first = next(lines, (1, ""))[1]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader((line for _, line in lines_of(file)), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise broken(Place(line), "csv", f"The line is no CSV: {error}") from None


class _Own:
    """Reads the tables that this service writes, or that have some of its columns."""

    def __init__(self) -> None:
        self._projects = Projects(is_foreign=False)

    def read(self, place: Place, cells: dict[str, str]) -> Iterator[Found]:
        """Read a line."""
        values: Values = {name: _bare(cell) for name, cell in cells.items() if cell}
        for name in NUMBERS & values.keys():
            number = values[name]
            if number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS:
                values[name] = int(number)
        if "tags" in values:
            values["tags"] = [tag for tag in values["tags"].split(",") if tag.strip()]
        yield from self._projects.put(values, values.pop("project", ""), place)
        yield Record("tasks", values, place)
