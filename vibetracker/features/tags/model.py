"""The tags table."""

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from vibetracker.core.api.names import Named
from vibetracker.core.db.model import Resource

from .problems import TagNameTaken


class Tag(Named):
    """A label with a name that is unique whatever its case."""

    __tablename__ = "tags"

    color: Mapped[str | None] = mapped_column(default=None)
    description: Mapped[str] = mapped_column(default="")

    __table_args__ = (
        UniqueConstraint("key", info={"problem": TagNameTaken}),
        Index(None, "search_key", "id"),
        Index(None, "created_at"),
        Index(None, "updated_at"),
        Resource.__table_args__,
    )
