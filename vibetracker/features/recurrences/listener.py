"""What completing a task and taking that back do to its recurrence."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from vibetracker.core.db.changes import Change, Values
from vibetracker.core.http.problems import ValidationFailed
from vibetracker.features.projects.problems import ProjectArchived
from vibetracker.features.tasks import ranking
from vibetracker.features.tasks.calendar import LAST_ZONE, Clock, last_instant
from vibetracker.features.tasks.changes import TaskChanges
from vibetracker.features.tasks.model import OPEN, UTC, Status, Task
from vibetracker.features.tasks.rows import TaskRow, lock_tasks
from vibetracker.features.tasks.schema import TaskCreate
from vibetracker.features.tasks.siblings import Siblings
from vibetracker.features.tasks.tree import levels_below, try_lock_tree

from .model import LAST_NUMBER, Recurrence
from .occurrences import Due, Series, due_of, dues_of

COPIED = TaskCreate.model_fields.keys() - {
    "status", "completed_at", "due_on", "due_at", "start_at",
}  # fmt: skip
"""Members that the next task has from the one before."""
UNTOUCHED = {"status": Status.TODO, "deleted_at": None}


def on_changes(session: Session, changes: Sequence[Change]) -> None:
    """Create the next task where one is done, and take it back where that is taken back.

    By what the task was then, whatever the same transaction has made of it since.
    """
    completed: dict[int, Values] = {}
    for change in changes:
        if change.resource is not Task or change.before is None or change.after is None:
            continue
        was_open, is_open = (it["status"] in OPEN for it in (change.before, change.after))
        if was_open and change.after["status"] == Status.DONE:
            completed[change.id] = change.after
        elif (
            is_open
            and change.before["status"] == Status.DONE
            # There is no next task yet where the same transaction has completed it.
            and completed.pop(change.id, None) is None
        ):
            _take_back(session, change.before)
    for task in completed.values():
        _move_on(session, task)


def _move_on(session: Session, task: Values) -> None:
    recurrence = _locked(session, Recurrence.task_id == task["id"])
    due = due_of(task)
    if recurrence is None or due is None:
        return
    completed_at = task["completed_at"]
    series = recurrence.series(due, completed_at)
    number, next_due = next(series.dues(completed_at, recurrence.number), (0, None))
    if next_due is None:
        return
    try:
        following = _copy(session, task, _next_values(task, series, due, next_due))
    except (ProjectArchived, ValidationFailed):
        # Or the parent is in the trash by now. Nothing is written yet: the recurrence has ended.
        return
    recurrence.task_id, recurrence.previous_task_id = following["id"], task["id"]
    recurrence.number, recurrence.anchor = min(number, LAST_NUMBER), series.anchor.isoformat()


def _next_values(task: Values, series: Series, due: Due, next_due: Due) -> Values:
    """Return the members of the next task: those of a task, with another due."""
    start_at = task["start_at"]
    if start_at is not None:
        # Where summer time moves the end of a day.
        latest = next_due if isinstance(next_due, datetime) else last_instant(next_due, LAST_ZONE)
        start_at = min(start_at + (series.end(next_due) - series.end(due)), latest)
    return {**{name: task[name] for name in COPIED}, **dues_of(next_due), "start_at": start_at}


def _copy(session: Session, task: Values, values: Values) -> TaskRow:
    """Write a copy of a task right behind it."""
    if task["parent_id"] is not None:
        try_lock_tree(session, shared=True)
        # That of the parent, which may have moved to another one since.
        values = {**values, "project_id": None}
    changes = TaskChanges(session, Clock(UTC))
    copy = changes.create(TaskCreate(**values))
    copy.values["position"] = _position_behind(session, task)
    changes.flush()
    return copy


def _position_behind(session: Session, task: Values) -> str:
    """Return a position between a task and the next one among its siblings.

    Where there is no room, it is the same one, which the ids order.
    """
    position: str = task["position"]
    behind = Siblings(session, task["parent_id"], without=0).next_to((position, task["id"]))
    return ranking.between(position, behind and behind[0]) or position


def _take_back(session: Session, done: Values) -> None:
    """Let a recurrence be what it was before a completion, if nobody has touched the copy."""
    recurrence = _locked(session, Recurrence.previous_task_id == done["id"])
    if recurrence is None:
        return
    recurrence.previous_task_id = None
    try_lock_tree(session)
    found = lock_tasks(session, [done["id"], recurrence.task_id])
    copy = found[recurrence.task_id]
    due, completed_at = due_of(done), done["completed_at"]
    steps, is_as_made = 0, copy["version"] == 1
    if due is not None:
        series = recurrence.series(due, completed_at)
        steps, next_due = next(series.dues(completed_at, 0), (1, due))
        # Again, perhaps: a tag of both may have another name, or somebody has thought better of it.
        made = {**_next_values(done, series, due, next_due), **UNTOUCHED}
        is_as_made = is_as_made or all(copy[name] == made[name] for name in made)
    if done["id"] not in found or not is_as_made or levels_below(session, copy["id"]):
        return
    recurrence.task_id = done["id"]
    if due is not None:
        recurrence.number = max(1, recurrence.number - steps)
        recurrence.anchor_again(due)
    TaskChanges(session, Clock(UTC)).trash(copy)


def _locked(session: Session, condition: ColumnElement[bool]) -> Recurrence | None:
    """Return a recurrence as it is now, locked behind its tasks."""
    found = select(Recurrence).where(condition).with_for_update()
    return session.scalars(found, execution_options={"populate_existing": True}).first()
