"""The rows of Todoist's exports, by the columns that its help page "CSV format" documents."""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from .lines import MAX_ZONE, instant, one_line
from .records import Found, LeftOut, Place, Record, Values

PRIORITIES = {"1": "urgent", "2": "high", "3": "medium", "4": "none"}
DAYS = ("%Y-%m-%d", "%d %b %Y", "%b %d %Y", "%b %d, %Y", "%d/%m/%Y")
TIMES = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", *(f"{day} %H:%M" for day in DAYS))
LEVELS = [str(level) for level in range(1, 100)]
"""Todoist has five of them."""
READ = {
    "task": {"TYPE", "CONTENT", "DESCRIPTION", "PRIORITY", "INDENT", "DATE", "TIMEZONE"},
    "note": {"TYPE", "CONTENT", "AUTHOR"},
}
"""The columns of each type of line."""
NAMES = {
    "title": "CONTENT",
    "tags": "CONTENT",
    "body": "CONTENT",
    "description": "DESCRIPTION",
    "parent_id": "INDENT",
    "due_on": "DATE",
    "due_at": "DATE",
    "author": "AUTHOR",
}
"""The columns of members."""
IGNORED = {"DATE_LANG", "DURATION_UNIT", "DEADLINE_LANG", "IS_COLLAPSED", "MARK_AS_DONE"}
"""Columns that say nothing by themselves."""


class Todoist:
    """Reads one export: the tasks are above those that are indented behind them."""

    def __init__(self) -> None:
        self._above: list[str] = []
        self._last = ""

    def read(self, place: Place, cells: dict[str, str]) -> Iterator[Found]:
        """Read a line."""
        kind = cells.get("TYPE", "").strip()
        if kind not in READ:
            detail = f"Nothing here stores a {kind.partition(',')[0] or 'line without a type'}"
            yield LeftOut(place, "unknown_type", detail)
            return
        for name in sorted(cells.keys() - READ[kind] - IGNORED):
            if cells[name].strip():
                detail = f"Nothing here stores what is in {name} of a {kind}"
                yield LeftOut(place, "unknown_column", detail, (kind, name))
        yield from (self._task if kind == "task" else self._note)(place, cells)

    def _task(self, place: Place, cells: dict[str, str]) -> Iterator[Found]:
        self._last = f"line {place.line}"
        indent = cells.get("INDENT", "").strip() or "1"
        level = int(indent) if indent in LEVELS else 1
        if indent not in LEVELS:
            yield LeftOut(place, "indent", f"The INDENT is none of 1 to {len(LEVELS)}", ("indent",))
        above = self._above[: max(0, level - 1)]
        self._above = [*above, self._last]
        values: Values = {"id": self._last, "parent_id": above[-1] if above else None}
        words = one_line(cells.get("CONTENT", "")).split(" ")
        labels = [it for it in words if it.startswith("@") and len(it) > 1 and "," not in it]
        title = [word for word in words if word not in labels] or words
        values["title"] = " ".join(title)
        values["tags"] = [label[1:] for label in labels]
        values["description"] = cells.get("DESCRIPTION", "")
        priority = cells.get("PRIORITY", "").strip() or "4"
        values["priority"] = PRIORITIES.get(priority, "none")
        if priority not in PRIORITIES:
            yield LeftOut(place, "priority", "The priority is none of 1 to 4", ("priority",))
        yield from self._due(place, cells, values)
        yield Record("tasks", values, place, is_foreign=True)

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
                if zone is None:
                    detail = "A time without a zone that is known is taken for UTC"
                    yield LeftOut(place, "zone", detail, ("zone",))
                values["due_at"] = instant(moment.replace(tzinfo=zone or UTC))
                return
        yield LeftOut(place, "due", "The date is no day of the calendar, or comes again and again")

    def _note(self, place: Place, cells: dict[str, str]) -> Iterator[Found]:
        if not self._last:
            yield LeftOut(place, "note", "The note is not behind a task")
            return
        author = one_line(cells.get("AUTHOR", "")).partition(" (")[0]
        comment = {"task_id": self._last, "body": cells.get("CONTENT", ""), "author": author}
        yield Record("comments", comment, place, is_foreign=True)


def _parsed(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - the zone is in another column
    except ValueError:
        return None


def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name[:MAX_ZONE])
    except (KeyError, OSError, ValueError):
        return None
