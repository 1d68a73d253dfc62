"""What becomes of the tasks in a project that is deleted."""

from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import CTE, bindparam, func, select, update
from sqlalchemy.orm import Session

from vibetracker.core.db.changes import announcing
from vibetracker.core.db.types import BigInt, utcnow
from vibetracker.features.projects.contents import Contents

from .includes import count_by
from .model import tasks
from .tree import lock_tree

_PROJECT = bindparam("project", type_=BigInt)
_inside = tasks.c.project_id == _PROJECT


def _count(session: Session, project_id: int) -> int:
    return session.scalar(_COUNT, {"project": project_id}) or 0


def _keep(session: Session, project_id: int) -> None:
    _take_out(session, project_id, utcnow())


def _trash(session: Session, project_id: int) -> None:
    """Put each tree of tasks into the trash by itself, so that it is restored by itself."""
    now = utcnow()
    trees = _trees()
    _take_out(
        session,
        project_id,
        now,
        trees,
        deleted_at=func.coalesce(tasks.c.deleted_at, now),
        deleted_with=func.coalesce(tasks.c.deleted_with, trees.c.root),
    )


def _take_out(
    session: Session,
    project_id: int,
    now: datetime,
    joined: CTE | None = None,
    **values: object,
) -> None:
    # Locking in one order keeps two such changes from waiting for each other.
    ids = session.scalars(_LOCK, {"project": project_id}).all()
    statement = update(tasks).where(_inside)
    if joined is not None:
        statement = statement.where(tasks.c.id == joined.c.id)
    new: dict[str, Any] = {
        "project_id": None,
        "version": tasks.c.version + 1,
        "updated_at": now,
        **values,
    }
    with announcing(session, tasks, ids):
        session.execute(statement.values(new), {"project": project_id})


def _trees() -> CTE:
    """Return the tasks in a project, each with the one at the top of its tree."""
    top = select(tasks.c.id, tasks.c.id.label("root")).where(_inside, tasks.c.parent_id.is_(None))
    trees = top.cte(recursive=True)
    child = tasks.alias()
    return trees.union_all(
        select(child.c.id, trees.c.root)
        .join(trees, child.c.parent_id == trees.c.id)
        # As all are; PostgreSQL overrates what a tree can be, and would read all tasks.
        .where(child.c.project_id == _PROJECT)
    )


_COUNT = select(func.count()).where(_inside)
_LOCK = select(tasks.c.id).where(_inside).order_by(tasks.c.id).with_for_update()

IN_PROJECTS = Contents(
    lock=lock_tree,
    count=_count,
    counts=partial(count_by, tasks.c.project_id),
    keep=_keep,
    trash=_trash,
)
