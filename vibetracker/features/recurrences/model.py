"""The recurrences table."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, UniqueConstraint, and_, select
from sqlalchemy.orm import Mapped, mapped_column

from vibetracker.core.db.model import Resource
from vibetracker.core.db.portions import is_found
from vibetracker.core.db.types import BigInt, Ranked
from vibetracker.features.tasks.model import OPEN, Task

from .occurrences import Due, Series
from .problems import TaskRecursAlready

CAN_RECUR = and_(Task.live(), Task.status.in_(OPEN), Task.due.is_not(None))
"""The condition of a task whose recurrence has not ended."""


LAST_NUMBER = 2**31 - 1
"""What the column holds; dues behind it have the same number."""


class Mode(StrEnum):
    """What the next due is counted from."""

    FIXED = "fixed"
    AFTER_COMPLETION = "after_completion"


class Recurrence(Resource):
    """What makes a task come again; it moves on from each task to the next.

    It has ended while its task is not open, in the trash or without a due: nothing is written for
    that, so that it goes on when the task is restored or open again.
    """

    __tablename__ = "recurrences"

    task_id: Mapped[int] = mapped_column(BigInt, ForeignKey(Task.id, ondelete="CASCADE"))
    rule: Mapped[str]
    time_zone: Mapped[str]
    mode: Mapped[Mode] = mapped_column(Ranked(Mode))
    anchor: Mapped[str]
    """That of ``Series``, in ISO 8601."""
    number: Mapped[int]
    """Which due of the rule the task has, the first being 1."""
    previous_task_id: Mapped[int | None] = mapped_column(BigInt)
    """The task that it moved on from. No foreign key, since that task may be deleted."""

    __table_args__ = (
        UniqueConstraint("task_id", info={"problem": TaskRecursAlready}),
        Index(None, "previous_task_id"),
        Index(None, "created_at"),
        Index(None, "updated_at"),
        Resource.__table_args__,
    )

    def series(self, due: Due, completed_at: datetime) -> Series:
        """Return what follows when the task with this due is completed."""
        series = Series.of(self.rule, self.time_zone, due, self.anchor)
        return series if self.mode is Mode.FIXED else series.from_day_of(completed_at)

    def anchor_again(self, due: Due) -> None:
        """Let go of the day of a completion that is taken back, where that is the anchor."""
        if self.mode is Mode.AFTER_COMPLETION:
            series = Series.of(self.rule, self.time_zone, due, self.anchor)
            self.anchor = series.from_day(series.day).anchor.isoformat()


_its_task = select(Task.id).where(Task.id == Recurrence.task_id, CAN_RECUR).correlate(Recurrence)
GOES_ON = is_found(_its_task)
"""The condition of a recurrence that has not ended."""
