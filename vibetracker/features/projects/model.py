"""The projects table."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, validates

from vibetracker.core.api.names import Named
from vibetracker.core.db.model import Resource
from vibetracker.core.db.types import UTCDateTime, utcnow

from .problems import ProjectNameTaken


class Project(Named):
    """A container of tasks with a name that is unique whatever its case."""

    __tablename__ = "projects"

    description: Mapped[str] = mapped_column(default="")
    color: Mapped[str | None] = mapped_column(default=None)
    archived: Mapped[bool] = mapped_column(default=False)
    archived_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)

    __table_args__ = (
        CheckConstraint("length(name) BETWEEN 1 AND 200", "name_length"),
        CheckConstraint("length(description) <= 50000", "description_length"),
        CheckConstraint("archived = (archived_at IS NOT NULL)", "archived_since"),
        UniqueConstraint("key", info={"problem": ProjectNameTaken}),
        Index(None, "search_key", "id"),
        Index(None, "created_at"),
        Index(None, "updated_at"),
        Resource.__table_args__,
    )

    @validates("archived")
    def _date(self, _: str, archived: bool) -> bool:  # noqa: FBT001 - SQLAlchemy passes it so
        if archived != self.archived:
            self.archived_at = utcnow() if archived else None
            if self.archived_at and self.created_at is None:
                # One instant for both.
                self.created_at = self.archived_at
        return archived
