"""Tasks for tests."""

from collections.abc import Iterable
from typing import Any, override

from factory.declarations import LazyFunction, Sequence, Trait
from factory.helpers import post_generation
from sqlalchemy import insert, update

from vibetracker.core.db.types import utcnow
from vibetracker.features.tags.model import Tag
from vibetracker.features.tasks import ranking
from vibetracker.features.tasks.model import Status, Task, task_tags
from vibetracker.testing import Factory


def _position(number: int) -> str:
    return f"{ranking.FIRST + number * ranking.STEP:0{ranking.WHOLE}x}"


class TaskFactory(Factory[Task]):
    """A task to do, positioned after those that were created before it.

    The traits ``in_progress``, ``done``, ``cancelled`` and ``trashed`` set the timestamps that go
    with them; ``tags=[...]`` tags the task with these.
    """

    class Meta:
        model = Task

    class Params:
        in_progress = Trait(  # type: ignore[no-untyped-call] # factory-boy is untyped
            status=Status.IN_PROGRESS,
            started_at=LazyFunction(utcnow),  # type: ignore[no-untyped-call] # likewise
        )
        done = Trait(  # type: ignore[no-untyped-call] # likewise
            status=Status.DONE,
            completed_at=LazyFunction(utcnow),  # type: ignore[no-untyped-call] # likewise
        )
        cancelled = Trait(  # type: ignore[no-untyped-call] # likewise
            status=Status.CANCELLED,
            cancelled_at=LazyFunction(utcnow),  # type: ignore[no-untyped-call] # likewise
        )

    title = Sequence(lambda n: f"task {n}")  # type: ignore[no-untyped-call] # likewise
    position = Sequence(_position)  # type: ignore[no-untyped-call] # likewise

    @classmethod
    @override
    def _create(
        cls, model_class: type[Task], *args: Any, trashed: bool = False, **kwargs: Any
    ) -> Task:
        task = super()._create(model_class, *args, **kwargs)
        if trashed:
            values = {"deleted_at": utcnow(), "deleted_with": task.id}
            with cls.database.engine.begin() as connection:
                connection.execute(update(Task).where(Task.id == task.id).values(values))
        return task

    @post_generation  # type: ignore[untyped-decorator] # likewise
    def tags(self: Task, create: bool, tags: Iterable[Tag] | None) -> None:  # noqa: FBT001 - factory-boy calls it so
        """Add tags to the task."""
        rows = [{"owner_id": self.id, "tag_id": tag.id} for tag in tags or ()]
        if create and rows:
            with TaskFactory.database.engine.begin() as connection:
                connection.execute(insert(task_tags), rows)
