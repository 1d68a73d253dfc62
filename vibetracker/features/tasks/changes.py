"""Every change of tasks, for the operations on one task and for batches of them."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

from sqlalchemy import (
    Select,
    bindparam,
    delete,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm.attributes import set_committed_value

from vibetracker.core.model import Base
from vibetracker.core.preconditions import check, find_any, read_any
from vibetracker.core.problems import Gone, invalid
from vibetracker.core.session import Session
from vibetracker.core.statements import ManyRows
from vibetracker.features.tags.association import NamedTag, put_on, tags_named
from vibetracker.features.tags.model import key_of

from . import ranking, tree
from .calendar import Clock, end_of_day
from .model import Status, Task, live, task_tags
from .problems import ParentInTrash, TaskCycle
from .schema import TaskCreate, TaskMove, TaskRead, TaskUpdate

STORED = TaskCreate.model_fields.keys() - {"status", "tags", "completed_at"}
"""Members of a new task that are stored as they are sent."""
DATES = {"start_at", "due_at", "due_on"}

_LAST = (
    select(Task.position)
    # The parent is the same in all; PostgreSQL needs to be told to use its index.
    .order_by(Task.parent_id.desc(), Task.position.desc())
    .limit(1)
)
_LAST_ROOT = _LAST.where(Task.parent_id.is_(None))
_BEHIND_ROOTS = ranking.RankBehind(_LAST_ROOT.scalar_subquery())
_LAST_CHILD = _LAST.where(Task.parent_id == bindparam("parent"))
_PUT_ON = ManyRows(task_tags, ("owner_id", "tag_id"))

type Place = tuple[str, int]
"""Where a task is among its siblings: its position, and its id where that is shared."""


def find_task(session: Session, task_id: int, *, conditional: bool = True) -> Task:
    """Find a live task; ``Gone`` for one in the trash.

    The request's preconditions are met on it, unless its answer is more than the task.
    """
    task = find_any(session, Task, task_id)
    refuse_trashed(task)
    if conditional:
        check(session, task.version)
    return task


def read_task(session: Session, task_id: int) -> dict[str, Any]:
    """Read a live task as its answer; ``Gone`` for one in the trash."""
    task = read_any(session, TaskRead, Task, task_id)
    if task["deleted_at"] is not None:
        raise _gone(task_id)
    check(session, task["version"])
    return task


def refuse_trashed(task: Task) -> None:
    """Raise ``Gone`` for a task in the trash."""
    if task.deleted_at is not None:
        raise _gone(task.id)


def _gone(task_id: int) -> Gone:
    return Gone(f"Task {task_id} is in the trash; POST /tasks/{task_id}/restore brings it back")


class TaskChanges:
    """The changes of one transaction; ``flush`` writes them."""

    def __init__(
        self, session: Session, clock: Clock, missing_tags: Literal["create", "reject"] = "create"
    ) -> None:
        self.session = session
        self.clock = clock
        self.create_tags = missing_tags == "create"
        self._new_tags: list[tuple[Task, Sequence[NamedTag]]] = []
        self._last_positions: dict[int | None, str | None] = {}
        self._good_parents: set[int] = set()
        self._known_tags: dict[str, NamedTag] = {}

    def create(self, data: TaskCreate) -> Task:
        """Make a task, last among its siblings; ``flush`` writes it together with others."""
        task = self._make(data)
        task.position = self._last_position(data.parent_id)
        tags = self._tags(data.tags)
        set_committed_value(task, "tag_names", [tag.name for tag in tags])
        self._new_tags.append((task, tags))
        self.session.add(task)
        return task

    def create_one(self, data: TaskCreate) -> Task:
        """Make a task, last among its siblings, and write it by one statement and its tags by one.

        The database looks up what ``create`` asks for before it writes many.
        """
        task = self._make(data)
        parent_id = data.parent_id
        task.position = _BEHIND_ROOTS if parent_id is None else self._last_position(parent_id)
        names: list[str] = []
        set_committed_value(task, "tag_names", names)
        self.session.add(task)
        self.session.flush()
        # In place, so that the session has no change of the task to look for.
        names += put_on(self.session, task_tags, task, data.tags, create=self.create_tags)
        return task

    def _make(self, data: TaskCreate) -> Task:
        now = self.clock.now
        task = Task(**data.model_dump(include=STORED, exclude_none=True), created_at=now)
        if data.completed_at and data.status is not Status.DONE:
            raise invalid("Only with the status done", code="not_done", pointer="/completed_at")
        task.enter(data.status, data.completed_at or now)
        self._check_times(task, data.model_fields_set)
        if data.parent_id is not None and data.parent_id not in self._good_parents:
            tree.lock_tree(self.session, shared=True)
            self._check_parent(data.parent_id)
        return task

    def update(self, task: Task, data: TaskUpdate) -> Task:
        """Change a task by a merge patch; the tree is locked if that moves it to a new parent."""
        changes = data.changes()
        # First, since looking for a parent writes what is pending: a change is one new version.
        if "parent_id" in changes and changes["parent_id"] != task.parent_id:
            self._put_under(task, changes["parent_id"])
            task.position = self._last_position(task.parent_id)
        data.apply_to(task, "title", "description", "priority", "due_on", "due_at", "start_at")
        if "status" in changes:
            task.enter(changes["status"], self.clock.now)
        self._check_times(task, changes.keys())
        if "tags" in changes:
            self._replace_tags(task, self._tags(changes["tags"]))
        return task

    def move(self, task: Task, data: TaskMove) -> Task:
        """Put a task in another place among its siblings, perhaps under another parent.

        The tree is locked. A task that is there already stays as it is.
        """
        wanted = data.model_dump()
        parent_id = wanted.get("parent_id", task.parent_id)
        siblings = (
            select(Task.position, Task.id)
            .where(Task.parent_id == parent_id, Task.id != task.id)
            # The parent is the same in all; PostgreSQL needs to be told to use its index.
            .order_by(Task.parent_id, Task.position, Task.id)
        )
        low, high = self._gap(siblings, wanted)
        is_there = parent_id == task.parent_id
        if parent_id != task.parent_id:
            self._put_under(task, parent_id)
        place = (task.position, task.id)
        if is_there and (low is None or low < place) and (high is None or place < high):
            return task
        position = ranking.between(low and low[0], high and high[0])
        task.position = position or self._spread(siblings, low)
        return task

    def trash(self, task: Task) -> None:
        """Put a task and its subtree into the trash, to be restored together."""
        self._good_parents.clear()
        tree.trash(self.session, task.id, self.clock.now)

    def restore(self, task: Task) -> Task:
        """Bring back what was put into the trash together; nothing for a live task."""
        if task.deleted_with is None:
            return task
        parent_id = task.parent_id
        if parent_id is not None and self.session.scalar(
            select(Task.deleted_at).where(Task.id == parent_id)
        ):
            raise ParentInTrash(f"Restore the parent, task {parent_id}, first", parent_id=parent_id)
        tree.restore(self.session, task.id, task.deleted_with, self.clock.now)
        self.session.refresh(task)
        return task

    def purge(self, task: Task) -> None:
        """Remove a task and its subtree for good; the foreign keys take along what hangs on it."""
        self.session.execute(delete(Task).where(Task.id == task.id))

    def flush(self) -> None:
        """Write what has been changed, in as few statements as there are kinds of it."""
        self.session.flush()
        rows = [
            {"owner_id": task.id, "tag_id": tag.id} for task, tags in self._new_tags for tag in tags
        ]
        if rows:
            _PUT_ON.insert(self.session.connection(), rows)
        self._new_tags.clear()

    def _check_times(self, task: Task, sent: Collection[str]) -> None:
        if DATES.isdisjoint(sent):
            # What the zone of the server makes of dates that are stored is not up to this request.
            return
        if task.due_on and task.due_at:
            raise invalid(
                "A task has due_on or due_at, not both; clear the other one with null",
                code="two_dues",
                pointer="/due_at" if "due_at" in sent else "/due_on",
            )
        due = end_of_day(task.due_on, self.clock.zone) if task.due_on else task.due_at
        if task.start_at and due and task.start_at > due:
            culprit = next(name for name in ("start_at", "due_at", "due_on") if name in sent)
            raise invalid(
                "A task cannot start after it is due",
                code="start_after_due",
                pointer=f"/{culprit}",
            )

    def _put_under(self, task: Task, parent_id: int | None) -> None:
        if parent_id is not None:
            self._check_parent(parent_id, task)
        task.parent_id = parent_id
        self._good_parents.clear()

    def _check_parent(self, parent_id: int, task: Task | None = None) -> None:
        self.flush()
        above = tree.ancestry(self.session, parent_id)
        if not above:
            raise invalid(
                "There is no live task with this id", code="unknown_parent", pointer="/parent_id"
            )
        if task is not None and task.id in above:
            path = [*above[above.index(task.id) :: -1]]
            raise TaskCycle(
                f"Task {task.id} would be its own descendant: "
                f"{' > '.join(map(str, [*path, task.id]))}",
                path=path,
            )
        height = 1 if task is None else tree.height(self.session, task.id)
        if len(above) + height > tree.MAX_DEPTH:
            raise invalid(
                f"Tasks are at most {tree.MAX_DEPTH} levels deep",
                code="too_deep",
                pointer="/parent_id",
            )
        if task is None:
            self._good_parents.add(parent_id)

    def _last_position(self, parent_id: int | None) -> str:
        if parent_id not in self._last_positions:
            self._last_positions[parent_id] = self.session.connection().scalar(
                _LAST_ROOT if parent_id is None else _LAST_CHILD, {"parent": parent_id}
            )
        last = ranking.between(self._last_positions[parent_id], None)
        self._last_positions[parent_id] = last
        assert last is not None  # noqa: S101 - there is always room behind the last
        return last

    def _gap(
        self, siblings: Select[str, int], wanted: dict[str, Any]
    ) -> tuple[Place | None, Place | None]:
        """Find the neighbours between which the task is wanted."""
        anchor_id = wanted.get("before_id") or wanted.get("after_id")
        place = tuple_(Task.position, Task.id)
        backwards = siblings.order_by(None).order_by(
            Task.parent_id.desc(), Task.position.desc(), Task.id.desc()
        )
        if anchor_id is None:
            if wanted["to"] == "first":
                return None, self._first(siblings)
            return self._first(backwards), None
        anchor = self._first(siblings.where(Task.id == anchor_id, live))
        if anchor is None:
            raise invalid(
                "Not another live task with the same parent",
                code="not_a_sibling",
                pointer="/before_id" if "before_id" in wanted else "/after_id",
            )
        if "before_id" in wanted:
            return self._first(backwards.where(place < anchor)), anchor
        return anchor, self._first(siblings.where(place > anchor))

    def _first(self, siblings: Select[str, int]) -> Place | None:
        row = self.session.execute(siblings.limit(1)).one_or_none()
        return None if row is None else (row.position, row.id)

    def _spread(self, siblings: Select[str, int], low: Place | None) -> str:
        """Give all siblings new ranks with room between them, and return the one behind ``low``."""
        places = [(row.position, row.id) for row in self.session.execute(siblings)]
        index = 0 if low is None else places.index(low) + 1
        ranks = ranking.spread(len(places) + 1)
        own = ranks.pop(index)
        table = Base.metadata.tables[Task.__tablename__]
        self.session.connection().execute(
            update(table)
            .where(table.c.id == bindparam("sibling"))
            .values(
                position=bindparam("rank"), version=table.c.version + 1, updated_at=self.clock.now
            ),
            [
                {"sibling": task_id, "rank": rank}
                for (_, task_id), rank in zip(places, ranks, strict=True)
            ],
        )
        return own

    def know_tags(self, names: Iterable[str]) -> None:
        """Find or create tags at once that several tasks are going to wear."""
        names = list(names)
        if names and self.create_tags:
            self._remember(tags_named(self.session, names, create=True, now=self.clock.now))

    def _tags(self, names: Sequence[str]) -> list[NamedTag]:
        keys = {key_of(name) for name in names}
        if not keys <= self._known_tags.keys():
            self._remember(
                tags_named(
                    self.session, names, create=self.create_tags, at="/tags", now=self.clock.now
                )
            )
        return [self._known_tags[key] for key in sorted(keys)]

    def _remember(self, tags: Iterable[NamedTag]) -> None:
        self._known_tags |= {tag.key: tag for tag in tags}

    def _replace_tags(self, task: Task, tags: Sequence[NamedTag]) -> None:
        names = [tag.name for tag in tags]
        if names == task.tag_names:
            return
        old = set(
            self.session.scalars(select(task_tags.c.tag_id).where(task_tags.c.owner_id == task.id))
        )
        new = {tag.id for tag in tags}
        self.session.execute(
            delete(task_tags).where(
                task_tags.c.owner_id == task.id, task_tags.c.tag_id.in_(old - new)
            )
        )
        self._new_tags.append((task, [tag for tag in tags if tag.id not in old]))
        set_committed_value(task, "tag_names", names)
        self.session.touch(task)
