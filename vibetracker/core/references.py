"""References from a body: ids of resources that must exist."""

from sqlalchemy import select

from vibetracker.core.model import Resource, noun
from vibetracker.core.problems import invalid
from vibetracker.core.session import Session


def require(session: Session, model: type[Resource], resource_id: int | None, *, at: str) -> None:
    """Refuse the id of a resource that does not exist; ``at`` points to it in the body."""
    if resource_id is None:
        return
    if session.scalar(select(model.id).where(model.id == resource_id)) is None:
        code = f"unknown_{noun(model).replace(' ', '_')}"
        raise invalid(f"There is no {noun(model)} with this id", code=code, pointer=at)
