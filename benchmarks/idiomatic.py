"""The usual: FastAPI with an ORM as tutorials write it, on the same tables."""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Column, ForeignKey, Table, create_engine, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)

from vibetracker.core.config import connection_url

engine = create_engine(
    connection_url(os.environ["DATABASE_URL"]),
    pool_size=10,
    connect_args={"options": "-c timezone=UTC"},
)


class Base(DeclarativeBase):
    """The tables, as this application sees them."""


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
    title_key: Mapped[str] = mapped_column(default="")
    description: Mapped[str] = mapped_column(default="")
    search_text: Mapped[str] = mapped_column(default="")
    status: Mapped[int] = mapped_column(default=0)
    priority: Mapped[int] = mapped_column(default=0)
    due_on: Mapped[date | None]
    due_at: Mapped[datetime | None]
    start_at: Mapped[datetime | None]
    parent_id: Mapped[int | None]
    project_id: Mapped[int | None]
    position: Mapped[str] = mapped_column(default="800000000000")
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    updated_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    version: Mapped[int] = mapped_column(default=1)
    deleted_at: Mapped[datetime | None]
    tags: Mapped[list[Tag]] = relationship(secondary=task_tags)


class TagRead(BaseModel):
    """A tag as it goes out."""

    model_config = ConfigDict(from_attributes=True)
    name: str


class TaskCreate(BaseModel):
    """A task as it comes in."""

    title: str
    description: str = ""
    tags: list[str] = []


class TaskUpdate(BaseModel):
    """Changes to a task."""

    title: str | None = None
    priority: str | None = None


class TaskRead(BaseModel):
    """A task as it goes out."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    title: str
    description: str
    status: int
    priority: int
    due_on: date | None
    due_at: datetime | None
    start_at: datetime | None
    parent_id: int | None
    project_id: int | None
    tags: list[TagRead]
    position: str
    started_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int
    deleted_at: datetime | None


class Operation(BaseModel):
    """One operation of a batch."""

    op: str
    data: TaskCreate


class Batch(BaseModel):
    """A batch."""

    operations: list[Operation]


PRIORITIES = ("none", "low", "medium", "high", "urgent")
STATUSES = ("todo", "in_progress", "done", "cancelled")


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session)]
app = FastAPI()


@app.get("/tasks", response_model=list[TaskRead])
def list_tasks(
    session: SessionDep, status: str | None = None, tag: str | None = None, q: str | None = None
) -> Any:
    statement = select(Task).options(selectinload(Task.tags)).where(Task.deleted_at.is_(None))
    if status:
        statement = statement.where(Task.status == STATUSES.index(status))
    if tag:
        statement = statement.where(Task.tags.any(Tag.key == tag))
    for term in (q or "").split():
        statement = statement.where(Task.search_text.contains(term))
    return session.scalars(statement.order_by(Task.created_at.desc(), Task.id).limit(50)).all()


def _make(session: Session, data: TaskCreate) -> Task:
    task = Task(title=data.title, title_key=data.title, search_text=data.title)
    task.tags = [session.scalars(select(Tag).where(Tag.key == name)).one() for name in data.tags]
    session.add(task)
    return task


@app.post("/tasks", status_code=201, response_model=TaskRead)
def create_task(session: SessionDep, data: TaskCreate) -> Any:
    task = _make(session, data)
    session.commit()
    session.refresh(task)
    return task


@app.post("/tasks/batch", response_model=list[TaskRead])
def change_tasks(session: SessionDep, batch: Batch) -> Any:
    tasks = [_make(session, operation.data) for operation in batch.operations]
    session.commit()
    return tasks


def _find(session: Session, task_id: int) -> Task:
    task = session.get(Task, task_id, options=[selectinload(Task.tags)])
    if task is None:
        raise HTTPException(404)
    return task


@app.get("/tasks/{task_id}", response_model=TaskRead)
def get_task(session: SessionDep, task_id: int) -> Any:
    return _find(session, task_id)


@app.patch("/tasks/{task_id}", response_model=TaskRead)
def update_task(session: SessionDep, task_id: int, data: TaskUpdate) -> Any:
    task = _find(session, task_id)
    for name, value in data.model_dump(exclude_unset=True).items():
        setattr(task, name, PRIORITIES.index(value) if name == "priority" else value)
    session.commit()
    session.refresh(task)
    return task
