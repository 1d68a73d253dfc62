"""What the health operations answer."""

from typing import Literal

from pydantic import Field

from vibetracker.core.schema import Output


class Liveness(Output):
    """The process serves."""

    status: Literal["ok"] = "ok"


class Health(Output):
    """The service can do its work, and what was checked to say so."""

    status: Literal["ok"] = "ok"
    version: str = Field(description="Version of the service.")
    checks: dict[str, Literal["ok"]] = Field(description="Each part that was checked.")
