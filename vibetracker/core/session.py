"""The session of a request: SQLAlchemy's own, with a short way to the database for resources."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from itertools import groupby
from typing import Any, cast, override

from sqlalchemy import (
    ClauseElement,
    Column,
    ColumnElement,
    Connection,
    Table,
    TypeDecorator,
    bindparam,
    delete,
    insert,
    inspect,
    orm,
    select,
    update,
)
from sqlalchemy.exc import InvalidRequestError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.orm import ColumnProperty
from sqlalchemy.orm.exc import StaleDataError

from vibetracker.core.model import Ranked, Resource, UTCDateTime, utcnow
from vibetracker.core.statements import Kept, ManyRows

KEPT_AT_ONCE = 100
"""Statements of one kind for one model; each is for another choice of columns."""


class Session(orm.Session):
    """A session on one connection, which it closes at its end.

    A ``Resource`` of columns alone that is added, found or deleted goes to the database by
    statements that are made once: SQLAlchemy's unit of work finds out anew each time what depends
    on what, and takes more than twice as long for a single row. Queries, and models that have more
    than columns, are left to it; what ``find`` and what a query give of a row are two objects.
    Either way ``flush`` writes what has changed, and one flush changes a row's version once.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, expire_on_commit=False, autoflush=False)
        self._bound = connection
        self._added: dict[int, Resource] = {}
        """By their identity, in the order in which they came."""
        self._is_broken = False
        self._kept: dict[tuple[type[Resource], int], Tracked] = {}

    @override
    def connection(self, *_: Any, **__: Any) -> Connection:
        return self._bound

    @override
    def add(self, instance: object, **options: Any) -> None:
        if not isinstance(instance, Resource) or not shape_of(type(instance)).is_plain:
            super().add(instance, **options)
        elif not self._has(instance):
            self._added[id(instance)] = instance

    def _has(self, row: Resource) -> bool:
        row_id = vars(row).get("id")
        kept = None if row_id is None else self._kept.get((type(row), row_id))
        return kept is not None and kept.row is row

    @override
    def begin(self, nested: bool = False) -> orm.SessionTransaction:
        """Refuse: a session is one transaction, and savepoints know nothing of its rows."""
        raise InvalidRequestError("a session is one transaction, which is begun already")

    def find[R: Resource](self, model: type[R], resource_id: int, *, locked: bool) -> R | None:
        """Find a resource; ``locked`` keeps others from changing it until the transaction ends."""
        if not shape_of(model).is_plain:
            return self.get(model, resource_id, with_for_update=locked)
        kept = self._kept.get((model, resource_id))
        if kept is None or (locked and not kept.is_locked):
            self.find_all(model, [resource_id], locked=locked)
            kept = self._kept.get((model, resource_id))
        return None if kept is None else cast(R, kept.row)

    def find_all[R: Resource](
        self, model: type[R], ids: Sequence[int], *, locked: bool
    ) -> dict[int, R]:
        """Find resources, locked in the order of their ids, so that nobody waits in a circle.

        What was changed of them is written first.
        """
        shape = shape_of(model)
        found: dict[int, R] = {}
        if not shape.is_plain:
            some = select(model).where(model.id.in_(ids)).order_by(model.id)
            rows = self.scalars(some.with_for_update(of=model) if locked else some)
            return {row.id: row for row in rows}
        known = [kept for row_id in ids if (kept := self._kept.get((model, row_id)))]
        if any(kept.is_changed for kept in known):
            self.flush()
        for row in shape.rows(self._bound, ids, locked=locked):
            values = dict(zip(shape.attributes, row, strict=True))
            key = (model, values["id"])
            kept = self._kept.get(key)
            if kept is None:
                kept = self._kept[key] = Tracked(shape.make())
            vars(kept.row).update(values)
            kept.stored = vars(kept.row).copy()
            kept.is_locked |= locked
            found[values["id"]] = cast(R, kept.row)
        return found

    def reread(self) -> None:
        """Read again what was found, where it has been changed by a statement of its own."""
        for model, kept in groupby(self._kept, key=lambda key: key[0]):
            self.find_all(model, [resource_id for _, resource_id in kept], locked=False)

    def touch(self, row: Resource) -> None:
        """Count a row as changed, for something that it shows and does not store."""
        if row in self:
            row.updated_at = utcnow()
        else:
            self._kept[type(row), row.id].is_touched = True

    @override
    def delete(self, instance: object) -> None:
        if isinstance(instance, Resource) and instance not in self:
            self.flush()
            shape = shape_of(type(instance))
            this = {"_id": instance.id, "_version": instance.version}
            _expect_one(shape.delete.count(self._bound, this), instance)
            self._kept.pop((type(instance), instance.id), None)
        else:
            super().delete(instance)

    @override
    def flush(self, objects: Sequence[Any] | None = None) -> None:
        if self._is_broken:
            raise PendingRollbackError("an earlier flush has failed, and this is to be rolled back")
        try:
            self._write()
            if self.identity_map or super().new:
                super().flush(objects)
        except BaseException:
            self._is_broken = True
            raise

    def _write(self) -> None:
        if self._added:
            new, self._added = list(self._added.values()), {}
            for model, rows in groupby(new, key=type):
                self._insert(shape_of(model), list(rows))
        for kept in self._kept.values():
            if kept.is_changed:
                self._update(kept)

    def _insert(self, shape: "Shape", rows: list[Resource]) -> None:
        for row in rows:
            row.derive()
        values = [shape.values(row) for row in rows]
        if len(rows) == 1:
            results = [shape.insert(self._bound, values[0])]
        else:
            results = shape.insert_all(self._bound, values)
        for row, result in zip(rows, results, strict=True):
            vars(row).update(result)
            self._kept[type(row), row.id] = Tracked(row, vars(row).copy(), is_locked=True)
        if unread := [row.id for row in rows if not vars(row).keys() >= shape.attributes.keys()]:
            # What the database makes of a new row.
            self.find_all(shape.model, unread, locked=False)

    def _update(self, kept: "Tracked") -> None:
        row, stored = kept.row, kept.stored
        values = vars(row)
        row.derive()
        changes = {
            name: values[name]
            for name in shape_of(type(row)).columns
            if values[name] is not stored[name] and values[name] != stored[name]
        }
        if not (changes or kept.is_touched):
            return
        kept.is_touched = False
        kept.is_locked = True
        changes["version"] = row.version + 1
        changes.setdefault("updated_at", utcnow())
        where = {"_id": row.id, "_version": row.version}
        update = shape_of(type(row)).updating(tuple(changes))
        _expect_one(update.count(self._bound, changes | where), row)
        values.update(changes)
        kept.stored = values.copy()

    @override
    def refresh(self, instance: object, *arguments: Any, **options: Any) -> None:
        if isinstance(instance, Resource) and (type(instance), instance.id) in self._kept:
            self.find_all(type(instance), [instance.id], locked=False)
        else:
            super().refresh(instance, *arguments, **options)

    @override
    def commit(self) -> None:
        self.flush()
        try:
            if super().in_transaction():
                super().commit()
            self._bound.commit()
        except SQLAlchemyError:
            # SQLite keeps a transaction whose COMMIT fails.
            self.rollback()
            raise

    @override
    def rollback(self) -> None:
        self._is_broken = False
        self.expunge_all()
        if super().in_transaction():
            super().rollback()
        self._bound.rollback()

    @override
    def expunge_all(self) -> None:
        self._added.clear()
        self._kept.clear()
        super().expunge_all()

    @override
    def close(self) -> None:
        if super().in_transaction():
            super().close()
        self._bound.close()


