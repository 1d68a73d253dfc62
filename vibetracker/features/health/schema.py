"""What the health operations answer."""

from typing import Literal

from pydantic import ConfigDict, Field

from vibetracker.core.api.schema import Output


class Liveness(Output):
    """The process serves."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    status: Literal["ok"] = Field("ok", description="All is well; anything else is a problem.")


class Health(Output):
    """The service can do its work, and what was checked to say so."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    status: Literal["ok"] = Field("ok", description="All is well; anything else is a problem.")
    version: str = Field(description="Version of the service.", examples=["0.1.0"])
    checks: dict[str, Literal["ok"]] = Field(
        description="Each part that was checked.", examples=[{"database": "ok"}]
    )
