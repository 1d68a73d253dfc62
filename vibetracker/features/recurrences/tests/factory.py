"""Recurrences for tests."""

from datetime import date

from factory.declarations import LazyFunction

from vibetracker.features.recurrences.model import Mode, Recurrence
from vibetracker.features.tasks.model import Task
from vibetracker.features.tasks.tests.factory import TaskFactory
from vibetracker.testing import Factory

LAST_OF_JANUARY = date(2040, 1, 31)


class RecurrenceFactory(Factory[Recurrence]):
    """A recurrence of a task of its own, which is due at the end of a January."""

    class Meta:
        model = Recurrence

    task_id = LazyFunction(lambda: TaskFactory.create(due_on=LAST_OF_JANUARY).id)  # type: ignore[no-untyped-call] # factory-boy is untyped
    rule = "FREQ=MONTHLY"
    time_zone = "UTC"
    mode = Mode.FIXED
    number = 1
    anchor = LAST_OF_JANUARY.isoformat()


def complete() -> None:
    """Set a due of the first task, without which it cannot come again."""
    with Factory.database.session(write=True) as session:
        session.get_one(Task, 1).due_on = LAST_OF_JANUARY
        session.commit()
