"""What comes in and goes out for tasks."""

from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import MISSING, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from vibetracker.core.api.schema import CalendarDate, Id, Input, Output, Patch, Timestamp
from vibetracker.core.api.text import Line, Prose
from vibetracker.features.projects.schema import TaskCounts
from vibetracker.features.tags.schema import TagList

from .model import Priority as PriorityEnum
from .model import Status as StatusEnum

Title = Annotated[
    str, Line(500), Field(description="What there is to do.", examples=["Water the plants"])
]
Description = Annotated[str, Prose(50_000), Field(description="More about it, in Markdown.")]
Status = Annotated[
    StatusEnum, Field(strict=False, description="How far it is; any can follow any other.")
]
Priority = Annotated[
    PriorityEnum, Field(strict=False, description="How urgent it is; sorts by that.")
]
DueOn = Annotated[
    CalendarDate,
    Field(
        description="The day at whose end the task is due; not with `due_at`.",
        examples=["2026-03-01"],
    ),
]
DueAt = Annotated[
    Timestamp, Field(description="The instant at which the task is due; not with `due_on`.")
]
StartAt = Annotated[Timestamp, Field(description="Not before this instant; not after the due.")]
ParentId = Annotated[
    Id, Field(description="The task that this one is a part of; at most 8 levels deep.")
]

ProjectId = Annotated[
    Id, Field(description="The project that it is in; a subtask is in that of its parent.")
]


class TaskCreate(Input):
    """A new task."""

    title: Title
    description: Description = ""
    status: Status = StatusEnum.TODO
    priority: Priority = PriorityEnum.NONE
    due_on: DueOn | None = None
    due_at: DueAt | None = None
    start_at: StartAt | None = None
    parent_id: ParentId | None = None
    project_id: ProjectId | None = None
    tags: TagList = Field(default=[])
    completed_at: (
        Annotated[
            Timestamp,
            Field(description="When it was done, if that was before now; only with `done`."),
        ]
        | None
    ) = None


class TaskUpdate(Patch):
    """Changes to a task."""

    title: Title | MISSING = MISSING
    description: Description | MISSING = MISSING
    status: Status | MISSING = MISSING
    priority: Priority | MISSING = MISSING
    due_on: DueOn | MISSING | None = MISSING
    due_at: DueAt | MISSING | None = MISSING
    start_at: StartAt | MISSING | None = MISSING
    parent_id: ParentId | MISSING | None = MISSING
    project_id: ProjectId | MISSING | None = MISSING
    tags: TagList | MISSING = MISSING


PLACES = ("before_id", "after_id", "to")


class TaskMove(Input):
    """Where to put a task among its siblings; exactly one of the first three."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": [it]} for it in PLACES],
            "examples": [{"to": "first"}],
        }
    )

    before_id: Annotated[Id, Field(description="The sibling to stand in front of.")] | MISSING = (
        MISSING
    )
    after_id: Annotated[Id, Field(description="The sibling to stand behind.")] | MISSING = MISSING
    to: (
        Annotated[Literal["first", "last"], Field(description="The end of its siblings to go to.")]
        | MISSING
    ) = MISSING
    parent_id: (
        Annotated[Id, Field(description="The new parent, or null for none; absent: as it is.")]
        | MISSING
        | None
    ) = MISSING

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if len(self.model_fields_set.intersection(PLACES)) != 1:
            raise PydanticCustomError("one_place", "Send exactly one of before_id, after_id and to")
        return self


class SubtaskCounts(TaskCounts):
    """How many direct subtasks a task has, the trash left out."""


class TaskRead(Output):
    """A task."""

    id: int
    title: str = Field(description="What there is to do.")
    description: str = Field(description="More about it, in Markdown.")
    status: StatusEnum = Field(description="How far it is.")
    priority: PriorityEnum = Field(description="How urgent it is.")
    due_on: date | None = Field(description="The day at whose end it is due.")
    due_at: datetime | None = Field(description="The instant at which it is due, in UTC.")
    start_at: datetime | None = Field(description="Not before this instant, in UTC.")
    parent_id: int | None = Field(description="The task that this one is a part of.")
    project_id: int | None = Field(description="The project that it is in.")
    tags: list[str] = Field(validation_alias="tag_names", description="Sorted as in `GET /tags`.")
    position: str = Field(
        description="Sorts the task among its siblings, by code point; opaque otherwise.",
        examples=["800000000000"],
    )
    started_at: datetime | None = Field(description="When it was first in progress.")
    completed_at: datetime | None = Field(description="When it was done; null if it is not.")
    cancelled_at: datetime | None = Field(description="When it was cancelled; null if not.")
    created_at: datetime
    updated_at: datetime
    version: int
    deleted_at: datetime | None = Field(description="In the trash since.")
