"""Taskwarrior, as its ``task export`` writes and ``task import`` reads (JSON).

``deleted`` there is ``cancelled`` here; the trash is left out. A due at midnight in UTC is a day.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, BinaryIO
from uuid import UUID, uuid5

from pydantic_core import to_json

from vibetracker.core.http.faults import pointer_to
from vibetracker.features.tasks.model import OPEN

from .export import Export
from .json_source import JsonSource
from .lines import Projects, instant, one_line, put_start
from .records import Found, LeftOut, Place, Record, Values, broken

MEDIA_TYPE = "application/json"
EXTENSION = "json"
EXAMPLE = '[{"description": "Paint the shed", "status": "pending", "due": "20260301T000000Z"}]'
HAS_TRASH = False
LOST = {
    "priority": "`urgent` is `high`",
    "due_at": "of midnight in UTC there is the day",
    "comments": "authors, line breaks, those without a word",
    "tags": "all but the names, spaces in those",
    "projects": "all but the names",
    **dict.fromkeys(("id", "description", "parent_id", "position", "version"), ""),
    **dict.fromkeys(("recurrences", "trash", "fractions of a second"), ""),
}

TASKS = UUID("5b1d5c1c-7a0c-4b3f-9a54-3a4b0f6a0a7e")
"""The namespace of the UUIDs of tasks."""
FORM = "%Y%m%dT%H%M%SZ"
STATUSES = {
    "pending": "todo",
    "waiting": "todo",
    "completed": "done",
    "deleted": "cancelled",
    "recurring": "",
}
STARTED = {"todo": "in_progress"}
PRIORITIES = {"H": "high", "M": "medium", "L": "low"}
LETTERS = {"urgent": "H", "high": "H", "medium": "M", "low": "L"}
READ = {
    *("uuid", "description", "status", "priority", "project", "tags", "annotations"),
    *("due", "wait", "scheduled", "start", "end", "entry", "modified"),
}
NAMES = {
    "id": "uuid",
    "title": "description",
    "body": "description",
    "due_on": "due",
    "due_at": "due",
    "project_id": "project",
    "name": "project",
    "created_at": "entry",
    "updated_at": "modified",
    "started_at": "start",
    "completed_at": "end",
    "cancelled_at": "end",
}
"""The attributes of members that have another name here."""
READ_OF_ANNOTATION = {"entry", "description"}
COMPUTED = {"id", "urgency", "mask", "imask", "rtype", "parent"}
"""What Taskwarrior makes itself of the rest."""


def write(export: Export) -> Iterator[bytes]:
    """Write the live tasks; comments are their annotations."""
    projects = export.names("projects")
    separator = b"[\n"
    for portion in export.portions("tasks"):
        comments = export.belonging("comments", "task_id", portion)
        tasks = [_task(task, projects, comments.get(task["id"], [])) for task in portion]
        yield separator + b",\n".join(map(to_json, tasks))
        separator = b",\n"
    yield b"[]\n" if separator == b"[\n" else b"\n]\n"


def _task(task: Values, projects: dict[int, str], comments: list[Values]) -> Values:
    status = {"done": "completed", "cancelled": "deleted"}.get(task["status"], "pending")
    due = task["due_at"] or task["due_on"]
    values = {
        "uuid": str(uuid5(TASKS, str(task["id"]))),
        "description": task["title"],
        "status": status,
        "priority": LETTERS.get(task["priority"]),
        "project": projects.get(task.get("project_id") or 0),
        "tags": ["_".join(tag.split()) for tag in task["tags"]],
        "due": due and f"{due:{FORM}}" if task["due_at"] else due and f"{due:%Y%m%d}T000000Z",
        "scheduled": _stamp(task["start_at"]),
        "start": _stamp(task["started_at"]),
        "end": _stamp(task["completed_at"] or task["cancelled_at"]),
        "entry": _stamp(task["created_at"]),
        "modified": _stamp(task["updated_at"]),
        "annotations": [
            {"entry": _stamp(comment["created_at"]), "description": body}
            for comment in comments
            if (body := one_line(comment["body"]))
        ],
    }
    return {name: value for name, value in values.items() if value}


def _stamp(moment: datetime | None) -> str | None:
    return f"{moment:{FORM}}" if moment else None


def read(file: BinaryIO) -> Iterator[Found]:
    """Read tasks: an array, or one after the other."""
    source = JsonSource(file)
    is_array = source.peek() == "["
    if is_array:
        source.take("[")
    projects = Projects()
    index = 0
    while source.peek() not in {"]", ""}:
        place = Place(source.place, pointer_to(index), NAMES)
        task = source.value()
        if not isinstance(task, dict):
            raise broken(place, "not_an_object", "A task is an object")
        yield from _found(task, place, projects)
        index += 1
        if source.peek() == ",":
            source.take(",")
    if is_array:
        source.take("]")
    source.end()


def _found(task: Values, place: Place, projects: Projects) -> Iterator[Found]:
    status = task.get("status", "pending")
    if not isinstance(status, str) or status not in STATUSES:
        raise broken(place, "status", f"Expected one of {', '.join(STATUSES)}", "status")
    if status == "recurring":
        yield LeftOut(place, "recurring", "The task is a pattern of others, and none itself")
        return
    for name in sorted(task.keys() - READ - COMPUTED):
        detail = f"Nothing here stores {name!r} of a task"
        yield LeftOut(_own(place, name), "unknown_member", detail, (name,))
    moments: dict[str, datetime] = {
        name: _moment(task[name], place, name)
        for name in ("due", "wait", "scheduled", "start", "end", "entry", "modified")
        if name in task
    }
    priority = _text(task, "priority", place)
    if priority and priority not in PRIORITIES:
        detail = f"Nothing here stores a priority but {', '.join(PRIORITIES)}"
        yield LeftOut(place.of("priority"), "priority", detail, ("priority",))
    uuid = task.get("uuid")
    values: Values = {
        # Annotations of a task without a uuid refer to it too.
        "id": place.pointer if uuid is None else uuid,
        "title": one_line(_text(task, "description", place)),
        "status": STATUSES[status],
        "priority": PRIORITIES.get(priority, "none"),
        "tags": task.get("tags", []),
        **_times(moments, STATUSES[status]),
    }
    starts = [name for name in ("wait", "scheduled") if name in moments]
    if starts:
        place = replace(place, names={**NAMES, "start_at": starts[0]})
    if len(starts) > 1:
        detail = "A task has one start here, which is when it no longer waits"
        yield LeftOut(place.of("scheduled"), "scheduled", detail, ("scheduled",))
    if "end" in moments and values["status"] in OPEN:
        yield LeftOut(place.of("end"), "does_not_fit", "A task that is open has no end", ("end",))
    yield from put_start(values, instant(moments[starts[0]]) if starts else None, place)
    yield from projects.put(values, one_line(_text(task, "project", place)), place)
    yield Record("tasks", values, place, is_foreign=True)
    yield from _annotations(task, values["id"], place)


def _times(moments: dict[str, datetime], status: str) -> Values:
    values: Values = {}
    if due := moments.get("due"):
        is_day = (due.hour, due.minute, due.second) == (0, 0, 0)
        values |= {"due_on": f"{due:%Y-%m-%d}"} if is_day else {"due_at": instant(due)}
    if "start" in moments:
        values |= {"status": STARTED.get(status, status), "started_at": instant(moments["start"])}
    names = {"entry": "created_at", "modified": "updated_at"}
    if status != "todo":
        names["end"] = "completed_at" if status == "done" else "cancelled_at"
    return values | {
        names[name]: instant(moment) for name, moment in moments.items() if name in names
    }


def _annotations(task: Values, key: object, place: Place) -> Iterator[Found]:
    annotations = task.get("annotations", [])
    if not isinstance(annotations, list):
        raise broken(place, "annotations", "Expected an array", "annotations")
    for index, annotation in enumerate(annotations):
        there = place.of("annotations", index)
        if not isinstance(annotation, dict):
            raise broken(there, "annotations", "Expected an object")
        for name in sorted(annotation.keys() - READ_OF_ANNOTATION):
            detail = f"Nothing here stores {name!r} of an annotation"
            yield LeftOut(_own(there, name), "unknown_member", detail, ("annotation", name))
        comment: Values = {"task_id": key, "body": annotation.get("description")}
        if "entry" in annotation:
            comment["created_at"] = instant(_moment(annotation["entry"], there, "entry"))
        yield Record("comments", comment, there, is_foreign=True)


def _own(place: Place, name: str) -> Place:
    """Return the place of an attribute that is none of a record, whatever its name is there."""
    return replace(place, names={}).of(name)


def _text(task: Values, name: str, place: Place) -> str:
    value: Any = task.get(name, "")
    if not isinstance(value, str):
        raise broken(place, "string_type", "Expected a string", name)
    return value


def _moment(value: object, place: Place, name: str) -> datetime:
    try:
        return datetime.strptime(str(value), FORM).replace(tzinfo=UTC)
    except ValueError:
        raise broken(place, "timestamp", "Expected a time such as 20260301T080000Z", name) from None
