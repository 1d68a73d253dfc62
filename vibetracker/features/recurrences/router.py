"""The recurrence operations."""

from itertools import islice
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import MISSING, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from vibetracker.core.api.filters import Filters, Where
from vibetracker.core.api.paging import MAX_LIMIT, Page, PageDep, Rows, paginate
from vibetracker.core.api.preconditions import check, find, find_any, read_any
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.schema import FROM_DIGITS, UrlId
from vibetracker.core.api.session import SessionDep
from vibetracker.core.api.sorting import Key, Sorting
from vibetracker.core.http.problems import Gone, invalid
from vibetracker.features.tasks.calendar import Clock, ServerClockDep
from vibetracker.features.tasks.model import OPEN
from vibetracker.features.tasks.rows import lock_tasks, read_task

from .model import GOES_ON, Mode, Recurrence
from .occurrences import Due, Series, due_of, dues_of
from .problems import RecurrenceEnded, TaskRecursAlready
from .schema import (
    Occurrences,
    RecurrenceCreate,
    RecurrenceRead,
    RecurrenceUpdate,
)

router = Router("/recurrences", description="What makes tasks come again.")

RecurrenceId = Annotated[UrlId, Path(description="The recurrence's id.")]
Limit = Annotated[
    int,
    Field(ge=1, le=MAX_LIMIT),
    FROM_DIGITS,
    Query(description=f"How many at most, up to {MAX_LIMIT}."),
]

SORTING = Sorting(
    default="created_at",
    created_at=Key(Recurrence.created_at),
    updated_at=Key(Recurrence.updated_at),
    id=Key(Recurrence.id),
)


class RecurrenceFilters(Filters):
    """What narrows the list of recurrences down."""

    task_id: Annotated[
        Annotated[list[UrlId], Field(max_length=100)],
        Where(lambda ids, _: Recurrence.task_id.in_(ids)),
        Field(description="Makes one of these tasks come again."),
    ] = []
    mode: Annotated[
        Mode | None,
        Where(lambda mode, _: Recurrence.mode == mode),
        Field(description="Counts from this."),
    ] = None


@router.get("", response_model=Page[RecurrenceRead])
def list_recurrences(
    session: SessionDep,
    page: PageDep,
    filters: Annotated[RecurrenceFilters, Query()],
    sort: Annotated[str, SORTING, Query(description=SORTING.description)] = SORTING.default,
) -> Rows:
    """List the recurrences that have not ended."""
    recurrences = RecurrenceRead.select(Recurrence).where(GOES_ON, *filters.conditions())
    return paginate(session, recurrences, page, SORTING, sort)


@router.post(
    "", status_code=201, response_model=RecurrenceRead, responses=raising(TaskRecursAlready)
)
def create_recurrence(
    session: SessionDep, clock: ServerClockDep, data: RecurrenceCreate
) -> Recurrence:
    """Let a task come again.

    When it is done, the same transaction creates the next one: a copy in the same place, with the
    due of the next occurrence that lies in the future, and the start at the same distance. The
    recurrence moves on to it. It ends while its task is cancelled, in the trash or without a due,
    and with a task that is done in an archived project, where no copy can be. Whoever opens the
    task again that was done last takes the copy back into the trash, unless that has been changed
    since, or has subtasks.
    """
    task = lock_tasks(session, [data.task_id]).get(data.task_id)
    if task is None or task["deleted_at"] is not None:
        raise invalid("There is no live task with this id", code="unknown_task", pointer="/task_id")
    if task["status"] not in OPEN:
        raise invalid("The task is not open", code="task_not_open", pointer="/task_id")
    due = due_of(task.values)
    if due is None:
        raise invalid("The task has no due", code="no_due", pointer="/task_id")
    existing = session.scalar(select(Recurrence.id).where(Recurrence.task_id == data.task_id))
    if existing is not None:
        detail = f"Recurrence {existing} makes this task come again"
        raise TaskRecursAlready(detail, existing_id=existing)
    zone = clock.zone.key if data.time_zone is MISSING else data.time_zone
    recurrence = Recurrence(
        **data.model_dump(exclude={"time_zone"}),
        time_zone=zone,
        anchor=Series.of(data.rule, zone, due).anchor.isoformat(),
        number=1,
    )
    _refuse_the_last(recurrence, due, clock, at="/rule")
    session.add(recurrence)
    return recurrence


@router.get(
    "/{recurrence_id}", response_model=RecurrenceRead, responses=raising(Gone, RecurrenceEnded)
)
def get_recurrence(session: SessionDep, recurrence_id: RecurrenceId) -> dict[str, Any]:
    """Get a recurrence."""
    recurrence = read_any(session, RecurrenceRead, Recurrence, recurrence_id, "task_id")
    _due_of(session, recurrence["task_id"])
    check(session, recurrence["version"])
    return recurrence


@router.patch(
    "/{recurrence_id}", response_model=RecurrenceRead, responses=raising(Gone, RecurrenceEnded)
)
def update_recurrence(
    session: SessionDep, clock: ServerClockDep, recurrence_id: RecurrenceId, data: RecurrenceUpdate
) -> Recurrence:
    """Change a recurrence; what is absent stays. `COUNT` begins anew with another rule."""
    recurrence = find_any(session, Recurrence, recurrence_id)
    due = _due_of(session, recurrence.task_id)
    check(session, recurrence.version)
    changes = {
        name: value for name, value in data.changes().items() if value != getattr(recurrence, name)
    }
    if "rule" in changes:
        recurrence.number = 1
    data.apply_to(recurrence)
    if "time_zone" in changes:
        anchored = Series.of(recurrence.rule, recurrence.time_zone, due, recurrence.anchor)
        recurrence.anchor = anchored.anchor.isoformat()
    if changes:
        _refuse_the_last(recurrence, due, clock, at=f"/{next(iter(changes))}")
    return recurrence


@router.delete("/{recurrence_id}", status_code=204, responses=raising(Gone))
def delete_recurrence(session: SessionDep, recurrence_id: RecurrenceId) -> None:
    """End a recurrence for good; its task stays as it is."""
    session.delete(find(session, Recurrence, recurrence_id))


@router.get(
    "/{recurrence_id}/occurrences",
    response_model=Occurrences,
    responses=raising(Gone, RecurrenceEnded),
)
def get_occurrences(
    session: SessionDep, clock: ServerClockDep, recurrence_id: RecurrenceId, limit: Limit = 50
) -> dict[str, Any]:
    """Get the next dues of the task, as they would be if it were done now.

    Those of the next hundred years at most.
    """
    recurrence = find_any(session, Recurrence, recurrence_id)
    due = _due_of(session, recurrence.task_id)
    dues = recurrence.series(due, clock.now).dues(clock.now, recurrence.number)
    return {"items": [dues_of(found) for _, found in islice(dues, limit)]}


def _due_of(session: Session, task_id: int) -> Due:
    """Return the due of the task of a recurrence that goes on; raises ``Gone`` for another one."""
    task = read_task(session, task_id)
    due = due_of(task)
    if due is None or task["status"] not in OPEN:
        state = task["status"].replace("_", " ") if due else "without a due"
        raise RecurrenceEnded(f"Its task, {task_id}, is {state}")
    return due


def _refuse_the_last(recurrence: Recurrence, due: Due, clock: Clock, *, at: str) -> None:
    dues = recurrence.series(due, clock.now).dues(clock.now, recurrence.number)
    if next(dues, None) is None:
        raise invalid(
            "The task would not come again within a hundred years",
            code="never_again",
            pointer=at,
        )
