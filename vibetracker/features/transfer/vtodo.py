"""The VTODOs of calendars (RFC 5545), as tasks."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from icalendar import vDuration
from icalendar.parser import split_on_unescaped_comma, unescape_backslash

from vibetracker.core.api.text import trimmed

from .lines import Projects, instant, one_line, put_start
from .records import Found, LeftOut, Place, Record, Values, broken
from .rrule import recurrence
from .vcalendar import Todo

STATUSES = {
    "NEEDS-ACTION": "todo",
    "IN-PROCESS": "in_progress",
    "COMPLETED": "done",
    "CANCELLED": "cancelled",
}
PRIORITIES = ["none", "urgent", "high", "high", "high", "medium", "low", "low", "low", "low"]
PROJECT = "X-VIBETRACKER-PROJECT"
UNTITLED = "Untitled"

STAMPS = {"CREATED": "created_at", "LAST-MODIFIED": "updated_at", "COMPLETED": "completed_at"}
TIMES = ("DUE", "DTSTART", "DURATION", *STAMPS)
SEVERAL = {"CATEGORIES", "COMMENT", "RELATED-TO"}
"""Properties that a VTODO may have more than once."""
ONCE = {
    *("UID", "SUMMARY", "DESCRIPTION", "STATUS", "PRIORITY", "PERCENT-COMPLETE", "RRULE"),
    *(PROJECT, *TIMES),
}
IGNORED = {"DTSTAMP", "SEQUENCE"}
"""Properties that follow from others, or say nothing of the task."""
NAMES = {
    "id": "UID",
    "title": "SUMMARY",
    "description": "DESCRIPTION",
    "due_on": "DUE",
    "due_at": "DUE",
    "start_at": "DTSTART",
    "parent_id": "RELATED-TO",
    "tags": "CATEGORIES",
    "project_id": PROJECT,
    "name": PROJECT,
    "body": "COMMENT",
    "rule": "RRULE",
    "time_zone": "TZID",
    **{member: name for name, member in STAMPS.items()},
}
"""The properties that members are from."""


def task_of(todo: Todo, projects: Projects) -> Iterator[Found]:
    """Read a task, and what belongs to it."""
    place, properties = replace(todo.place, names=NAMES), todo.properties
    if "RECURRENCE-ID" in properties:
        yield LeftOut(place, "occurrence", "An occurrence of a task that comes again is left out")
        return
    yield from _unread(todo)
    uid = todo.text("UID") or f"line {place.line}"
    values: Values = {
        "id": uid,
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
    yield from _put_title(todo, values)
    yield from _put_parent(todo, values)
    moments = {name: moment for name in TIMES if (moment := todo.time(name)) is not None}
    yield from _put_times(todo, moments, values, place)
    yield from projects.put(values, one_line(todo.text(PROJECT)), place)
    yield Record("tasks", values, place, is_foreign=True)
    if "RRULE" in properties:
        yield from recurrence(todo.text("RRULE"), moments, values, place)
    for _, text in properties.get("COMMENT", []):
        if text:
            comment = {"task_id": uid, "body": unescape_backslash(text)}
            yield Record("comments", comment, place, is_foreign=True)


def _unread(todo: Todo) -> Iterator[LeftOut]:
    for name, values in sorted(todo.properties.items()):
        if name not in {*ONCE, *SEVERAL, *IGNORED}:
            detail = f"Nothing here stores {name}"
            yield LeftOut(todo.place, "unknown_property", detail, (name,))
        elif name in ONCE and len(values) > 1:
            yield LeftOut(todo.place, "repeated", f"Of several {name} the first one is read")
    if todo.text("PERCENT-COMPLETE").strip() not in {"", "0", "100"}:
        detail = "Nothing here stores how much of a task is done"
        yield LeftOut(todo.place, "unknown_property", detail, ("PERCENT-COMPLETE",))


def _put_title(todo: Todo, values: Values) -> Iterator[LeftOut]:
    first_line = values["description"].strip().partition("\n")[0]
    titles = (one_line(todo.text("SUMMARY")), one_line(first_line), UNTITLED)
    values["title"] = next(filter(trimmed, titles))
    if values["title"] != titles[0]:
        detail = f"Without a SUMMARY the task is called by its DESCRIPTION, or {UNTITLED}"
        yield LeftOut(todo.place, "no_title", detail)


def _put_parent(todo: Todo, values: Values) -> Iterator[LeftOut]:
    for parameters, parent in todo.properties.get("RELATED-TO", []):
        is_parent = str(parameters.get("RELTYPE", "PARENT")).upper() == "PARENT"
        if is_parent and "parent_id" not in values:
            values["parent_id"] = unescape_backslash(parent)
        else:
            detail = "Nothing here stores such a relation"
            yield LeftOut(todo.place, "relation", detail, ("relation",))


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


def _put_due(todo: Todo, moments: Values, place: Place) -> Iterator[LeftOut]:
    """Let ``DUE`` be what follows from a ``DURATION``."""
    if "DURATION" not in moments:
        return
    if "DUE" in moments or "DTSTART" not in moments:
        yield LeftOut(place, "duration", "A DURATION means something with a DTSTART, without a DUE")
        return
    start, duration = moments["DTSTART"], moments["DURATION"]
    try:
        if isinstance(start, datetime):
            # Days are those of the calendar, and hours are exact (RFC 5545 section 3.3.6).
            text = todo.text("DURATION").strip().partition("T")[0]
            days: timedelta = vDuration.from_ical(text)  # type: ignore[no-untyped-call] # it has no types
            exact = (start + days).astimezone(UTC) + (duration - days)
            moments["DUE"] = exact.astimezone(start.tzinfo)
        else:
            moments["DUE"] = start + duration
    except OverflowError:
        detail = "This is beyond the end of the calendar"
        raise broken(place, "time", detail, "DURATION") from None


def _put_times(todo: Todo, moments: Values, values: Values, place: Place) -> Iterator[LeftOut]:
    """Put times into the values of a task; those without a zone get one."""
    for name, moment in moments.items():
        if isinstance(moment, datetime) and moment.tzinfo is None:
            moments[name] = moment.replace(tzinfo=UTC)
            detail = "A time without a zone that is known is taken for UTC"
            yield LeftOut(place, "zone", detail, ("zone",))
    yield from _put_due(todo, moments, place)
    due, start = moments.get("DUE"), moments.get("DTSTART")
    if isinstance(due, datetime):
        values["due_at"] = instant(due)
    elif due is not None:
        values["due_on"] = due.isoformat()
    if start is not None and not isinstance(start, datetime):
        start = datetime.combine(start, time.min, UTC)
    yield from put_start(values, instant(start) if start else None, place)
    for name, member in STAMPS.items():
        if name not in moments:
            continue
        fits = name != "COMPLETED" or values["status"] == "done"
        if fits and isinstance(moments[name], datetime):
            values[member] = instant(moments[name])
        else:
            detail = f"{name} is no instant, or does not fit the STATUS"
            yield LeftOut(place, "does_not_fit", detail, (name,))
