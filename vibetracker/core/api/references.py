"""References from a body: ids of resources that must exist."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from vibetracker.core.db.model import Resource, noun
from vibetracker.core.http.problems import invalid


def require(session: Session, model: type[Resource], resource_id: int | None, *, at: str) -> None:
    """Refuse the id of a resource that is not there, or not live; ``at`` points to it."""
    if resource_id is None:
        return
    if session.scalar(select(model.id).where(model.id == resource_id, model.live())) is None:
        code = f"unknown_{noun(model).replace(' ', '_')}"
        raise invalid(f"There is no {noun(model)} with this id", code=code, pointer=at)
