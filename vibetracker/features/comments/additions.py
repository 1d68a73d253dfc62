"""What comments add to the lists of tasks."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vibetracker.core.api.filters import holds
from vibetracker.core.api.includes import Reads
from vibetracker.core.api.schema import UrlBool
from vibetracker.features.tasks.filters import TaskFilters
from vibetracker.features.tasks.includes import TaskIncludes
from vibetracker.features.tasks.model import tasks

from .model import Comment


def count_comments(session: Session, task_ids: Sequence[int]) -> dict[int, int]:
    """Count the comments on tasks."""
    rows = session.execute(
        select(Comment.task_id, func.count().label("comments"))
        .where(Comment.task_id.in_(task_ids))
        .group_by(Comment.task_id)
    )
    return {row.task_id: row.comments for row in rows}


class CommentedTaskFilters(TaskFilters):
    """The filters of tasks by their comments."""

    has_comments: Annotated[
        UrlBool | None,
        holds(select(Comment.id).where(Comment.task_id == tasks.c.id).exists()),
        Field(description="Has any comment."),
    ] = None


class CommentedTaskIncludes(TaskIncludes):
    """What a task can be answered with about its comments."""

    comment_count: Annotated[
        int, Reads(count_comments, otherwise=0), Field(description="How many comments it has.")
    ]
