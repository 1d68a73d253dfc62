"""iCalendar (RFC 5545): a VTODO for each task.

PRIORITY 1 is urgent, 2 to 4 high, 5 medium, 6 to 9 low, and 0 none. The library reads and writes
lines, texts and times; it would hold a whole calendar in memory, so that what is inside of what is
followed here, component by component.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Any, BinaryIO

from icalendar import vText
from icalendar.parser import Contentline, split_on_unescaped_comma, unescape_backslash

from .export import Export
from .lines import Projects, instant, one_line, put_start
from .records import Found, LeftOut, Record, Values, broken
from .vcalendar import Calendars, Todo

MEDIA_TYPE = "text/calendar"
EXTENSION = "ics"
HAS_TRASH = False
EXAMPLE = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:example\r\nBEGIN:VTODO\r\nUID:1\r\n"
    "SUMMARY:Paint the shed\r\nDUE;VALUE=DATE:20260301\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
)

BEGINNING = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//vibetracker//EN\r\nX-WR-CALNAME:Tasks\r\n"
END = "END:VCALENDAR\r\n"
STATUSES = {
    "NEEDS-ACTION": "todo",
    "IN-PROCESS": "in_progress",
    "COMPLETED": "done",
    "CANCELLED": "cancelled",
}
NAMES = {status: name for name, status in STATUSES.items()}
PRIORITIES = ["none", "urgent", "high", "high", "high", "medium", "low", "low", "low", "low"]
NUMBERS = {"urgent": 1, "high": 3, "medium": 5, "low": 7}
PROJECT = "X-VIBETRACKER-PROJECT"
READ = {
    *("UID", "SUMMARY", "DESCRIPTION", "STATUS", "PRIORITY", "DUE", "DTSTART", "DURATION"),
    *("COMPLETED", "CREATED", "LAST-MODIFIED", "CATEGORIES", "COMMENT", "RELATED-TO", PROJECT),
}
STAMPS = {"CREATED": "created_at", "LAST-MODIFIED": "updated_at", "COMPLETED": "completed_at"}
TIMES = ("DUE", "DTSTART", "DURATION", *STAMPS)
IGNORED = {"DTSTAMP", "SEQUENCE", "PERCENT-COMPLETE", "X-WR-CALNAME"}
"""Properties that follow from others, or say nothing of the task."""


def write(export: Export) -> Iterator[bytes]:
    """Write the live tasks; comments are their COMMENTs."""
    projects = export.names("projects")
    yield BEGINNING.encode()
    for portion in export.portions("tasks"):
        comments = export.belonging("comments", "task_id", portion)
        parts = []
        for task in portion:
            project = projects.get(task.get("project_id") or 0)
            said = [comment["body"] for comment in comments.get(task["id"], [])]
            parts += [*_head(task, "VTODO"), *_todo(task, project), *_texts("COMMENT", said)]
            parts += ["END:VTODO\r\n"]
        yield "".join(parts).encode()
    yield END.encode()


def write_events(export: Export) -> Iterator[bytes]:
    """Write the live tasks as events at their dues, for calendars that show no tasks."""
    yield BEGINNING.encode()
    for portion in export.portions("tasks"):
        parts = []
        for task in portion:
            parts += [*_head(task, "VEVENT"), *_moment("DTSTART", task["due_on"] or task["due_at"])]
            parts += ["TRANSP:TRANSPARENT\r\n", "END:VEVENT\r\n"]
        yield "".join(parts).encode()
    yield END.encode()


def _head(task: Values, component: str) -> Iterator[str]:
    yield f"BEGIN:{component}\r\nUID:{_uid(task['id'])}\r\n"
    yield from _moment("DTSTAMP", task["updated_at"])
    yield from _moment("CREATED", task["created_at"])
    yield from _moment("LAST-MODIFIED", task["updated_at"])
    yield from _texts("SUMMARY", [task["title"]])
    if task["description"]:
        yield from _texts("DESCRIPTION", [task["description"]])
    if task["tags"]:
        names = ",".join(vText(tag).to_ical().decode() for tag in task["tags"])
        yield _folded(f"CATEGORIES:{names}")


def _todo(task: Values, project: str | None) -> Iterator[str]:
    yield f"STATUS:{NAMES[task['status']]}\r\n"
    if task["priority"] in NUMBERS:
        yield f"PRIORITY:{NUMBERS[task['priority']]}\r\n"
    due, start = task["due_on"] or task["due_at"], task["start_at"]
    if due:
        yield from _moment("DUE", due)
    if start and task["due_on"]:
        # Both of one type (RFC 5545 section 3.8.2.3), and the due is the later one.
        start = start.date() if start.date() < task["due_on"] else None
    if start:
        yield from _moment("DTSTART", start)
    if task["completed_at"]:
        yield from _moment("COMPLETED", task["completed_at"])
    if task["parent_id"]:
        yield f"RELATED-TO:{_uid(task['parent_id'])}\r\n"
    if project:
        yield from _texts(PROJECT, [project])


def _uid(task_id: int) -> str:
    return f"task-{task_id}@vibetracker"


def _texts(name: str, texts: list[str]) -> Iterator[str]:
    for text in texts:
        yield _folded(f"{name}:{vText(text).to_ical().decode()}")


def _folded(line: str) -> str:
    folded: bytes = Contentline(line).to_ical()  # type: ignore[no-untyped-call] # it has no types
    return f"{folded.decode()}\r\n"


def _moment(name: str, moment: date) -> Iterator[str]:
    if isinstance(moment, datetime):
        yield f"{name}:{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}\r\n"
    else:
        yield f"{name};VALUE=DATE:{moment:%Y%m%d}\r\n"


def read(file: BinaryIO) -> Iterator[Found]:
    """Read the VTODOs of calendars."""
    projects = Projects()
    for found in Calendars(file).todos():
        if isinstance(found, LeftOut):
            yield found
        else:
            yield from _task(found, projects)


def _task(todo: Todo, projects: Projects) -> Iterator[Found]:
    place, properties = todo.place, todo.properties
    if "RECURRENCE-ID" in properties:
        yield LeftOut(place, "occurrence", "An occurrence of a task that comes again is left out")
        return
    for name in sorted(properties.keys() - READ - IGNORED):
        yield LeftOut(place, "unknown_property", f"Nothing here stores {name}", (name,))
    values: Values = {
        "title": one_line(todo.text("SUMMARY")),
        "description": todo.text("DESCRIPTION"),
        "status": _status(todo),
        "priority": _priority(todo),
        "tags": [
            tag.replace(",", " ")
            for _, line in properties.get("CATEGORIES", [])
            for tag in split_on_unescaped_comma(line)
            if tag.strip()
        ],
    }
    if uid := todo.text("UID"):
        values["id"] = uid
    for parameters, parent in properties.get("RELATED-TO", []):
        is_parent = str(parameters.get("RELTYPE", "PARENT")).upper() == "PARENT"
        if is_parent and "parent_id" not in values:
            values["parent_id"] = unescape_backslash(parent)
        else:
            yield LeftOut(place, "relation", "Nothing here stores such a relation", ("relation",))
    yield from _times(todo, values)
    yield from projects.put(values, one_line(todo.text(PROJECT)), place)
    yield Record("tasks", values, place)
    for _, comment in properties.get("COMMENT", []):
        if not uid:
            raise broken(place, "uid", "A VTODO has a UID")
        if comment.strip():
            yield Record("comments", {"task_id": uid, "body": unescape_backslash(comment)}, place)


def _status(todo: Todo) -> str:
    status = todo.text("STATUS").strip().upper()
    if not status:
        is_done = "COMPLETED" in todo.properties or todo.text("PERCENT-COMPLETE").strip() == "100"
        return "done" if is_done else "todo"
    if status not in STATUSES:
        raise broken(todo.place, "status", f"Expected one of {', '.join(STATUSES)}", "STATUS")
    return STATUSES[status]


def _priority(todo: Todo) -> str:
    number = todo.text("PRIORITY").strip() or "0"
    if len(number) != 1 or number not in "0123456789":
        raise broken(todo.place, "priority", "Expected a number from 0 to 9", "PRIORITY")
    return PRIORITIES[int(number)]


def _due(todo: Todo, moments: Values) -> Any:
    if "DUE" in moments or not {"DTSTART", "DURATION"} <= moments.keys():
        return moments.get("DUE")
    try:
        return moments["DTSTART"] + moments["DURATION"]
    except OverflowError:
        detail = "This is beyond the end of the calendar"
        raise broken(todo.place, "time", detail, "DURATION") from None


def _times(todo: Todo, values: Values) -> Iterator[Found]:
    moments = {name: moment for name in TIMES if (moment := todo.time(name)) is not None}
    for name, moment in moments.items():
        if isinstance(moment, datetime) and moment.tzinfo is None:
            moments[name] = moment.replace(tzinfo=UTC)
            detail = "A time without a zone that is known is taken for UTC"
            yield LeftOut(todo.place, "zone", detail, ("zone",))
    due, start = _due(todo, moments), moments.get("DTSTART")
    if isinstance(due, datetime):
        values["due_at"] = instant(due)
    elif due is not None:
        values["due_on"] = due.isoformat()
    if start is not None and not isinstance(start, datetime):
        start = datetime.combine(start, time.min, UTC)
    yield from put_start(values, instant(start) if start else None, todo.place)
    for name, member in STAMPS.items():
        is_fit = name != "COMPLETED" or values["status"] == "done"
        if is_fit and isinstance(moments.get(name), datetime):
            values[member] = instant(moments[name])
