"""The problems that only tags have."""

from http import HTTPStatus

from vibetracker.core.http.problems import Problem


class TagNameTaken(Problem):
    """Another tag has this name, perhaps in other case; `existing_id` is its id.

    Use that tag. To make two tags one, merge them: `POST /tags/{tag_id}/merge`.
    """

    title = "The tag name is taken"
    status = HTTPStatus.CONFLICT
