"""iCalendar (RFC 5545): a VTODO for each task.

PRIORITY 1 is urgent, 2 to 4 high, 5 medium, 6 to 9 low, and 0 none. The library reads and writes
lines, texts and times; it would hold a whole calendar in memory, so that what is inside of what is
followed here, component by component.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import BinaryIO

from icalendar import vText
from icalendar.parser import Contentline

from .export import Export
from .lines import Projects
from .records import Found, LeftOut, Values
from .vcalendar import NAME, Calendars
from .vtodo import PROJECT, STATUSES, task_of

MEDIA_TYPE = "text/calendar"
EXTENSION = "ics"
HAS_TRASH = False
LOST = {
    "start_at": "the time of day, where the due is a day; all of it from that day on",
    "description": "CR of line breaks",
    "comments": "authors, times, CR of line breaks",
    **dict.fromkeys(("tags", "projects"), "all but the names"),
    **dict.fromkeys(("id", "position", "version", "started_at", "cancelled_at"), ""),
    **dict.fromkeys(("recurrences", "trash", "fractions of a second"), ""),
}
EXAMPLE = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:example\r\nBEGIN:VTODO\r\nUID:1\r\n"
    "SUMMARY:Paint the shed\r\nDUE;VALUE=DATE:20260301\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
)

BEGINNING = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//vibetracker//EN\r\n{NAME}\r\n"
END = "END:VCALENDAR\r\n"
SPELLED = {status: name for name, status in STATUSES.items()}
NUMBERS = {"urgent": 1, "high": 3, "medium": 5, "low": 7}


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
    yield f"STATUS:{SPELLED[task['status']]}\r\n"
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
            yield from task_of(found, projects)
