"""The problems that only recurrences have."""

from http import HTTPStatus

from vibetracker.core.http.problems import Problem


class TaskRecursAlready(Problem):
    """The task has a recurrence; `existing_id` is its id.

    Change that one: `PATCH /recurrences/{recurrence_id}`.
    """

    slug = "task-recurs-already"
    title = "The task has a recurrence"
    status = HTTPStatus.CONFLICT


class RecurrenceEnded(Problem):
    """The task of the recurrence is done for the last time, cancelled, or without a due.

    The recurrence goes on when the task is open again and has one.
    """

    slug = "recurrence-ended"
    title = "The recurrence has ended"
    status = HTTPStatus.GONE
