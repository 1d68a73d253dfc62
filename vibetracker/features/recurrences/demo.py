"""Demo data: some of the tasks that come again in every house."""

from collections.abc import Iterator
from datetime import datetime
from random import Random

from sqlalchemy import select
from sqlalchemy.orm import Session

from vibetracker.features.tasks.model import Task

from .model import CAN_RECUR, Mode, Recurrence
from .occurrences import Series, due_of

PORTION = 100
"""Tasks of which one comes again, for each kind of them."""
RULES = {
    "Pay": ("FREQ=MONTHLY", Mode.FIXED),
    "Water": ("FREQ=WEEKLY;INTERVAL=2", Mode.AFTER_COMPLETION),
}
"""How often what is begun with a verb comes again."""


def fill(session: Session, random: Random, count: int, now: datetime) -> Iterator[int]:
    """Let some of the open tasks with a due come again, at least one of each kind."""
    recurrences = []
    for verb, (rule, mode) in RULES.items():
        recurring = select(Recurrence.task_id)
        found = select(Task).where(
            CAN_RECUR, Task.title.startswith(verb), Task.id.not_in(recurring)
        )
        for task in session.scalars(found.order_by(Task.id).limit(1 + count // PORTION)):
            due = due_of(vars(task))
            if due is not None:
                recurrences.append(
                    Recurrence(
                        task_id=task.id,
                        rule=rule,
                        time_zone="UTC",
                        mode=mode,
                        anchor=Series.of(rule, "UTC", due).anchor.isoformat(),
                        number=1,
                        created_at=now,
                    )
                )
    session.add_all(recurrences)
    session.flush()
    yield len(recurrences)
