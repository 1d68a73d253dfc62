"""Public: what ``include`` adds to tasks: one entry each."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar

from fastapi import Depends
from pydantic import Field
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from vibetracker.core.api.includes import Include, Includes, Reads
from vibetracker.core.api.parameters import FromQuery
from vibetracker.core.api.schema import Output

from .model import OPEN, Status, live, tasks
from .schema import SubtaskCounts, TaskRead

NO_SUBTASKS = dict.fromkeys(SubtaskCounts.model_fields, 0)


def count_by(
    column: ColumnElement[int | None], session: Session, ids: Sequence[int]
) -> dict[int, dict[str, int]]:
    """Count the live tasks that have one of the ids in a column, by how far they are."""
    counts: dict[int, dict[Status, int]] = {}
    rows = session.execute(
        select(column, tasks.c.status, func.count())
        .where(column.in_(ids), live)
        .group_by(column, tasks.c.status)
    )
    for key, status, count in rows:
        if key is not None:
            counts.setdefault(key, {})[status] = count
    return {
        key: {
            "total": sum(by_status.values()),
            "open": sum(by_status.get(status, 0) for status in OPEN),
            "done": by_status.get(Status.DONE, 0),
            "cancelled": by_status.get(Status.CANCELLED, 0),
        }
        for key, by_status in counts.items()
    }


class TaskIncludes(Includes):
    """What ``include`` adds to a task: member, type, SQL and meaning."""

    answer: ClassVar[type[Output]] = TaskRead

    subtasks: Annotated[
        SubtaskCounts,
        Reads(partial(count_by, tasks.c.parent_id), NO_SUBTASKS, name="subtask_counts"),
        Field(description="The numbers of its live direct subtasks."),
    ]


TaskIncludeDep = Annotated[Include, Depends(FromQuery(TaskIncludes.query()))]
