"""Comments for tests."""

from factory.declarations import LazyFunction

from vibetracker.features.comments.model import Comment
from vibetracker.features.tasks.tests.factory import TaskFactory
from vibetracker.testing import Factory


class CommentFactory(Factory[Comment]):
    """A comment with its required fields alone."""

    class Meta:
        model = Comment

    task_id = LazyFunction(lambda: TaskFactory.create().id)  # type: ignore[no-untyped-call] # factory-boy is untyped
    body = "some body"
