"""What comes in and goes out for projects."""

from datetime import datetime
from typing import Annotated

from pydantic import MISSING, Field

from vibetracker.core.api.schema import Input, Output, Patch
from vibetracker.core.api.text import Line, Prose
from vibetracker.features.tags.schema import Color

ProjectName = Annotated[
    str, Line(200), Field(description="Unique ignoring case.", examples=["New kitchen"])
]
Description = Annotated[str, Prose(50_000), Field(description="More about it, in Markdown.")]
Archived = Annotated[bool, Field(description="An archived project takes no tasks.")]


class ProjectCreate(Input):
    """A new project."""

    name: ProjectName
    description: Description = ""
    color: Color | None = None
    archived: Archived = False


class ProjectUpdate(Patch):
    """Changes to a project."""

    name: ProjectName | MISSING = MISSING
    description: Description | MISSING = MISSING
    color: Color | MISSING | None = MISSING
    archived: Archived | MISSING = MISSING


class TaskCounts(Output):
    """How many tasks are in a project, the trash left out."""

    total: int = Field(description="All of them.")
    open: int = Field(description="Those that are `todo` or `in_progress`.")
    done: int = Field(description="Those that are `done`.")
    cancelled: int = Field(description="Those that are `cancelled`.")


class ProjectRead(Output):
    """A project."""

    id: int
    name: str = Field(description="Unique ignoring case, which is kept as it was written.")
    description: str = Field(description="More about it, in Markdown.")
    color: str | None = Field(description="As in CSS, `#rrggbb` in lower case.")
    archived: bool = Field(description="Whether it takes no tasks.")
    archived_at: datetime | None = Field(description="In the archive since; null if it is not.")
    created_at: datetime
    updated_at: datetime
    version: int
