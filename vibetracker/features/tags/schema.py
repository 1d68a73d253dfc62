"""What comes in and goes out for tags."""

from datetime import datetime
from typing import Annotated

from pydantic import MISSING, Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from vibetracker.core.api.schema import Id, Input, Output, Patch
from vibetracker.core.api.text import Line, Prose

TagName = Annotated[
    str, Line(60, without=","), Field(description="Unique ignoring case.", examples=["home"])
]
TagList = Annotated[
    list[TagName],
    Field(
        max_length=50,
        description="Names of tags, each once, ignoring case. New names become tags.",
        examples=[["garden", "home"]],
    ),
]
"""The tags that a row has."""
Color = Annotated[
    str,
    StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$", to_lower=True),
    Field(description="As in CSS, `#rrggbb`; stored in lower case.", examples=["#00aa55"]),
]
Description = Annotated[str, Prose(500), Field(description="What the tag is for.")]


class TagCreate(Input):
    """A new tag."""

    name: TagName
    color: Color | None = None
    description: Description = ""


class TagUpdate(Patch):
    """Changes to a tag."""

    name: TagName | MISSING = MISSING
    color: Color | MISSING | None = MISSING
    description: Description | MISSING = MISSING


class TagMerge(Input):
    """The tags to merge into another one."""

    source_ids: list[Id] = Field(
        min_length=1,
        max_length=100,
        description="Tags that end; what had them has the target then. Not the target.",
        examples=[[2, 3]],
        json_schema_extra={"uniqueItems": True},
    )

    @field_validator("source_ids")
    @classmethod
    def _each_once(cls, source_ids: list[int]) -> list[int]:
        if len(set(source_ids)) < len(source_ids):
            raise PydanticCustomError("repeated", "Each tag can be given once")
        return source_ids


class TagRead(Output):
    """A tag."""

    id: int
    name: str = Field(description="Unique ignoring case, which is kept as it was written.")
    color: str | None = Field(description="As in CSS, `#rrggbb` in lower case.")
    description: str = Field(description="What the tag is for.")
    created_at: datetime
    updated_at: datetime
    version: int
