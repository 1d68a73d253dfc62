"""Public: what narrows a list of tasks down, and what it can be sorted by: one entry each."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

from fastapi import Depends
from pydantic import Field
from sqlalchemy import ColumnElement, and_, func, or_, true
from sqlalchemy.orm import Session

from vibetracker.core.api.filters import Filters, Where, holds, occurs
from vibetracker.core.api.parameters import FromQuery
from vibetracker.core.api.schema import UrlBool, UrlId
from vibetracker.core.api.sorting import Key, Sorting
from vibetracker.core.api.text import Terms
from vibetracker.features.tags.association import has_all_tags, has_any_tag, has_tag
from vibetracker.features.tags.schema import TagName

from .calendar import DAY, Clock, LastInstant, Moment
from .model import OPEN, UTC, Priority, Status, live, task_tags, tasks
from .tree import is_below

type Condition = ColumnElement[bool]
type Instant = ColumnElement[Any]

TagNames = Annotated[list[TagName], Field(max_length=50)]


@dataclass(frozen=True)
class Asked:
    """What filters depend on beside their values: the clock, and the session to look up tags in."""

    session: Session
    clock: Clock


def _since(column: Instant) -> Where:
    return Where(lambda moment, asked: column >= asked.clock.instant(moment))


def _until(column: Instant) -> Where:
    return Where(lambda moment, asked: column < asked.clock.instant(moment))


def _due_before(moment: date, clock: Clock) -> Condition:
    instant = clock.instant(moment)
    if clock.zone is UTC:
        return tasks.c.due < instant
    day = clock.last_day_due_before(instant)
    # The stored due has its days end in UTC, at most a day off: good enough to use its index.
    return and_(tasks.c.due < instant + DAY, or_(tasks.c.due_at < instant, tasks.c.due_on <= day))


def _due_after(moment: date, clock: Clock) -> Condition:
    instant = clock.instant(moment)
    if clock.zone is UTC:
        return tasks.c.due >= instant
    day = clock.last_day_due_before(instant)
    return and_(tasks.c.due >= instant - DAY, or_(tasks.c.due_at >= instant, tasks.c.due_on > day))


def _due(asked: Asked) -> Any:
    zone = asked.clock.zone
    if zone is UTC:
        return tasks.c.due
    return func.coalesce(tasks.c.due_at, LastInstant(tasks.c.due_on, zone.key))


def _has_all(names: list[str], asked: Asked) -> Condition:
    return has_all_tags(asked.session, task_tags, tasks.c.id, names)


def _has_any(names: list[str], asked: Asked) -> Condition:
    return has_any_tag(asked.session, task_tags, tasks.c.id, names)


still_open = tasks.c.status.in_(OPEN)
TRASH: dict[str, Condition] = {"exclude": live, "include": true(), "only": ~live}


class TaskFilters(Filters):
    """The filters of a list of tasks: parameter, type, SQL and meaning."""

    id: Annotated[
        list[UrlId],
        Where(lambda ids, _: tasks.c.id.in_(ids)),
        Field(max_length=100, description="One of these tasks."),
    ] = []
    status: Annotated[
        list[Status],
        Where(lambda statuses, _: tasks.c.status.in_(statuses)),
        Field(description="One of these statuses."),
    ] = []
    priority: Annotated[
        list[Priority],
        Where(lambda priorities, _: tasks.c.priority.in_(priorities)),
        Field(description="One of these priorities."),
    ] = []
    is_open: Annotated[
        UrlBool | None, holds(still_open), Field(description="`todo` or `in_progress`, or neither.")
    ] = None
    q: Annotated[
        Annotated[str, Terms(500)] | None,
        Where(lambda text, _: occurs(text, tasks.c.search_text)),
        Field(
            description="Every word occurs in the title or the description, ignoring case and "
            "accents; "
            "no character has a special meaning."
        ),
    ] = None
    tag: Annotated[
        TagNames, Where(_has_all), Field(description="Has all of these tags, by name.")
    ] = []
    tag_any: Annotated[
        TagNames,
        Where(_has_any),
        Field(description="Has at least one of these tags."),
    ] = []
    tag_none: Annotated[
        TagNames,
        Where(lambda names, asked: ~_has_any(names, asked)),
        Field(description="Has none of these tags."),
    ] = []
    has_tags: Annotated[
        UrlBool | None, holds(has_tag(task_tags, tasks.c.id)), Field(description="Has any tag.")
    ] = None
    due_after: Annotated[
        Moment | None,
        Where(lambda moment, asked: _due_after(moment, asked.clock)),
        Field(description="Due at or after this moment."),
    ] = None
    due_before: Annotated[
        Moment | None,
        Where(lambda moment, asked: _due_before(moment, asked.clock)),
        Field(description="Due before this moment."),
    ] = None
    has_due: Annotated[
        UrlBool | None, holds(tasks.c.due.is_not(None)), Field(description="Has a due.")
    ] = None
    overdue: Annotated[
        UrlBool | None,
        holds(lambda asked: and_(still_open, _due_before(asked.clock.now, asked.clock))),
        Field(description="Open, and due before now."),
    ] = None
    start_after: Annotated[
        Moment | None,
        _since(tasks.c.start_at),
        Field(description="Starts at or after this moment."),
    ] = None
    start_before: Annotated[
        Moment | None, _until(tasks.c.start_at), Field(description="Starts before this moment.")
    ] = None
    actionable: Annotated[
        UrlBool | None,
        holds(
            lambda asked: and_(
                still_open,
                or_(tasks.c.start_at.is_(None), tasks.c.start_at <= asked.clock.now),
            )
        ),
        Field(description="Open, and its start has come or there is none."),
    ] = None
    created_after: Annotated[
        Moment | None, _since(tasks.c.created_at), Field(description="Created at or after this.")
    ] = None
    created_before: Annotated[
        Moment | None, _until(tasks.c.created_at), Field(description="Created before this.")
    ] = None
    updated_after: Annotated[
        Moment | None, _since(tasks.c.updated_at), Field(description="Changed at or after this.")
    ] = None
    updated_before: Annotated[
        Moment | None, _until(tasks.c.updated_at), Field(description="Last changed before this.")
    ] = None
    completed_after: Annotated[
        Moment | None, _since(tasks.c.completed_at), Field(description="Done at or after this.")
    ] = None
    completed_before: Annotated[
        Moment | None, _until(tasks.c.completed_at), Field(description="Done before this.")
    ] = None
    project_id: Annotated[
        list[UrlId],
        Where(lambda ids, _: tasks.c.project_id.in_(ids)),
        Field(max_length=100, description="In one of these projects."),
    ] = []
    has_project: Annotated[
        UrlBool | None, holds(tasks.c.project_id.is_not(None)), Field(description="In any project.")
    ] = None
    parent_id: Annotated[
        UrlId | None,
        Where(lambda parent_id, _: tasks.c.parent_id == parent_id),
        Field(description="A direct subtask of this task."),
    ] = None
    ancestor_id: Annotated[
        UrlId | None,
        Where(lambda task_id, asked: is_below(asked.session, task_id)),
        Field(description="Below this task, at any depth."),
    ] = None
    is_subtask: Annotated[
        UrlBool | None, holds(tasks.c.parent_id.is_not(None)), Field(description="Has a parent.")
    ] = None
    deleted: Annotated[
        Literal["exclude", "include", "only"],
        Where(lambda which, _: TRASH[which]),
        Field(description="What to do with the trash."),
    ] = "exclude"


TaskFiltersDep = Annotated[TaskFilters, Depends(FromQuery(TaskFilters))]

KEYS = {
    "id": Key(tasks.c.id),
    "title": Key(tasks.c.title_key),
    "status": Key(tasks.c.status, shared=True),
    "priority": Key(tasks.c.priority, shared=True),
    "due": Key(_due, nullable=True),
    "start_at": Key(tasks.c.start_at, nullable=True),
    "created_at": Key(tasks.c.created_at),
    "updated_at": Key(tasks.c.updated_at),
    "completed_at": Key(tasks.c.completed_at, nullable=True),
    "position": Key(tasks.c.position),
}
SORTING = Sorting("-created_at", **KEYS)
SUBTASK_SORTING = Sorting("position", **KEYS)
