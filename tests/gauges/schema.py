"""What comes in and goes out for gauges."""

from datetime import datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from pydantic import Field

from vibetracker.core.api.schema import Input, Output

from .model import Kind


class GaugeCreate(Input):
    """A new gauge."""

    label: str
    note: str = Field(alias="noteText")


class GaugeRead(Output):
    """A gauge."""

    id: int
    label: str
    note: str = Field(alias="noteText")
    kind: Kind
    code: UUID
    price: Decimal
    runs_for: timedelta
    runs_at: time | None
    worth: Decimal
    created_at: datetime
    updated_at: datetime
    version: int
