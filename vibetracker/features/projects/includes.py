"""Public: what ``include`` adds to projects: one entry each."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from fastapi import Depends
from pydantic import Field
from sqlalchemy.orm import Session

from vibetracker.core.api.includes import Include, Includes, Reads
from vibetracker.core.api.parameters import FromQuery
from vibetracker.core.api.schema import Output

from .contents import CONTENTS
from .schema import ProjectRead, TaskCounts

NO_TASKS = dict.fromkeys(TaskCounts.model_fields, 0)


def _count_tasks(session: Session, project_ids: Sequence[int]) -> dict[int, Mapping[str, int]]:
    return {
        project_id: counts
        for contents in CONTENTS
        for project_id, counts in contents.counts(session, project_ids).items()
    }


class ProjectIncludes(Includes):
    """What ``include`` adds to a project: member, type, SQL and meaning."""

    answer: ClassVar[type[Output]] = ProjectRead

    task_counts: Annotated[
        TaskCounts,
        Reads(_count_tasks, otherwise=NO_TASKS),
        Field(description="The numbers of live tasks in it."),
    ]


ProjectIncludeDep = Annotated[Include, Depends(FromQuery(ProjectIncludes.query()))]
