"""How changes of tasks are reverted; the journal of changes finds this by its name."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy.orm import Session

from vibetracker.core.db.types import utcnow

from .calendar import Clock
from .changes import TaskChanges
from .model import UTC
from .rows import TaskRow, lock_task, lock_tasks, read_again, refuse_trashed
from .schema import TaskUpdate
from .tree import ancestry, lock_tree

TIMES = ("started_at", "completed_at", "cancelled_at")
"""Members that follow from the status, and are as they were when that is."""


def lock(session: Session, _: Mapping[int, Mapping[str, Any]]) -> None:
    """Lock what is locked before any task."""
    lock_tree(session)


def revert(session: Session, action: str, values: Mapping[int, Mapping[str, Any]]) -> None:
    """Revert changes of one kind; ``values`` are those of members before, by task."""
    changes = TaskChanges(session, Clock(UTC, utcnow()))
    rows = [*lock_tasks(session, values).values()]
    # From the top down: a subtree follows what is above it, and so does what of it is in the trash.
    rows.sort(key=lambda row: (row["deleted_at"] is not None, len(ancestry(session, row["id"]))))
    for row in rows:
        before = values[row["id"]]
        if action == "trashed":
            _bring_back(changes, row)
            if before.keys() & TaskUpdate.model_fields.keys():
                read_again(session, [row])
                _put_back(changes, row, before)
        elif action in {"created", "restored"}:
            at = before.get("deleted_at")
            # Perhaps it has gone with one above it.
            if lock_task(session, row["id"])["deleted_at"] is None:
                changes.trash(row, at and datetime.fromisoformat(at))
        elif row["id"] not in changes.taken_along:
            _put_back(changes, row, before)
        elif before.keys() != {"project_id"}:
            read_again(session, [row])
            _put_back(changes, row, before)


def _bring_back(changes: TaskChanges, row: TaskRow) -> None:
    """Restore a task, and first what it is below, as far as that is in the trash too."""
    session = changes.session
    while (row := lock_task(session, row["id"]))["deleted_at"] is not None:
        top = row
        while top["parent_id"] is not None:
            above = lock_task(session, top["parent_id"])
            if above["deleted_at"] is None:
                break
            top = above
        changes.restore(top)


def _put_back(changes: TaskChanges, row: TaskRow, before: Mapping[str, Any]) -> None:
    """Write what a PATCH could write, and what follows from it as it was before."""
    refuse_trashed(row)
    position = before.get("position", row["position"])
    sent = {name: before[name] for name in before if name in TaskUpdate.model_fields}
    changes.update(row, TaskUpdate.model_validate_json(to_json(sent)))
    for name in before.keys() & set(TIMES):
        row.values[name] = before[name] and datetime.fromisoformat(before[name])
    # A PATCH of the parent would put it last.
    row.values["position"] = position
    changes.flush()
