"""What becomes of the tasks in a project that is deleted."""

from datetime import datetime
from functools import partial
from itertools import batched, groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Select, bindparam, func, literal, select, update
from sqlalchemy.orm import Session

from vibetracker.core.db.changes import announcing
from vibetracker.core.db.portions import AT_ONCE, among
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
    above = tasks.alias()
    with_parent = select(above.c.deleted_with).where(above.c.id == tasks.c.parent_id)
    _take_out(
        session,
        project_id,
        now,
        deleted_at=func.coalesce(tasks.c.deleted_at, now),
        deleted_with=func.coalesce(tasks.c.deleted_with, with_parent.scalar_subquery(), tasks.c.id),
    )


def _take_out(session: Session, project_id: int, now: datetime, **values: Any) -> None:
    """Take all tasks out of a project, each after its parent."""
    # Locking in one order keeps two such changes from waiting for each other.
    ids = session.scalars(_LOCK, {"project": project_id}).all()
    values |= {"project_id": None, "version": tasks.c.version + 1, "updated_at": now}
    statement = update(tasks).values(values)
    levels = session.execute(_LEVELS, {"project": project_id}).all()
    with announcing(session, tasks, ids):
        for _, level in groupby(levels, key=itemgetter(1)):
            # By their ids, since PostgreSQL may take their number for another one than it is.
            for some in batched((task_id for task_id, _ in level), AT_ONCE):
                session.execute(statement.where(among(tasks.c.id, some)))


def _levels() -> Select[int, int]:
    """Select the tasks in a project, each with the number of those above it."""
    top = select(tasks.c.id, literal(0).label("level")).where(_inside, tasks.c.parent_id.is_(None))
    trees = top.cte(recursive=True)
    child = tasks.alias()
    trees = trees.union_all(
        select(child.c.id, trees.c.level + 1)
        .join(trees, child.c.parent_id == trees.c.id)
        # As all are; PostgreSQL overrates what a tree can be, and would read all tasks.
        .where(child.c.project_id == _PROJECT)
    )
    return select(trees.c.id, trees.c.level).order_by(trees.c.level)


_LEVELS = _levels()
_COUNT = select(func.count()).where(_inside)
_LOCK = select(tasks.c.id).where(_inside).order_by(tasks.c.id).with_for_update()

IN_PROJECTS = Contents(
    lock=lock_tree,
    count=_count,
    counts=partial(count_by, tasks.c.project_id),
    keep=_keep,
    trash=_trash,
)
