"""The tasks table and its invariants, which the database enforces too."""

import logging
from datetime import date, datetime
from enum import StrEnum
from typing import Any, override
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    Table,
    and_,
    event,
    text,
)
from sqlalchemy.exc import NotSupportedError, ProgrammingError
from sqlalchemy.orm import (
    Mapped,
    column_property,
    declared_attr,
    mapped_column,
)

from vibetracker.core.api.text import searchable, sortable
from vibetracker.core.db.failures import reason
from vibetracker.core.db.model import Base, Resource
from vibetracker.core.db.types import BigInt, OrderedText, Ranked, UTCDateTime
from vibetracker.features.projects.model import Project
from vibetracker.features.tags.association import names_of_tags, tag_association

from .calendar import last_instant

logger = logging.getLogger(__name__)

type Values = dict[str, Any]
"""Values of a task, by their names."""


class Status(StrEnum):
    """How far a task is, in the order of its life."""

    TODO = "todo"
    IN_PROGRESS = "in_progress"
    DONE = "done"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """How urgent a task is, the least urgent first."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


UTC = ZoneInfo("UTC")
OPEN = (Status.TODO, Status.IN_PROGRESS)

_status, _priority = Ranked(Status), Ranked(Priority)
_TODO, _, _DONE, _CANCELLED = map(_status.literal, Status)
_NONE, _URGENT = map(_priority.literal, (Priority.NONE, Priority.URGENT))

task_tags = tag_association("task_tags", owner="tasks")


class Task(Resource):
    """Something to do."""

    __tablename__ = "tasks"

    title: Mapped[str]
    title_key: Mapped[str] = mapped_column(OrderedText)
    """What the title is sorted by."""
    description: Mapped[str] = mapped_column(default="")
    search_text: Mapped[str]
    """Title and description as they are searched in; the databases fold case differently."""
    status: Mapped[Status] = mapped_column(_status, default=Status.TODO)
    priority: Mapped[Priority] = mapped_column(_priority, default=Priority.NONE)
    due_on: Mapped[date | None]
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    due: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """``due_at``, or the last instant of ``due_on`` in UTC."""
    start_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    parent_id: Mapped[int | None] = mapped_column(
        BigInt, ForeignKey("tasks.id", ondelete="CASCADE")
    )
    project_id: Mapped[int | None] = mapped_column(BigInt, ForeignKey(Project.id))
    """That of the parent, where there is one."""
    position: Mapped[str] = mapped_column(OrderedText)
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    completed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    cancelled_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    deleted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    deleted_with: Mapped[int | None] = mapped_column(BigInt)
    """Id of the task whose deletion put this one into the trash."""

    @declared_attr
    @classmethod
    def tag_names(cls) -> Mapped[list[str]]:
        """Names of the tags that the task has, sorted; read together with the row."""
        return column_property(names_of_tags(task_tags, cls.id))

    __table_args__ = (
        CheckConstraint("length(title) BETWEEN 1 AND 500", "title_length"),
        CheckConstraint("length(description) <= 50000", "description_length"),
        CheckConstraint(f"status BETWEEN {_TODO} AND {_CANCELLED}", "known_status"),
        CheckConstraint(f"priority BETWEEN {_NONE} AND {_URGENT}", "known_priority"),
        CheckConstraint("position <> ''", "position_not_empty"),
        CheckConstraint("due_on IS NULL OR due_at IS NULL", "one_due"),
        CheckConstraint("(due IS NULL) = (due_on IS NULL AND due_at IS NULL)", "due_when_due"),
        CheckConstraint("due = due_at", "due_is_due_at"),
        CheckConstraint("start_at <= due_at", "start_before_due"),
        CheckConstraint(f"(status = {_DONE}) = (completed_at IS NOT NULL)", "completed_when_done"),
        CheckConstraint(
            f"(status = {_CANCELLED}) = (cancelled_at IS NOT NULL)", "cancelled_when_cancelled"
        ),
        CheckConstraint(f"status <> {_TODO} OR started_at IS NULL", "todo_is_not_started"),
        CheckConstraint("parent_id <> id", "not_its_own_parent"),
        CheckConstraint("(deleted_at IS NULL) = (deleted_with IS NULL)", "deleted_with_something"),
        Resource.__table_args__,
    )

    @classmethod
    @override
    def live(cls) -> ColumnElement[bool]:
        """Return the condition of a task that is not in the trash."""
        return cls.deleted_at.is_(None)


tasks: Table = Base.metadata.tables[Task.__tablename__]
"""For statements that read and write columns, and no objects."""
live = tasks.c.deleted_at.is_(None)
"""The condition of a task that is not in the trash; indexes and lists share it."""


def derived(title: str, description: str, due_on: date | None, due_at: datetime | None) -> Values:
    """Return what tasks are searched and sorted by, which follows from other columns."""
    return {
        "title_key": sortable(title),
        # A search term holds no white space, so that none can match across the line break.
        "search_text": searchable(f"{title}\n{description}"),
        "due": last_instant(due_on, UTC) if due_on else due_at,
    }


@event.listens_for(Task, "before_insert")
@event.listens_for(Task, "before_update")
def _derive(_: object, __: Connection, task: Task) -> None:
    values = derived(task.title, task.description or "", task.due_on, task.due_at)
    for name, value in values.items():
        setattr(task, name, value)


def _index(name: str, *columns: Any, where: ColumnElement[bool] = live) -> Index:
    """Index live tasks, or others, for a list in this order; ``id`` comes last: it breaks ties."""
    return Index(f"ix_tasks_{name}", *columns, Task.id, postgresql_where=where, sqlite_where=where)


for rarely_shared in (Task.created_at, Task.updated_at, Task.title_key, Task.position):
    _index(rarely_shared.key, rarely_shared)
# Where many rows share a value, each direction needs the ids in ascending order behind it.
for shared in (Task.status, Task.priority):
    _index(shared.key, shared)
    _index(f"{shared.key}_desc", shared.desc())
for nullable in (Task.due, Task.start_at, Task.completed_at):
    _index(nullable.key, nullable)
    descending = f"{nullable.key}_desc"
    # Descending, SQLite has nulls last anyway, and no word for it.
    _index(descending, nullable.desc()).ddl_if("sqlite")
    _index(descending, nullable.desc().nulls_last()).ddl_if("postgresql")
Index(None, Task.parent_id, Task.position, Task.id)
# The list of a project in its default order; all that is in one, and how far it is.
_inside = Task.project_id.is_not(None)
_index("project", Task.project_id, Task.created_at, where=and_(live, _inside))
_index("project_id", Task.project_id, Task.deleted_at, Task.status, where=_inside)
_index("trash", Task.created_at, where=Task.deleted_at.is_not(None))
_index("deleted_with", Task.deleted_with, where=Task.deleted_with.is_not(None))


@event.listens_for(Task.__table__, "after_create")
def _index_search(table: Table, connection: Connection, **_: object) -> None:
    """Let searches use an index where PostgreSQL has ``pg_trgm``; they work without it too.

    The role may be one that cannot install it, and it may be installed in another schema.
    """
    if connection.dialect.name != "postgresql":
        return
    if not connection.scalar(text("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'")):
        return
    place = text("SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_trgm'")
    try:
        with connection.begin_nested():
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
            connection.execute(
                text(
                    f"CREATE INDEX ix_tasks_search_text ON {table.name} "
                    f"USING gin (search_text {connection.scalar(place)}.gin_trgm_ops)"
                )
            )
    except (NotSupportedError, ProgrammingError) as error:
        logger.warning("searches for tasks have no index: %s", reason(error))
