"""How changes of recurrences are reverted; the journal of changes finds this by its name."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from vibetracker.core.api.preconditions import lock_rows
from vibetracker.features.tasks.model import Task
from vibetracker.features.tasks.tree import lock_tree

from .model import Recurrence


def lock(session: Session, values: Mapping[int, Mapping[str, Any]]) -> None:
    """Lock what a completion locks before the recurrence: the tasks that it is moved between."""
    lock_tree(session)
    now = session.scalars(select(Recurrence.task_id).where(Recurrence.id.in_(values)))
    before = [members["task_id"] for members in values.values() if "task_id" in members]
    lock_rows(session, Task, {*now, *before} - {None})


def revert(session: Session, action: str, values: Mapping[int, Mapping[str, Any]]) -> None:
    """Revert changes of one kind; ``values`` are those of members before, by recurrence."""
    found = select(Recurrence).where(Recurrence.id.in_(values))
    for recurrence in session.scalars(found, execution_options={"populate_existing": True}):
        if action == "created":
            session.delete(recurrence)
            continue
        for name, value in values[recurrence.id].items():
            setattr(recurrence, name, value)
