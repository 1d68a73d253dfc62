"""What becomes of the tasks in a project that is deleted."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import batched
from typing import Any

from sqlalchemy import Row, bindparam, func, select, update
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
    rows = session.execute(_LOCK, {"project": project_id}).all()
    values |= {"project_id": None, "version": tasks.c.version + 1, "updated_at": now}
    statement = update(tasks).values(values)
    with announcing(session, tasks, [row.id for row in rows]):
        for level in _levels(rows):
            # By their ids, since PostgreSQL may take their number for another one than it is.
            for some in batched(level, AT_ONCE):
                session.execute(statement.where(among(tasks.c.id, some)))


def _levels(rows: Iterable[Row[int, int | None]]) -> Iterator[list[int]]:
    """Yield the ids of those at the top, then of those below them, and so on."""
    below: defaultdict[int | None, list[int]] = defaultdict(list)
    for task_id, parent_id in rows:
        below[parent_id].append(task_id)
    level = below[None]
    while level:
        yield level
        level = [child for task_id in level for child in below[task_id]]


_COUNT = select(func.count()).where(_inside)
_LOCK = select(tasks.c.id, tasks.c.parent_id).where(_inside).order_by(tasks.c.id).with_for_update()

IN_PROJECTS = Contents(
    lock=lock_tree,
    count=_count,
    counts=partial(count_by, tasks.c.project_id),
    keep=_keep,
    trash=_trash,
)
