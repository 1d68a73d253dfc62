"""The bare: FastAPI and an ordinary session of SQLAlchemy, and none of the rules.

Each handler is one call in one thread, reads columns by statements that are built once, and writes
its response itself. What this takes beyond the limit is the price of the two libraries, and what
vibetracker takes beyond this is that of its rules.
"""

import os
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel
from pydantic_core import to_json
from sqlalchemy import bindparam, create_engine, exists, insert, select, update
from sqlalchemy.orm import Session
from starlette.responses import Response

from vibetracker.core.api.cursors import Binding
from vibetracker.core.api.text import searchable
from vibetracker.core.config import connection_url
from vibetracker.features.tags.model import Tag
from vibetracker.features.tasks import ranking
from vibetracker.features.tasks.model import Priority, Status, Task, derived, task_tags, tasks
from vibetracker.features.tasks.rows import LAST_ROOT
from vibetracker.features.tasks.schema import TaskRead

PAGE = 50
_ROW = TaskRead.select(Task)
_NEWEST = _ROW.where(tasks.c.deleted_at.is_(None)).order_by(tasks.c.created_at.desc(), tasks.c.id)
_PAGE = _NEWEST.limit(PAGE + 1)
_ONE = _ROW.where(tasks.c.id == bindparam("task_id"))
_LOCKED = _ONE.with_for_update(of=tasks)
_CHANGE = update(tasks).where(tasks.c.id == bindparam("task_id"))
_INSERT = insert(tasks).returning(tasks.c.id, sort_by_parameter_order=True)
_TAGS = select(Tag.__table__.c.name, Tag.__table__.c.id).where(
    Tag.__table__.c.key.in_(bindparam("keys", expanding=True))
)
_MEMBERS = list(TaskRead.sources())

app = FastAPI()
engine = create_engine(
    connection_url(os.environ["DATABASE_URL"]),
    pool_size=16,
    isolation_level="AUTOCOMMIT",
    skip_autocommit_rollback=True,
    connect_args={"options": "-c timezone=UTC"},
)
writers = engine.execution_options(isolation_level="READ COMMITTED")


class NewTask(BaseModel):
    """A new task."""

    title: str
    tags: list[str] = []


class NewPriority(BaseModel):
    """What a PATCH changes."""

    priority: Priority


class Operation(BaseModel):
    """One creation of a batch."""

    data: NewTask


class Operations(BaseModel):
    """The creations of a batch."""

    operations: list[Operation]


async def get_reader() -> Session:
    return Session(engine)


async def get_writer() -> Session:
    return Session(writers)


Reader = Annotated[Session, Depends(get_reader)]
Writer = Annotated[Session, Depends(get_writer)]


def _answer(task: dict[str, Any], status: int = 200) -> Response:
    headers = {"ETag": f'"{task["version"]}"'}
    if status == 201:
        headers["Location"] = f"/tasks/{task['id']}"
    return Response(to_json(task), status, headers, "application/json")


@app.get("/tasks")
def list_tasks(
    session: Reader,
    request: Request,
    status: Status | None = None,
    tag: str | None = None,
    q: str | None = None,
) -> Response:
    statement = _PAGE
    if status is not None:
        statement = statement.where(tasks.c.status == status)
    if tag is not None:
        tagged = (task_tags.c.owner_id == tasks.c.id, task_tags.c.tag_id == Tag.id, Tag.key == tag)
        statement = statement.where(exists().where(*tagged))
    for term in searchable(q or "").split():
        statement = statement.where(tasks.c.search_text.contains(term, autoescape=True))
    with session:
        rows = session.connection().execute(statement).mappings().all()
    items = [dict(row) for row in rows[:PAGE]]
    next_cursor = None
    if len(rows) > PAGE:
        last = [items[-1]["created_at"], items[-1]["id"]]
        next_cursor = Binding.of(request).encode("-created_at,id", last)
    content = {"items": items, "next_cursor": next_cursor}
    return Response(to_json(content), media_type="application/json")


@app.get("/tasks/{task_id}")
def get_task(session: Reader, task_id: int) -> Response:
    with session:
        row = session.connection().execute(_ONE, {"task_id": task_id}).mappings().one()
    return _answer(dict(row))


@app.patch("/tasks/{task_id}")
def update_task(session: Writer, task_id: int, data: NewPriority) -> Response:
    with session, session.begin():
        connection = session.connection()
        task = dict(connection.execute(_LOCKED, {"task_id": task_id}).mappings().one())
        if task["priority"] != data.priority:
            changes = {
                "priority": data.priority,
                "version": task["version"] + 1,
                "updated_at": datetime.now(UTC),
            }
            connection.execute(_CHANGE, {"task_id": task_id, **changes})
            task |= changes
    return _answer(task)


def _create(session: Session, new: list[NewTask]) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    with session, session.begin():
        connection = session.connection()
        position = connection.scalar(LAST_ROOT)
        rows = []
        for task in new:
            position = ranking.behind(position, ranking.further(task.title))
            own = {"title": task.title, "description": "", "position": position, "version": 1}
            states = {"status": Status.TODO, "priority": Priority.NONE}
            moments = {"created_at": now, "updated_at": now}
            rows.append({**own, **states, **moments, **derived(task.title, "", None, None)})
        ids = connection.scalars(_INSERT, rows).all()
        keys = {name.casefold() for task in new for name in task.tags}
        known = dict(connection.execute(_TAGS, {"keys": list(keys)}).all())
        pairs = [
            {"owner_id": row_id, "tag_id": known[name]}
            for row_id, task in zip(ids, new, strict=True)
            for name in task.tags
        ]
        connection.execute(insert(task_tags), pairs)
    made = []
    for row_id, task, row in zip(ids, new, rows, strict=True):
        values = {"id": row_id, "tags": sorted(task.tags), **row}
        made.append({name: values.get(name) for name in _MEMBERS})
    return made


@app.post("/tasks")
def create_task(session: Writer, data: NewTask) -> Response:
    (task,) = _create(session, [data])
    return _answer(task, 201)


@app.post("/tasks/batch")
def change_tasks(session: Writer, data: Operations) -> Response:
    made = _create(session, [operation.data for operation in data.operations])
    results = [{"status": 201, "id": task["id"], "task": task} for task in made]
    return Response(to_json({"results": results}), media_type="application/json")
