"""The rows of Todoist's exports, by the columns that its help page "CSV format" documents."""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from .lines import instant, one_line
from .records import Found, LeftOut, Place, Record, Values

PRIORITIES = {"1": "urgent", "2": "high", "3": "medium", "4": "none"}
DAYS = ("%Y-%m-%d", "%d %b %Y", "%b %d %Y", "%b %d, %Y", "%d/%m/%Y")
TIMES = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", *(f"{day} %H:%M" for day in DAYS))
READ = {"TYPE", "CONTENT", "DESCRIPTION", "PRIORITY", "INDENT", "DATE", "TIMEZONE", "AUTHOR"}
IGNORED = {"DATE_LANG", "DURATION_UNIT", "DEADLINE_LANG", "IS_COLLAPSED", "MARK_AS_DONE"}
"""Columns that say nothing by themselves."""


class Todoist:
    """Reads one export: the tasks are above those that are indented behind them."""

    def __init__(self) -> None:
        self._above: list[str] = []
        self._last = ""

    def read(self, place: Place, cells: dict[str, str]) -> Iterator[Found]:
        """Read a line."""
        match cells.get("TYPE", "").strip():
            case "task":
                yield from self._task(place, cells)
            case "note":
                yield from self._note(place, cells)
            case kind:
                detail = f"Nothing here stores a {kind.partition(',')[0] or 'line without a type'}"
                yield LeftOut(place, "unknown_type", detail)

    def _task(self, place: Place, cells: dict[str, str]) -> Iterator[Found]:
        self._last = f"line {place.line}"
        indent = cells.get("INDENT", "").strip() or "1"
        level = int(indent) if indent.isascii() and indent.isdigit() else 1
        above = self._above[: max(0, level - 1)]
        self._above = [*above, self._last]
        values: Values = {"id": self._last, "parent_id": above[-1] if above else None}
        words = one_line(cells.get("CONTENT", "")).split(" ")
        labels = [word for word in words if word.startswith("@") and len(word) > 1]
        title = [word for word in words if word not in labels] or words
        values["title"] = " ".join(title)
        values["tags"] = [label[1:] for label in labels if "," not in label]
        values["description"] = cells.get("DESCRIPTION", "")
        values["priority"] = PRIORITIES.get(cells.get("PRIORITY", "").strip(), "none")
        yield from self._due(place, cells, values)
        for name in sorted(cells.keys() - READ - IGNORED):
            if cells[name].strip():
                detail = f"Nothing here stores what is in {name}"
                yield LeftOut(place, "unknown_column", detail, (name,))
        yield Record("tasks", values, place)

    def _due(self, place: Place, cells: dict[str, str], values: Values) -> Iterator[Found]:
        date = one_line(cells.get("DATE", ""))
        if not date:
            return
        for form in DAYS:
            if moment := _parsed(date, form):
                values["due_on"] = f"{moment:%Y-%m-%d}"
                return
        for form in TIMES:
            if moment := _parsed(date, form):
                zone = UTC if form.endswith("Z") else _zone(cells.get("TIMEZONE", "").strip())
                values["due_at"] = instant(moment.replace(tzinfo=zone))
                return
        yield LeftOut(place, "due", "The date is no day of the calendar, or comes again and again")

    def _note(self, place: Place, cells: dict[str, str]) -> Iterator[Found]:
        if not self._last:
            yield LeftOut(place, "note", "The note is not behind a task")
            return
        author = one_line(cells.get("AUTHOR", "")).partition(" (")[0]
        body = cells.get("CONTENT", "")
        yield Record("comments", {"task_id": self._last, "body": body, "author": author}, place)


def _parsed(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - the zone is in another column
    except ValueError:
        return None


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        return UTC
