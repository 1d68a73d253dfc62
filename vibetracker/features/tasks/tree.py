"""Public: the tree of tasks: who is above and below whom, and which of them are in the trash."""

from collections.abc import Sequence
from datetime import datetime
from itertools import batched, chain

from sqlalchemy import (
    CTE,
    ColumnElement,
    Row,
    bindparam,
    delete,
    literal,
    select,
    true,
)
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from vibetracker.core.db.changes import announcing, write_versions
from vibetracker.core.db.database import lock
from vibetracker.core.db.portions import AT_ONCE, among
from vibetracker.core.db.types import BigInt

from .model import live, tasks

MAX_DEPTH = 8
FEW = 500
"""Tasks that a statement names by their ids."""

_TASK = bindparam("task", type_=BigInt)


def lock_tree(session: Session, *, shared: bool = False) -> None:
    """Keep the tree of tasks as it is until the transaction ends.

    Taken before any row is locked, so that two transactions cannot wait for each other.
    """
    lock(session, "tasks tree", shared=shared)


def try_lock_tree(session: Session, *, shared: bool = False) -> None:
    """Keep the tree as it is, for who has locked rows already, and must not wait.

    While another transaction has it, this one begins again: raises ``StaleDataError``.
    """
    if not lock(session, "tasks tree", shared=shared, wait=False):
        raise StaleDataError("the tree of tasks is changed by another transaction")


def ancestry(session: Session, task_id: int) -> Sequence[Row[int, int | None]]:
    """Return ``id`` and ``project_id`` of a live task and of its ancestors, from the bottom up.

    Empty where there is no such task.
    """
    return session.execute(_ANCESTRY, {"task": task_id}).all()


def levels_below(session: Session, task_id: int) -> list[list[int]]:
    """Return the ids of all that is below a task, level by level, the trash too.

    Each level is looked up by the ids of the one above: PostgreSQL takes a subtree for larger or
    smaller than it is, and would read all tasks, or all of them for each.
    """
    levels: list[list[int]] = []
    level = [task_id]
    while level := [
        child
        for some in batched(level, AT_ONCE)
        for child in session.scalars(select(tasks.c.id).where(among(tasks.c.parent_id, some)))
    ]:
        levels.append(level)
    return levels


def is_below(session: Session, task_id: int) -> ColumnElement[bool]:
    """Return the condition that a task is below another one, at any depth."""
    below = [*chain.from_iterable(levels_below(session, task_id))]
    is_one = tasks.c.id.in_(below)
    # A few are read by their ids, and many are recognised in the order of the list.
    return is_one if len(below) <= FEW else is_one.is_(true())


def trash(session: Session, task_id: int, now: datetime, at: datetime) -> None:
    """Put what is live of a task's subtree into the trash, as of an instant."""
    ids = [task_id, *_lock_below(session, task_id, live)]
    trashed = {"updated_at": now, "deleted_at": at, "deleted_with": task_id}
    write_versions(session, tasks, ids, trashed)


def restore(session: Session, task_id: int, deleted_with: int, now: datetime) -> None:
    """Bring back what is of a task's subtree and went into the trash with the same task."""
    together = tasks.c.deleted_with == deleted_with
    ids = [task_id, *_lock_below(session, task_id, together)]
    live_again = {"updated_at": now, "deleted_at": None, "deleted_with": None}
    write_versions(session, tasks, ids, live_again)


def purge(session: Session, task_id: int) -> None:
    """Remove a task and its subtree for good; the foreign keys take along what hangs on them.

    The lowest first, so that no statement takes along more than it names.
    """
    levels = levels_below(session, task_id)
    subtree = [*chain.from_iterable(reversed(levels)), task_id]
    with announcing(session, tasks, subtree, deletes=True):
        for some in batched(subtree, AT_ONCE):
            session.execute(delete(tasks).where(among(tasks.c.id, some)))


def put_below_in(
    session: Session, task_id: int, project_id: int | None, now: datetime
) -> Sequence[int]:
    """Put all that is below a task into a project, the trash too; return the ids of that.

    The task itself stays.
    """
    ids = _lock_below(session, task_id, true())
    write_versions(session, tasks, ids, {"updated_at": now, "project_id": project_id})
    return ids


def _lock_below(session: Session, task_id: int, condition: ColumnElement[bool]) -> list[int]:
    """Lock those below a task, whose row is locked, that meet a condition; return their ids."""
    below = sorted(chain.from_iterable(levels_below(session, task_id)))
    locked: list[int] = []
    for some in batched(below, AT_ONCE):
        rows = select(tasks.c.id).where(among(tasks.c.id, some), condition).order_by(tasks.c.id)
        locked += session.scalars(rows.with_for_update())
    return locked


def _ancestors() -> CTE:
    above = (
        select(tasks.c.id, tasks.c.parent_id, tasks.c.project_id, literal(1).label("level"))
        .where(tasks.c.id == _TASK, live)
        .cte(recursive=True)
    )
    parent = tasks.alias()
    return above.union_all(
        select(parent.c.id, parent.c.parent_id, parent.c.project_id, above.c.level + 1).join(
            above, parent.c.id == above.c.parent_id
        )
    )


_above = _ancestors()
_ANCESTRY = select(_above.c.id, _above.c.project_id).order_by(_above.c.level)
