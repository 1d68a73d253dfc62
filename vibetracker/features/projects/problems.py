"""Public: the problems that only projects have."""

from http import HTTPStatus

from vibetracker.core.http.problems import Problem


class ProjectNameTaken(Problem):
    """Another project has this name, perhaps in other case; `existing_id` is its id."""

    title = "The project name is taken"
    status = HTTPStatus.CONFLICT


class ProjectNotEmpty(Problem):
    """A project cannot be deleted while tasks are in it; `tasks` is how many, the trash included.

    Choose what becomes of them: with `tasks=keep` they stay, without a project, with `tasks=trash`
    they go to the trash.
    """

    title = "Tasks are in the project"
    status = HTTPStatus.CONFLICT


class ProjectArchived(Problem):
    """No task can be created in an archived project, or moved into it; `project_id` is its id.

    Put the task elsewhere, or take the project out of the archive first: `{"archived": false}`.
    """

    title = "The project is archived"
    status = HTTPStatus.CONFLICT
