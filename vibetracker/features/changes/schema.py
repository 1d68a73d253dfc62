"""What comes in and goes out for changes."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from vibetracker.core.api.schema import Input, Output

from .model import Action

RequestId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        description="The `X-Request-ID` of a request.",
        examples=["5f2b3c1d"],
    ),
]


class ChangeRead(Output):
    """One change of one resource."""

    id: int
    at: datetime = Field(description="When it was written.")
    request_id: str = Field(description="The `X-Request-ID` of the request that made it.")
    resource: str = Field(description="The feature of the resource.", examples=["tasks"])
    resource_id: int
    action: Action = Field(description="What has happened to the resource.")
    version: int = Field(description="The version that it made; of a deleted one the last.")
    changes: dict[str, list[Any]] = Field(
        description="Each member that differs, with its values before and after; `null` before "
        "a creation and after a deletion. `version` and `updated_at` are left out.",
        examples=[{"status": ["todo", "done"]}],
    )


class ChangeFeed(Output):
    """Changes in their order, and where the next ones begin."""

    items: list[ChangeRead] = Field(description="At most `limit` of them, the oldest first.")
    next_cursor: str = Field(description="Send this as `after` to get what comes next.")
    has_more: bool = Field(description="Whether there is more already.")


class RequestRevert(Input):
    """The request that is to be undone."""

    request_id: RequestId


class RevertedResource(Output):
    """The resource as it is now, with all of its members."""

    model_config = ConfigDict(extra="allow")

    id: int
    version: int


class RevertedRequest(Output):
    """What has been undone."""

    items: list[ChangeRead] = Field(description="The changes that undo it, in their order.")
