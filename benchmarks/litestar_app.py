"""A peer: Litestar with SQLAlchemy as its documentation has it, on the same tables."""

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, override

from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyInitPlugin,
)
from litestar import Litestar, get, patch, post
from litestar.exceptions import NotFoundException, ValidationException
from litestar.status_codes import HTTP_200_OK
from msgspec import UNSET, Meta, Struct, UnsetType, convert
from msgspec.structs import asdict
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    SmallInteger,
    Table,
    TypeDecorator,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from vibetracker.core.config import connection_url
from vibetracker.features.tasks import ranking


class Status(StrEnum):
    """How far a task is."""

    TODO = "todo"
    IN_PROGRESS = "in_progress"
    DONE = "done"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """How urgent a task is."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


class Ranked[E: StrEnum](TypeDecorator[E]):
    """Stores a member of an enum as its position in it."""

    impl = SmallInteger
    cache_ok = True

    def __init__(self, enum: type[E]) -> None:
        super().__init__()
        self.enum = enum
        self.members = list(enum)

    @override
    def process_bind_param(self, value: E | None, dialect: Dialect) -> int | None:
        return None if value is None else self.members.index(value)

    @override
    def process_result_value(self, value: int | None, dialect: Dialect) -> E | None:
        return None if value is None else self.members[value]


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """The tables, as this application sees them."""

    type_annotation_map = {
        int: BigInteger,
        datetime: DateTime(timezone=True),
        Status: Ranked(Status),
        Priority: Ranked(Priority),
    }


task_tags = Table(
    "task_tags",
    Base.metadata,
    Column("owner_id", ForeignKey("tasks.id"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)


class Tag(Base):
    """A tag."""

    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    key: Mapped[str]


class Task(Base):
    """A task."""

    __tablename__ = "tasks"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    title_key: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    search_text: Mapped[str]
    status: Mapped[Status] = mapped_column(default=Status.TODO)
    priority: Mapped[Priority] = mapped_column(default=Priority.NONE)
    due_on: Mapped[date | None]
    due_at: Mapped[datetime | None]
    start_at: Mapped[datetime | None]
    parent_id: Mapped[int | None]
    project_id: Mapped[int | None]
    position: Mapped[str]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    version: Mapped[int] = mapped_column()
    deleted_at: Mapped[datetime | None]
    tag_rows: Mapped[list[Tag]] = relationship(secondary=task_tags, order_by=Tag.key)

    __mapper_args__ = {"version_id_col": version}

    @property
    def tags(self) -> list[str]:
        """The names of its tags, sorted, ignoring case."""
        return [tag.name for tag in self.tag_rows]

    def derive(self) -> None:
        """Set what tasks are searched and sorted by."""
        self.title_key = self.title.casefold()
        self.search_text = f"{self.title}\n{self.description}".casefold()


type Title = Annotated[str, Meta(min_length=1, max_length=500)]


class TaskCreate(Struct):
    """A task as it comes in."""

    title: Title
    description: str = ""
    priority: Priority = Priority.NONE
    tags: list[str] = []


class TaskUpdate(Struct):
    """Changes to a task."""

    title: Title | UnsetType = UNSET
    description: str | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET


class TaskRead(Struct):
    """A task as it goes out."""

    id: int
    title: str
    description: str
    status: Status
    priority: Priority
    due_on: date | None
    due_at: datetime | None
    start_at: datetime | None
    parent_id: int | None
    project_id: int | None
    tags: list[str]
    position: str
    started_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int
    deleted_at: datetime | None


class Page(Struct):
    """The newest tasks of a list."""

    items: list[TaskRead]


class Operation(Struct):
    """One operation of a batch."""

    op: str
    data: TaskCreate


class Batch(Struct):
    """A batch."""

    operations: list[Operation]


class Result(Struct):
    """The result of one operation."""

    status: int
    id: int
    task: TaskRead


class Results(Struct):
    """The results of a batch."""

    results: list[Result]


def _read(task: Task) -> TaskRead:
    return convert(task, TaskRead, from_attributes=True)


@get("/tasks")
async def list_tasks(
    db_session: AsyncSession,
    status: Status | None = None,
    tag: str | None = None,
    q: str = "",
) -> Page:
    statement = select(Task).options(selectinload(Task.tag_rows)).where(Task.deleted_at.is_(None))
    if status:
        statement = statement.where(Task.status == status)
    if tag:
        statement = statement.where(Task.tag_rows.any(Tag.key == tag.casefold()))
    for term in q.casefold().split():
        statement = statement.where(Task.search_text.contains(term))
    newest = statement.order_by(Task.created_at.desc(), Task.id).limit(50)
    return Page([_read(task) for task in await db_session.scalars(newest)])


async def _make(session: AsyncSession, contents: Sequence[TaskCreate]) -> list[Task]:
    keys = {name.casefold() for content in contents for name in content.tags}
    async with session.begin():
        found = await session.scalars(select(Tag).where(Tag.key.in_(keys)))
        tags = {tag.key: tag for tag in found}
        if missing := keys - tags.keys():
            raise ValidationException(f"There is no tag {min(missing)}")
        # By the parent too, for PostgreSQL takes the index on parent and position then.
        position = await session.scalar(
            select(Task.position)
            .where(Task.parent_id.is_(None))
            .order_by(Task.parent_id.desc(), Task.position.desc())
            .limit(1)
        )
        tasks = []
        for content in contents:
            position = ranking.behind(position, ranking.further(content.title))
            task = Task(
                title=content.title,
                description=content.description,
                priority=content.priority,
                position=position,
                tag_rows=[tags[key] for key in sorted({name.casefold() for name in content.tags})],
            )
            task.derive()
            tasks.append(task)
        session.add_all(tasks)
    return tasks


@post("/tasks")
async def create_task(db_session: AsyncSession, data: TaskCreate) -> TaskRead:
    (task,) = await _make(db_session, [data])
    return _read(task)


@post("/tasks/batch", status_code=HTTP_200_OK)
async def change_tasks(db_session: AsyncSession, data: Batch) -> Results:
    tasks = await _make(db_session, [operation.data for operation in data.operations])
    return Results([Result(status=201, id=task.id, task=_read(task)) for task in tasks])


async def _find(session: AsyncSession, task_id: int) -> Task:
    task = await session.get(Task, task_id, options=[selectinload(Task.tag_rows)])
    if task is None:
        raise NotFoundException
    return task


@get("/tasks/{task_id:int}")
async def get_task(db_session: AsyncSession, task_id: int) -> TaskRead:
    return _read(await _find(db_session, task_id))


@patch("/tasks/{task_id:int}")
async def update_task(db_session: AsyncSession, task_id: int, data: TaskUpdate) -> TaskRead:
    async with db_session.begin():
        task = await _find(db_session, task_id)
        changes: dict[str, Any] = asdict(data)
        for name, value in changes.items():
            if value is not UNSET:
                setattr(task, name, value)
        task.derive()
    return _read(task)


database = SQLAlchemyAsyncConfig(
    connection_string=connection_url(os.environ["DATABASE_URL"])
    .set(drivername="postgresql+asyncpg")
    .render_as_string(hide_password=False),
    engine_config=EngineConfig(pool_size=16),
    # The response has the values that were written, without reading them again.
    session_config=AsyncSessionConfig(expire_on_commit=False),
)
app = Litestar(
    route_handlers=[list_tasks, create_task, change_tasks, get_task, update_task],
    plugins=[SQLAlchemyInitPlugin(config=database)],
)
