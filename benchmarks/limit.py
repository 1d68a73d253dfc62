"""The limit: the measured operations written by hand, with psycopg2 and fixed SQL.

It responds with the same bytes as vibetracker, and has none of its rules: no validation, no
strictness, no retries, no request ids. What it serves per second is what this machine can do
in Python.
"""

import json
import os
from datetime import UTC, datetime
from typing import Any

from psycopg2 import extensions
from psycopg2.pool import ThreadedConnectionPool
from sqlalchemy.engine import make_url
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vibetracker.core.api.cursors import Binding
from vibetracker.features.tasks import ranking

STATUSES = ("todo", "in_progress", "done", "cancelled")
PRIORITIES = ("none", "low", "medium", "high", "urgent")
COLUMNS = [
    "id",
    "title",
    "description",
    "status",
    "priority",
    "due_on",
    "due_at",
    "start_at",
    "parent_id",
    "project_id",
    "tags",
    "position",
    "started_at",
    "completed_at",
    "cancelled_at",
    "created_at",
    "updated_at",
    "version",
    "deleted_at",
]
SELECT = """
SELECT id, title, description, status, priority, due_on, due_at, start_at, parent_id, project_id,
    (SELECT string_agg((SELECT name FROM tags WHERE tags.id = tag_id), ',')
     FROM task_tags WHERE owner_id = tasks.id),
    position, started_at, completed_at, cancelled_at, created_at, updated_at, version, deleted_at
FROM tasks
"""
NEWEST = f"{SELECT} WHERE deleted_at IS NULL ORDER BY created_at DESC, id LIMIT 51"
FILTERED = f"""{SELECT} WHERE deleted_at IS NULL AND status IN (%s) AND EXISTS (
    SELECT 1 FROM task_tags
    WHERE owner_id = tasks.id AND tag_id = (SELECT id FROM tags WHERE tags.key = %s)
) ORDER BY created_at DESC, id LIMIT 51"""
FOUND = f"""{SELECT} WHERE deleted_at IS NULL AND search_text LIKE %s AND search_text LIKE %s
ORDER BY created_at DESC, id LIMIT 51"""
ONE = f"{SELECT} WHERE id = %s"
LAST = """
SELECT position FROM tasks WHERE parent_id IS NULL
ORDER BY parent_id DESC, position DESC LIMIT 1
"""
INSERT = """
INSERT INTO tasks (title, title_key, description, search_text, status, priority, position,
    created_at, updated_at, version)
VALUES {rows} RETURNING id
"""
TASK = "(%s, %s, '', %s, 0, 0, %s, %s, %s, 1)"
TAG = """
INSERT INTO task_tags (owner_id, tag_id)
SELECT pairs.owner_id, tags.id FROM (VALUES {rows}) pairs (owner_id, key) JOIN tags USING (key)
"""
PAIR = "(%s, %s)"
LOCKED = f"{ONE} FOR UPDATE OF tasks"
PATCH = "UPDATE tasks SET priority = %s, version = %s, updated_at = %s WHERE id = %s"

pool = ThreadedConnectionPool(
    16,
    40,
    make_url(os.environ["DATABASE_URL"]).render_as_string(hide_password=False),
    options="-c timezone=UTC",
)


def _time(value: datetime | None) -> str | None:
    return None if value is None else f"{value.isoformat()[:-6]}Z"


def _task(row: tuple[Any, ...]) -> dict[str, Any]:
    task = dict(zip(COLUMNS, row, strict=True))
    task["status"] = STATUSES[task["status"]]
    task["priority"] = PRIORITIES[task["priority"]]
    task["tags"] = sorted(task["tags"].split(","), key=str.casefold) if task["tags"] else []
    for name in (
        "due_at",
        "start_at",
        "started_at",
        "completed_at",
        "cancelled_at",
        "created_at",
        "updated_at",
        "deleted_at",
    ):
        task[name] = _time(task[name])
    return task


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _page(
    connection: extensions.connection, sql: str, arguments: tuple[Any, ...], request: Request
) -> bytes:
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        rows = cursor.fetchall()
    next_cursor = None
    if len(rows) > 50:
        rows = rows[:50]
        next_cursor = Binding.of(request).encode("-created_at,id", [rows[-1][15], rows[-1][0]])
    return _json({"items": [_task(row) for row in rows], "next_cursor": next_cursor})


