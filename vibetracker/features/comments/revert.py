"""How new comments are reverted; the journal of changes finds this by its name."""

from sqlalchemy.orm import Session

from .model import Comment


def delete(session: Session, comment_id: int) -> None:
    """Delete a comment, on a task in the trash too: that may have gone there before."""
    session.delete(session.get_one(Comment, comment_id, populate_existing=True))
