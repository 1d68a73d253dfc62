"""What comes out of an import."""

from pydantic import MISSING, Field

from vibetracker.core.api.schema import Output


class LeftOutRead(Output):
    """Something of a file that has no counterpart here."""

    line: int | MISSING = Field(MISSING, description="Line of the file; the first is 1.")
    pointer: str | MISSING = Field(
        MISSING, description="RFC 6901 pointer into the file, where that is JSON."
    )
    code: str = Field(description="Stable, machine-readable name of the reason.")
    detail: str = Field(description="What was left out, for people.")


class ImportResult(Output):
    """What an import has created, and what of the file it has left out."""

    created: dict[str, int] = Field(
        description="How many of each were created.", examples=[{"tags": 2, "tasks": 12}]
    )
    skipped: list[LeftOutRead] = Field(
        description="What has no counterpart here, each once; what would be told more than 1000 "
        "times is told with its number."
    )
