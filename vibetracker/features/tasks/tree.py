"""The tree of tasks: who is above and below whom, and which of them are in the trash."""

from collections.abc import Sequence
from datetime import datetime
from itertools import batched
from typing import cast

from sqlalchemy import CTE, ColumnElement, Table, bindparam, func, literal, select, update
from sqlalchemy.orm import aliased

from vibetracker.core.database import lock
from vibetracker.core.model import BigInt, UTCDateTime
from vibetracker.core.session import Session
from vibetracker.core.statements import Kept

from .model import Task, live

MAX_DEPTH = 8
UPDATED_AT_ONCE = 1000

_TASK = bindparam("task", type_=BigInt)


def lock_tree(session: Session, *, shared: bool = False) -> None:
    """Keep the tree of tasks as it is until the transaction ends.

    Taken before any row is locked, so that two transactions cannot wait for each other.
    """
    lock(session, "tasks tree", shared=shared)


def ancestry(session: Session, task_id: int) -> list[int]:
    """Give the id of a live task and those of its ancestors, from the bottom up.

    There is none where there is no such task.
    """
    return [row[0] for row in _ANCESTRY.rows(session.connection(), {"task": task_id})]


def height(session: Session, task_id: int) -> int:
    """Count the levels from a task down to its lowest descendant."""
    ((levels,),) = _HEIGHT.rows(session.connection(), {"task": task_id})
    return levels or 1


def trash(session: Session, task_id: int, now: datetime) -> None:
    """Put what is live of a task's subtree into the trash."""
    rows = _LIVE.rows(session.connection(), {"task": task_id})
    _mark(session, [row[0] for row in rows], now, deleted_at=now, deleted_with=task_id)


def restore(session: Session, task_id: int, deleted_with: int, now: datetime) -> None:
    """Bring back what is of a task's subtree and went into the trash with the same task."""
    values = {"task": task_id, "with": deleted_with}
    rows = _TRASHED_TOGETHER.rows(session.connection(), values)
    _mark(session, [row[0] for row in rows], now, deleted_at=None, deleted_with=None)


def _mark(
    session: Session,
    ids: Sequence[int],
    now: datetime,
    *,
    deleted_at: datetime | None,
    deleted_with: int | None,
) -> None:
    values = {"now": now, "at": deleted_at, "with": deleted_with}
    # By their ids, since PostgreSQL overrates what a subtree can be and would read all tasks.
    for some in batched(ids, UPDATED_AT_ONCE):
        session.connection().execute(_MARK, {"ids": some, **values})


def _ancestors() -> CTE:
    chain = (
        select(Task.id, Task.parent_id, literal(1).label("level"))
        .where(Task.id == _TASK, live)
        .cte(recursive=True)
    )
    parent = aliased(Task)
    return chain.union_all(
        select(parent.id, parent.parent_id, chain.c.level + 1).join(
            chain, parent.id == chain.c.parent_id
        )
    )


def _descendants() -> CTE:
    tree = select(Task.id, literal(1).label("level")).where(Task.id == _TASK).cte(recursive=True)
    child = aliased(Task)
    return tree.union_all(
        select(child.id, tree.c.level + 1).join(tree, child.parent_id == tree.c.id)
    )


def _locked(condition: ColumnElement[bool]) -> Kept:
    subtree = select(_descendants().c.id)
    return Kept(
        select(Task.id).where(Task.id.in_(subtree), condition).order_by(Task.id).with_for_update()
    )


_chain = _ancestors()
_ANCESTRY = Kept(select(_chain.c.id).order_by(_chain.c.level))
_HEIGHT = Kept(select(func.max(_descendants().c.level)))
_LIVE = _locked(live)
_TRASHED_TOGETHER = _locked(Task.deleted_with == bindparam("with", type_=BigInt))
_tasks = cast(Table, Task.__table__)
_MARK = (
    update(_tasks)
    .where(_tasks.c.id.in_(bindparam("ids", expanding=True)))
    .values(
        version=_tasks.c.version + 1,
        updated_at=bindparam("now", type_=UTCDateTime),
        deleted_at=bindparam("at", type_=UTCDateTime),
        deleted_with=bindparam("with", type_=BigInt),
    )
)
