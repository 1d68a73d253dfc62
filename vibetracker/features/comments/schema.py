"""What comes in and goes out for comments."""

from datetime import datetime
from typing import Annotated

from pydantic import MISSING, Field

from vibetracker.core.api.schema import Id, Input, Output, Patch
from vibetracker.core.api.text import Line, Prose

TaskId = Annotated[Id, Field(description="The task that it is about; it stays there.")]
Body = Annotated[
    str,
    Prose(10_000, min_length=1),
    Field(description="What is said, in Markdown.", examples=["The **blue** one is enough."]),
]
Author = Annotated[str, Line(80, min_length=0), Field(description="Who says it.", examples=["Ada"])]


class CommentCreate(Input):
    """A new comment."""

    task_id: TaskId
    body: Body
    author: Author = ""


class CommentUpdate(Patch):
    """Changes to a comment."""

    body: Body | MISSING = MISSING
    author: Author | MISSING = MISSING


class CommentRead(Output):
    """A comment."""

    id: int
    task_id: int = Field(description="The task that it is about.")
    body: str = Field(description="What is said, in Markdown.")
    author: str = Field(description="Who says it.")
    created_at: datetime
    updated_at: datetime
    version: int = Field(description="Grows by one with every change; the `ETag`.")
