"""What narrows a list of tasks down, and what it can be sorted by: one entry each."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any, Literal, override

from pydantic import Field
from sqlalchemy import ColumnElement, and_, func, or_, true
from sqlalchemy.orm import InstrumentedAttribute

from vibetracker.core.filters import Filters, Where
from vibetracker.core.paging import Key, Sorting
from vibetracker.core.problems import invalid
from vibetracker.core.schema import Line, UrlBool, UrlId
from vibetracker.features.tags.association import wears
from vibetracker.features.tags.model import key_of
from vibetracker.features.tags.schema import TagName

from .calendar import DAY, Clock, EndOfDay, Moment
from .model import OPEN, UTC, Priority, Status, Task, live, task_tags

type Condition = ColumnElement[bool]
type Instant = InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None]

TagNames = Annotated[list[TagName], Field(max_length=50)]


def _flag(condition: Condition | Callable[[Clock], Condition]) -> Where:
    """Hold where the condition is true, or for ``false`` where it is not."""

    def where(wanted: bool, clock: Clock) -> Condition:  # noqa: FBT001 - a parameter's value
        holds = condition(clock) if callable(condition) else condition
        return holds if wanted else holds.is_not(true())

    return Where(where)


def _since(column: Instant) -> Where:
    return Where(lambda moment, clock: column >= clock.instant(moment))


def _until(column: Instant) -> Where:
    return Where(lambda moment, clock: column < clock.instant(moment))


def _due_before(moment: date, clock: Clock) -> Condition:
    instant = clock.instant(moment)
    if clock.zone is UTC:
        return Task.due < instant
    last_day = clock.last_day_over_before(instant)
    # The stored due has its days end in UTC, at most a day off: good enough to use its index.
    return and_(Task.due < instant + DAY, or_(Task.due_at < instant, Task.due_on <= last_day))


def _due_after(moment: date, clock: Clock) -> Condition:
    instant = clock.instant(moment)
    if clock.zone is UTC:
        return Task.due >= instant
    last_day = clock.last_day_over_before(instant)
    return and_(Task.due >= instant - DAY, or_(Task.due_at >= instant, Task.due_on > last_day))


def _due(clock: Clock) -> Any:
    if clock.zone is UTC:
        return Task.due
    return func.coalesce(Task.due_at, EndOfDay(Task.due_on, clock.zone.key))


def _occurs(text: str, _: Clock) -> Condition:
    terms = key_of(text).split()
    return and_(true(), *(Task.search_text.contains(term, autoescape=True) for term in terms))


def _wears_all(names: list[str], _: Clock) -> Condition:
    return and_(*(wears(task_tags, Task.id, [name]) for name in names))


still_open = Task.status.in_(OPEN)
TRASH: dict[str, Condition] = {"exclude": live, "include": true(), "only": ~live}


class TaskFilters(Filters):
    """The filters of a list of tasks: parameter, type, SQL and meaning."""

    id: Annotated[
        list[UrlId],
        Where(lambda ids, _: Task.id.in_(ids)),
        Field(max_length=100, description="One of these tasks."),
    ] = []
    status: Annotated[
        list[Status],
        Where(lambda statuses, _: Task.status.in_(statuses)),
        Field(description="One of these statuses."),
    ] = []
    priority: Annotated[
        list[Priority],
        Where(lambda priorities, _: Task.priority.in_(priorities)),
        Field(description="One of these priorities."),
    ] = []
    is_open: Annotated[
        UrlBool | None, _flag(still_open), Field(description="`todo` or `in_progress`, or neither.")
    ] = None
    q: Annotated[
        Annotated[str, Line(500, min_length=0)] | None,
        Where(_occurs),
        Field(
            description="Every word occurs in the title or the description, ignoring case; "
            "no character has a special meaning."
        ),
    ] = None
    tag: Annotated[
        TagNames, Where(_wears_all), Field(description="Wears all of these tags, by name.")
    ] = []
    tag_any: Annotated[
        TagNames,
        Where(lambda names, _: wears(task_tags, Task.id, names)),
        Field(description="Wears at least one of these tags."),
    ] = []
    tag_none: Annotated[
        TagNames,
        Where(lambda names, _: ~wears(task_tags, Task.id, names)),
        Field(description="Wears none of these tags."),
    ] = []
    has_tags: Annotated[
        UrlBool | None, _flag(wears(task_tags, Task.id)), Field(description="Wears any tag.")
    ] = None
    due_after: Annotated[
        Moment | None, Where(_due_after), Field(description="Due at or after this moment.")
    ] = None
    due_before: Annotated[
        Moment | None, Where(_due_before), Field(description="Due before this moment.")
    ] = None
    has_due: Annotated[
        UrlBool | None, _flag(Task.due.is_not(None)), Field(description="Has a due.")
    ] = None
    overdue: Annotated[
        UrlBool | None,
        _flag(lambda clock: and_(still_open, _due_before(clock.now, clock))),
        Field(description="Open, and due before now."),
    ] = None
    start_after: Annotated[
        Moment | None, _since(Task.start_at), Field(description="Starts at or after this moment.")
    ] = None
    start_before: Annotated[
        Moment | None, _until(Task.start_at), Field(description="Starts before this moment.")
    ] = None
    actionable: Annotated[
        UrlBool | None,
        _flag(
            lambda clock: and_(still_open, or_(Task.start_at.is_(None), Task.start_at <= clock.now))
        ),
        Field(description="Open, and its start has come or there is none."),
    ] = None
    created_after: Annotated[
        Moment | None, _since(Task.created_at), Field(description="Created at or after this.")
    ] = None
    created_before: Annotated[
        Moment | None, _until(Task.created_at), Field(description="Created before this.")
    ] = None
    updated_after: Annotated[
        Moment | None, _since(Task.updated_at), Field(description="Changed at or after this.")
    ] = None
    updated_before: Annotated[
        Moment | None, _until(Task.updated_at), Field(description="Last changed before this.")
    ] = None
    completed_after: Annotated[
        Moment | None, _since(Task.completed_at), Field(description="Done at or after this.")
    ] = None
    completed_before: Annotated[
        Moment | None, _until(Task.completed_at), Field(description="Done before this.")
    ] = None
    parent_id: Annotated[
        UrlId | None,
        Where(lambda parent_id, _: Task.parent_id == parent_id),
        Field(description="A direct subtask of this task."),
    ] = None
    is_subtask: Annotated[
        UrlBool | None, _flag(Task.parent_id.is_not(None)), Field(description="Has a parent.")
    ] = None
    deleted: Annotated[
        Literal["exclude", "include", "only"],
        Where(lambda which, _: TRASH[which]),
        Field(description="What to do with the trash."),
    ] = "exclude"

    @override
    def conditions(self, context: object = None) -> list[Condition]:
        """Give the SQL of the filters; a range that is upside down breaks a rule."""
        assert isinstance(context, Clock)  # noqa: S101 - every list of tasks has one
        for name in ("due", "start", "created", "updated", "completed"):
            after, before = (getattr(self, f"{name}_{end}") for end in ("after", "before"))
            if after and before and context.instant(after) > context.instant(before):
                raise invalid(
                    f"{name}_before is earlier than {name}_after",
                    code="upside_down_range",
                    parameter=f"{name}_before",
                )
        return super().conditions(context)


KEYS = {
    "id": Key(Task.id),
    "title": Key(Task.title_key),
    "status": Key(Task.status, shared=True),
    "priority": Key(Task.priority, shared=True),
    "due": Key(_due, nullable=True),
    "start_at": Key(Task.start_at, nullable=True),
    "created_at": Key(Task.created_at),
    "updated_at": Key(Task.updated_at),
    "completed_at": Key(Task.completed_at, nullable=True),
    "position": Key(Task.position),
}
SORTING = Sorting("-created_at", **KEYS)
SUBTASK_SORTING = Sorting("position", **KEYS)