def _list(request: Request) -> Response:
    query = request.query_params
    connection = pool.getconn()
    connection.autocommit = True
    try:
        if "q" in query:
            terms = tuple(f"%{term}%" for term in query["q"].split())
            body = _page(connection, FOUND, terms, request)
        elif "tag" in query:
            arguments = (STATUSES.index(query["status"]), query["tag"])
            body = _page(connection, FILTERED, arguments, request)
        else:
            body = _page(connection, NEWEST, (), request)
    finally:
        pool.putconn(connection)
    return Response(body, media_type="application/json")


def _answer(row: tuple[Any, ...], status: int = 200) -> Response:
    headers = {"ETag": f'"{row[17]}"'}
    if status == 201:
        headers["Location"] = f"/tasks/{row[0]}"
    return Response(_json(_task(row)), status, headers, "application/json")


def _get(request: Request) -> Response:
    connection = pool.getconn()
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(ONE, (request.path_params["task_id"],))
            row = cursor.fetchone()
    finally:
        pool.putconn(connection)
    if row is None:
        return Response(status_code=404)
    etag = f'"{row[17]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    return _answer(row)


def _insert(
    connection: extensions.connection, tasks: list[dict[str, Any]]
) -> list[tuple[Any, ...]]:
    now = datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(LAST)
        (position,) = cursor.fetchone() or (None,)
        titles = [task["title"] for task in tasks]
        positions = []
        for title in titles:
            position = ranking.behind(position, ranking.further(title))
            positions.append(position)
        _insert_rows(
            cursor,
            INSERT,
            TASK,
            [
                (title, title.casefold(), f"{title}\n".casefold(), position, now, now)
                for title, position in zip(titles, positions, strict=True)
            ],
        )
        ids = [task_id for (task_id,) in cursor.fetchall()]
        pairs = [(at, tag) for at, task in zip(ids, tasks, strict=True) for tag in task["tags"]]
        _insert_rows(cursor, TAG, PAIR, pairs)
    connection.commit()
    return [
        (
            task_id,
            task["title"],
            "",
            0,
            0,
            None,
            None,
            None,
            None,
            None,
            ",".join(task["tags"]),
            position,
            None,
            None,
            None,
            now,
            now,
            1,
            None,
        )
        for task_id, task, position in zip(ids, tasks, positions, strict=True)
    ]


def _insert_rows(
    cursor: extensions.cursor, sql: str, row: str, rows: list[tuple[Any, ...]]
) -> None:
    values = [value for values in rows for value in values]
    cursor.execute(sql.format(rows=", ".join([row] * len(rows))), values)


def _create(body: bytes) -> Response:
    connection = pool.getconn()
    connection.autocommit = False
    try:
        (row,) = _insert(connection, [json.loads(body)])
    finally:
        connection.rollback()
        pool.putconn(connection)
    return _answer(row, 201)


def _batch(body: bytes) -> Response:
    tasks = [operation["data"] for operation in json.loads(body)["operations"]]
    connection = pool.getconn()
    connection.autocommit = False
    try:
        rows = _insert(connection, tasks)
    finally:
        connection.rollback()
        pool.putconn(connection)
    results = [{"status": 201, "id": row[0], "task": _task(row)} for row in rows]
    return Response(_json({"results": results}), media_type="application/json")


def _patch(task_id: str, body: bytes) -> Response:
    priority = PRIORITIES.index(json.loads(body)["priority"])
    connection = pool.getconn()
    connection.autocommit = False
    try:
        with connection.cursor() as cursor:
            cursor.execute(LOCKED, (task_id,))
            row = list(cursor.fetchone() or ())
            if row[4] != priority:
                row[4], row[16], row[17] = priority, datetime.now(UTC), row[17] + 1
                cursor.execute(PATCH, (priority, row[17], row[16], task_id))
        connection.commit()
    finally:
        connection.rollback()
        pool.putconn(connection)
    return _answer(tuple(row))


async def list_tasks(request: Request) -> Response:
    return await run_in_threadpool(_list, request)


async def get_task(request: Request) -> Response:
    return await run_in_threadpool(_get, request)


async def create_task(request: Request) -> Response:
    return await run_in_threadpool(_create, await request.body())


async def change_tasks(request: Request) -> Response:
    return await run_in_threadpool(_batch, await request.body())


async def update_task(request: Request) -> Response:
    return await run_in_threadpool(_patch, request.path_params["task_id"], await request.body())


app = Starlette(
    routes=[
        Route("/tasks", list_tasks),
        Route("/tasks", create_task, methods=["POST"]),
        Route("/tasks/batch", change_tasks, methods=["POST"]),
        Route("/tasks/{task_id}", get_task),
        Route("/tasks/{task_id}", update_task, methods=["PATCH"]),
    ]
)
