"""Public: tasks as rows, read, locked and written by statements that are built once.

A task that is changed here has a dict of its values: the members of its answer, by their names,
and ``deleted_with``. Objects of the ORM would take three times as long for each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, bindparam, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from vibetracker.core.api.fields import narrowed
from vibetracker.core.api.schema import Members
from vibetracker.core.db.changes import announce
from vibetracker.core.db.types import utcnow
from vibetracker.core.http.problems import Gone, NotFound
from vibetracker.features.tags.tagging import NamedTag

from . import ranking
from .model import Task, Values, derived, task_tags, tasks
from .schema import TaskRead

MEMBERS = tuple(TaskRead.sources())
VALUES = (*MEMBERS, "deleted_with")
STORED = tuple(name for name in VALUES if name in tasks.c)
"""What is both a column and a value of a row."""
DERIVED_FROM = ("title", "description", "due_on", "due_at")

_ROW = TaskRead.select(Task).add_columns(tasks.c.deleted_with)
_before = tasks.alias("before")
_seen = select(_before.c.version).where(_before.c.id == tasks.c.id).scalar_subquery()
_LOCKED = _ROW.add_columns((_seen == tasks.c.version).label("is_as_seen")).with_for_update(of=tasks)
_ids = tasks.c.id.in_(bindparam("ids", expanding=True))
_one = tasks.c.id == bindparam("id")
_ONE = _ROW.where(_one)
_ONE_LOCKED = _LOCKED.where(_one)
_SOME = _ROW.where(_ids).order_by(tasks.c.id)
_SOME_LOCKED = _LOCKED.where(_ids).order_by(tasks.c.id)
_LAST = (
    select(tasks.c.position)
    # The parent is the same in all; PostgreSQL needs to be told to use its index.
    .order_by(tasks.c.parent_id.desc(), tasks.c.position.desc())
    .limit(1)
)
LAST_ROOT = _LAST.where(tasks.c.parent_id.is_(None))
LAST_CHILD = _LAST.where(tasks.c.parent_id == bindparam("parent"))
"""The last position among the siblings."""
_INSERT = insert(tasks).returning(tasks.c.id)
_INSERT_MANY = insert(tasks).returning(tasks.c.id, sort_by_parameter_order=True)
_INSERT_LAST = (
    insert(tasks)
    .values(position=ranking.RankBehind(LAST_ROOT.scalar_subquery(), bindparam("further")))
    .returning(tasks.c.id, tasks.c.position)
)
_UPDATE = update(tasks).where(
    tasks.c.id == bindparam("row_id"), tasks.c.version == bindparam("row_version")
)
_PUT_ON = insert(task_tags)


@dataclass(slots=True, eq=False)
class TaskRow:
    """A task as it is to be, and as it is stored."""

    values: Values
    stored: Values = field(default_factory=dict)
    """Empty for a new one."""
    new_tags: Sequence[NamedTag] = ()
    """Those to put on it."""

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def answer(self) -> Members:
        """The members of its answer."""
        return Members((name, self.values[name]) for name in MEMBERS)

    def changes(self) -> Values:
        """Return the values of columns that differ from what is stored."""
        stored, values = self.stored, self.values
        return {name: values[name] for name in STORED if values[name] != stored[name]}


def read_task(session: Session, task_id: int) -> Values:
    """Return the answer for a live task; raises ``NotFound`` or ``Gone``."""
    statement = narrowed(session, _ONE, "version", "deleted_at")
    row = session.connection().execute(statement, {"id": task_id}).mappings().first()
    if row is None:
        raise _not_found(task_id)
    answer = Members((name, row[name]) for name in MEMBERS if name in row)
    if answer["deleted_at"] is not None:
        raise gone(task_id)
    return answer


def lock_task(session: Session, task_id: int) -> TaskRow:
    """Return a task, locked until the transaction ends; raises ``NotFound``."""
    rows = _read(session, _ONE_LOCKED, _ONE, {"id": task_id})
    if not rows:
        raise _not_found(task_id)
    return _row(rows[0])


def lock_tasks(session: Session, ids: Iterable[int]) -> dict[int, TaskRow]:
    """Return those tasks that exist, locked in the order of their ids."""
    rows = _read(session, _SOME_LOCKED, _SOME, {"ids": list(ids)})
    return {row[0]: _row(row) for row in rows}


def read_again(session: Session, rows: Iterable[TaskRow]) -> None:
    """Take over what statements have made of the stored rows."""
    by_id = {row["id"]: row for row in rows}
    for found in session.connection().execute(_SOME, {"ids": list(by_id)}):
        row, now = by_id[found[0]], _row(found)
        row.values, row.stored = now.values, now.stored


def _read(
    session: Session,
    locking: Select[*tuple[Any, ...]],
    plain: Select[*tuple[Any, ...]],
    parameters: Values,
) -> Sequence[Any]:
    rows = session.connection().execute(locking, parameters).all()
    if all(row.is_as_seen for row in rows):
        return rows
    # What others have changed while this waited is in the columns, but not in the names of tags:
    # PostgreSQL looks at other tables as they were before.
    return session.connection().execute(plain, parameters).all()


def _row(row: Sequence[Any]) -> TaskRow:
    values = dict(zip(VALUES, row, strict=False))
    return TaskRow(values, values.copy())


def insert_last(session: Session, row: TaskRow) -> None:
    """Write a new task without a parent, last among its siblings.

    The database looks the last position up while it writes.
    """
    values = _columns(row.values) | {"further": ranking.further(row["title"])}
    row.values["id"], row.values["position"] = (
        session.connection().execute(_INSERT_LAST, values).one()
    )
    row.stored = row.values.copy()


def write(session: Session, rows: Iterable[TaskRow]) -> None:
    """Write what is new and what has changed, and put new tags on."""
    rows = list(rows)
    connection = session.connection()
    new = [row for row in rows if not row.stored]
    if len(new) == 1:
        new[0].values["id"] = connection.scalar(_INSERT, _columns(new[0].values))
    elif new:
        ids = connection.scalars(_INSERT_MANY, _alike([_columns(row.values) for row in new]))
        for row, row_id in zip(new, ids, strict=True):
            row.values["id"] = row_id
    for row in rows:
        if row.stored:
            _update(connection, row)
    tagged = [{"owner_id": row["id"], "tag_id": tag.id} for row in rows for tag in row.new_tags]
    if tagged:
        connection.execute(_PUT_ON, tagged)
    for row in rows:
        if row["version"] != row.stored.get("version"):
            before = row.stored and {name: row.stored[name] for name in MEMBERS}
            announce(session, tasks, row["id"], before or None, row.answer)
        row.new_tags = ()
        row.stored = row.values.copy()


def _update(connection: Connection, row: TaskRow) -> None:
    changes = row.changes()
    if not changes and row["tags"] == row.stored["tags"]:
        return
    if any(name in changes for name in DERIVED_FROM):
        changes |= _derived(row.values)
    row.values["version"] += 1
    row.values["updated_at"] = utcnow()
    changes |= {"version": row["version"], "updated_at": row["updated_at"]}
    where = {"row_id": row["id"], "row_version": row.stored["version"]}
    result: Any = connection.execute(_UPDATE, changes | where)
    if result.rowcount != 1:
        raise StaleDataError(f"task {row['id']} was changed by another transaction")


def _columns(values: Values) -> Values:
    """Return the columns of a new row; what is null need not be named."""
    columns = {name: values[name] for name in STORED} | _derived(values)
    return {name: value for name, value in columns.items() if value is not None}


def _derived(values: Values) -> Values:
    return derived(*(values[name] for name in DERIVED_FROM))


def _alike(rows: list[Values]) -> list[Values]:
    """Return the rows of one statement with the same columns."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def new_values(values: Values) -> TaskRow:
    """Return a new task with these values, and the others as they are at first."""
    return TaskRow({**dict.fromkeys(VALUES), "version": 1, **values})


def refuse_trashed(row: TaskRow) -> None:
    """Raise ``Gone`` for a task in the trash."""
    if row["deleted_at"] is not None:
        raise gone(row["id"])


def gone(task_id: int) -> Gone:
    """Return the problem of a task in the trash."""
    return Gone(f"Task {task_id} is in the trash; POST /tasks/{task_id}/restore brings it back")


def _not_found(task_id: int) -> NotFound:
    return NotFound(f"There is no task with id {task_id}")
