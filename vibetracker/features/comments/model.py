"""The comments table."""

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, validates

from vibetracker.core.api.text import searchable
from vibetracker.core.db.model import Resource
from vibetracker.core.db.types import BigInt
from vibetracker.features.tasks.model import Task


class Comment(Resource):
    """What somebody says about a task."""

    __tablename__ = "comments"

    task_id: Mapped[int] = mapped_column(BigInt, ForeignKey(Task.id, ondelete="CASCADE"))
    body: Mapped[str]
    search_text: Mapped[str]
    """The body as it is searched in."""
    author: Mapped[str] = mapped_column(default="")

    __table_args__ = (
        Index(None, "created_at"),
        Index(None, "updated_at"),
        Index(None, "task_id", "created_at", "id"),
        Resource.__table_args__,
    )

    @validates("body")
    def _fold(self, _: str, body: str) -> str:
        self.search_text = searchable(body)
        return body
