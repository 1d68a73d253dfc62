"""How new tags are reverted; the journal of changes finds this by its name."""

from sqlalchemy.orm import Session

from vibetracker.core.http.problems import Conflict

from .association import has_live_owner, take_off
from .model import Tag


def delete(session: Session, tag_id: int) -> None:
    """Delete a tag; what is in the trash loses it.

    What was created together with it has gone there before. Raises ``Conflict`` where anything else
    has the tag by now, which others have put on it.
    """
    if has_live_owner(session, tag_id):
        raise Conflict(f"Tag {tag_id} is in use")
    tag = session.get_one(Tag, tag_id, populate_existing=True)
    take_off(session, tag)
    session.delete(tag)
