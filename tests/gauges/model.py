"""The gauges table."""

from datetime import time, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID, uuid4

from sqlalchemy import Computed, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from vibetracker.core.db.model import Resource


class Kind(Enum):
    """The kinds of a gauge."""

    SMALL = "small"
    LARGE = "large"


class Gauge(Resource):
    """A gauge."""

    __tablename__ = "gauges"

    label: Mapped[str] = mapped_column("name", unique=True)
    note: Mapped[str]
    kind: Mapped[Kind] = mapped_column(default=Kind.LARGE)
    code: Mapped[UUID] = mapped_column(default=uuid4)
    price: Mapped[Decimal] = mapped_column(Numeric(8, 2), default=Decimal("2.50"))
    runs_for: Mapped[timedelta] = mapped_column(default=timedelta(days=-40, microseconds=5))
    runs_at: Mapped[time | None] = mapped_column(default=time(12, 30))
    worth: Mapped[Decimal] = mapped_column(Numeric(8, 2), Computed("price * 2", persisted=True))
