"""The problems that only tasks have."""

from http import HTTPStatus

from vibetracker.core.http.problems import Problem


class TaskCycle(Problem):
    """A task would become its own descendant; `path` lists the ids from the task down to it."""

    title = "A task cannot be its own descendant"
    status = HTTPStatus.CONFLICT


class ParentInTrash(Problem):
    """A task cannot be restored while its parent, `parent_id`, is in the trash.

    Restore the parent first, or put the task elsewhere by purging the parent.
    """

    title = "The parent is in the trash"
    status = HTTPStatus.CONFLICT
