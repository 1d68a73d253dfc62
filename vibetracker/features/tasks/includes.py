"""Public: what ``include`` adds to tasks: one entry each."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from fastapi import Depends
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vibetracker.core.api.includes import Include, Includes, Reads
from vibetracker.core.api.parameters import FromQuery
from vibetracker.core.api.schema import Output

from .model import OPEN, Status, live, tasks
from .schema import SubtaskCounts, TaskRead


def count_subtasks(session: Session, task_ids: Sequence[int]) -> dict[int, SubtaskCounts]:
    """Count the live direct subtasks of tasks."""
    counts: dict[int, dict[Status, int]] = {task_id: {} for task_id in task_ids}
    rows = session.execute(
        select(tasks.c.parent_id, tasks.c.status, func.count())
        .where(tasks.c.parent_id.in_(task_ids), live)
        .group_by(tasks.c.parent_id, tasks.c.status)
    )
    for parent_id, status, count in rows:
        if parent_id is not None:
            counts[parent_id][status] = count
    return {
        task_id: SubtaskCounts(
            total=sum(by_status.values()),
            open=sum(by_status.get(status, 0) for status in OPEN),
            done=by_status.get(Status.DONE, 0),
            cancelled=by_status.get(Status.CANCELLED, 0),
        )
        for task_id, by_status in counts.items()
    }


class TaskIncludes(Includes):
    """What ``include`` adds to a task: member, type, SQL and meaning."""

    answer: ClassVar[type[Output]] = TaskRead

    subtasks: Annotated[
        SubtaskCounts,
        Reads(count_subtasks, name="subtask_counts"),
        Field(description="The numbers of its live direct subtasks."),
    ]


TaskIncludeDep = Annotated[Include, Depends(FromQuery(TaskIncludes.query()))]
