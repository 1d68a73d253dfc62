"""What recurrences add to tasks."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from vibetracker.core.api.filters import holds
from vibetracker.core.api.includes import Reads
from vibetracker.core.api.schema import UrlBool
from vibetracker.core.db.portions import is_found
from vibetracker.features.tasks.filters import TaskFilters
from vibetracker.features.tasks.includes import TaskIncludes
from vibetracker.features.tasks.model import Task

from .model import CAN_RECUR, GOES_ON, Recurrence
from .schema import RecurrenceRead

_its_recurrence = select(Recurrence.id).where(Recurrence.task_id == Task.id).correlate(Task)
IS_RECURRING = and_(CAN_RECUR, is_found(_its_recurrence))


def _recurrences(session: Session, task_ids: Sequence[int]) -> Mapping[int, RecurrenceRead]:
    found = select(Recurrence).where(Recurrence.task_id.in_(task_ids), GOES_ON)
    return {it.task_id: RecurrenceRead.model_validate(it) for it in session.scalars(found)}


class RecurringFilters(TaskFilters):
    """The filters for tasks that come again."""

    is_recurring: Annotated[
        UrlBool | None,
        holds(IS_RECURRING),
        Field(description="Comes again when it is done."),
    ] = None


class RecurringIncludes(TaskIncludes):
    """What makes a task come again."""

    recurrence: Annotated[
        RecurrenceRead | None,
        Reads(_recurrences),
        Field(description="What makes it come again; null for nothing."),
    ]