@dataclass(slots=True)
class Tracked:
    """A row of a session, with what the database has of it."""

    row: Resource
    stored: dict[str, Any] = field(default_factory=dict)
    is_touched: bool = False
    is_locked: bool = False

    @property
    def is_changed(self) -> bool:
        """Tell whether there is something to write."""
        return self.is_touched or vars(self.row) != self.stored


class Shape:
    """What a model's rows consist of, and the statements that read and write them."""

    def __init__(self, model: type[Resource]) -> None:
        mapper = inspect(model)
        self.model = model
        self.make: Callable[[], Resource] = model
        self.is_plain = not (
            mapper.relationships
            or mapper.inherits
            or mapper.polymorphic_on is not None
            or any(getattr(model, it.key).dispatch.set for it in mapper.column_attrs)
            or any(map(_is_odd, mapper.column_attrs))
        )
        self.attributes = {attribute.key: None for attribute in mapper.column_attrs}
        """The names of all that is read; those in ``columns`` are written as well."""
        self.columns = {
            attribute.key: attribute.columns[0]
            for attribute in mapper.column_attrs
            if isinstance(attribute.columns[0], Column)
        }
        self._filled = [
            name
            for name, column in self.columns.items()
            if name == "id" or column.default is not None or column.server_default is not None
        ]
        """Columns that get a value where a new row has None."""
        self._null_is_a_value = {
            name for name, column in self.columns.items() if _makes_something_of_null(column)
        }
        self.table = cast(Table, model.__table__)
        self.delete = Kept(delete(self.table).where(*self._this()))
        self._select = select(*(getattr(model, name).label(name) for name in self.attributes))
        self._locking = self._select.add_columns(self._is_as_seen()).with_for_update(of=model)
        this = model.id == bindparam("id")
        self._one = {False: Kept(self._select.where(this)), True: Kept(self._locking.where(this))}
        self.updating = lru_cache(KEPT_AT_ONCE)(self._updating)
        self.inserting = lru_cache(KEPT_AT_ONCE)(self._inserting)
        self.inserting_all = lru_cache(KEPT_AT_ONCE)(partial(ManyRows, self.table))

    def rows(
        self, connection: Connection, ids: Sequence[int], *, locked: bool
    ) -> Sequence[Sequence[Any]]:
        """Read the attributes of rows, in the order of their ids."""
        rows = self._rows(connection, ids, locked=locked)
        if not locked:
            return rows
        if all(is_as_seen for *_, is_as_seen in rows):
            return [row[:-1] for row in rows]
        # What others have changed while this waited is in the columns, but not in what is looked
        # up for a row: PostgreSQL looks at other tables as they were before.
        return self._rows(connection, ids, locked=False)

    def _rows(
        self, connection: Connection, ids: Sequence[int], *, locked: bool
    ) -> Sequence[Sequence[Any]]:
        if len(ids) == 1:
            return self._one[locked].rows(connection, {"id": ids[0]})
        some = self._locking if locked else self._select
        some = some.where(self.model.id.in_(ids)).order_by(self.model.id)
        return connection.execute(some).all()

    def _is_as_seen(self) -> ColumnElement[bool]:
        """Write the SQL for whether a row has the version that it had before it was waited for."""
        before = self.table.alias("before")
        version = select(before.c.version).where(before.c.id == self.table.c.id).scalar_subquery()
        return (version == self.table.c.version).label("is_as_seen")

    def values(self, row: Resource) -> dict[str, Any]:
        """Give what is stored of a new row; what it does not say is left to the database."""
        has = vars(row)
        values = {name: has[name] for name in self.columns if name in has}
        for name in self._filled:
            if name in values and values[name] is None:
                del values[name]
        return values

    def _updating(self, names: tuple[str, ...]) -> Kept:
        """Update these columns of a row that is still of the version in which it was read."""
        return Kept(update(self.table).where(*self._this()), names)

    def _this(self) -> tuple[ColumnElement[bool], ...]:
        # No field has such names.
        columns = self.table.c
        return columns.id == bindparam("_id"), columns.version == bindparam("_version")

    def insert(self, connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
        """Write a row, and give what came of it; a value may be SQL."""
        computed: dict[str, ClauseElement] = {}
        plain: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, ClauseElement):
                computed[name] = value
            elif value is not None or name in self._null_is_a_value:
                plain[name] = value
        statement = self.inserting(tuple(plain), tuple(computed.items()))
        (row,) = statement.rows(connection, plain)
        return dict(zip(("id", *computed), row, strict=True))

    def _inserting(
        self, names: tuple[str, ...], computed: tuple[tuple[str, ClauseElement], ...]
    ) -> Kept:
        returned = [self.columns[name] for name in ("id", *dict(computed))]
        return Kept(insert(self.table).values(dict(computed)).returning(*returned), names)

    def insert_all(
        self, connection: Connection, values: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Write rows of plain values, and give what came of each."""
        results: list[dict[str, Any]] = []
        for names, alike in groupby(values, key=tuple):
            ids = self.inserting_all(names).insert(connection, list(alike))
            results += [{"id": row_id} for row_id in ids]
        return results


@cache
def shape_of(model: type[Resource]) -> Shape:
    """Give the shape of a model."""
    return Shape(model)


def _is_odd(attribute: ColumnProperty[Any]) -> bool:
    """Tell whether a column is named otherwise, or gets values that nobody has set."""
    column = attribute.columns[0]
    if not isinstance(column, Column):
        return attribute.expire_on_flush
    makes_values = column.onupdate is not None and column.name != "updated_at"
    made_by_database = column.computed is not None or column.server_onupdate is not None
    return column.key != attribute.key or makes_values or made_by_database


def _makes_something_of_null(column: Column[Any]) -> bool:
    """Tell whether a null that is named in an INSERT may be another than one that is not."""
    kind = column.type
    is_foreign = isinstance(kind, TypeDecorator) and not isinstance(kind, UTCDateTime | Ranked)
    return is_foreign or kind.should_evaluate_none


def _expect_one(count: int, row: Resource) -> None:
    if count != 1:
        raise StaleDataError(f"another transaction has changed {type(row).__name__} {row.id}")
