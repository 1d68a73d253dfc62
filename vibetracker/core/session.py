"""The session of a request: SQLAlchemy's own, with a short way to the database for resources."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from itertools import groupby
from typing import Any, cast, override

from sqlalchemy import (
    ClauseElement,
    Column,
    Connection,
    Table,
    bindparam,
    delete,
    insert,
    inspect,
    orm,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import ColumnProperty
from sqlalchemy.orm.exc import StaleDataError

from vibetracker.core.model import Resource, utcnow
from vibetracker.core.statements import Kept, ManyRows

KEPT_AT_ONCE = 100
"""Statements of one kind for one model; each is for another choice of columns."""


class Session(orm.Session):
    """A session on one connection, which it closes at its end.

    A ``Resource`` of columns alone that is added, found or deleted goes to the database by
    statements that are made once: SQLAlchemy's unit of work finds out anew each time what depends
    on what, and takes more than twice as long for a single row. All else is left to it. Either way
    ``flush`` writes what has changed, and one flush changes a row's version once.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, expire_on_commit=False, autoflush=False)
        self._bound = connection
        self._added: list[Resource] = []
        self._kept: dict[tuple[type[Resource], int], Tracked] = {}

    @override
    def connection(self, *_: Any, **__: Any) -> Connection:
        return self._bound

    @override
    def add(self, instance: object, **options: Any) -> None:
        if isinstance(instance, Resource) and shape_of(type(instance)).is_plain:
            self._added.append(instance)
        else:
            super().add(instance, **options)

    @override
    def add_all(self, instances: Iterable[object]) -> None:
        for instance in instances:
            self.add(instance)

    def find[R: Resource](self, model: type[R], resource_id: int, *, locked: bool) -> R | None:
        """Find a resource; ``locked`` keeps others from changing it until the transaction ends."""
        if not shape_of(model).is_plain:
            return self.get(model, resource_id, with_for_update=locked)
        kept = self._kept.get((model, resource_id))
        if kept is None:
            self.find_all(model, [resource_id], locked=locked)
            kept = self._kept.get((model, resource_id))
        return None if kept is None else cast(R, kept.row)

    def find_all[R: Resource](
        self, model: type[R], ids: Sequence[int], *, locked: bool
    ) -> dict[int, R]:
        """Find resources, locked in the order of their ids, so that nobody waits in a circle."""
        shape = shape_of(model)
        found: dict[int, R] = {}
        if not shape.is_plain:
            some = select(model).where(model.id.in_(ids)).order_by(model.id)
            rows = self.scalars(some.with_for_update(of=model) if locked else some)
            return {row.id: row for row in rows}
        for row in shape.rows(self._bound, ids, locked=locked):
            values = dict(zip(shape.attributes, row, strict=True))
            key = (model, values["id"])
            kept = self._kept.get(key)
            if kept is None:
                kept = self._kept[key] = Tracked(shape.make())
            vars(kept.row).update(values)
            kept.stored = vars(kept.row).copy()
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
            _expect_one(shape.delete.count(self._bound, {"row_id": instance.id}), instance)
            self._kept.pop((type(instance), instance.id), None)
        else:
            super().delete(instance)

    @override
    def flush(self, objects: Sequence[Any] | None = None) -> None:
        if self._added:
            new, self._added = self._added, []
            for model, rows in groupby(new, key=type):
                self._insert(shape_of(model), list(rows))
        for kept in self._kept.values():
            if kept.is_touched or vars(kept.row) != kept.stored:
                self._update(kept)
        if self.identity_map or super().new:
            super().flush(objects)

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
            self._kept[type(row), row.id] = Tracked(row, vars(row).copy())
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
        changes["version"] = row.version + 1
        changes.setdefault("updated_at", utcnow())
        where = {"row_id": row.id, "row_version": row.version}
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
            or any(map(_is_odd, mapper.column_attrs))
        )
        self.attributes = {attribute.key: None for attribute in mapper.column_attrs}
        """The names of all that is read; those in ``columns`` are written as well."""
        self.columns = {
            attribute.key: attribute.columns[0]
            for attribute in mapper.column_attrs
            if isinstance(attribute.columns[0], Column)
        }
        self._nullable = {
            name
            for name, column in self.columns.items()
            if column.nullable and column.default is None and column.server_default is None
        }
        """Columns that are null where an INSERT does not name them, which makes it shorter."""
        self.table = cast(Table, model.__table__)
        self.delete = Kept(delete(self.table).where(self.table.c.id == bindparam("row_id")))
        self._select = select(*(getattr(model, name).label(name) for name in self.attributes))
        one = self._select.where(model.id == bindparam("id"))
        self._one = {False: Kept(one), True: Kept(one.with_for_update(of=model))}
        self.updating = lru_cache(KEPT_AT_ONCE)(self._updating)
        self.inserting = lru_cache(KEPT_AT_ONCE)(self._inserting)
        self.inserting_all = lru_cache(KEPT_AT_ONCE)(partial(ManyRows, self.table))

    def rows(
        self, connection: Connection, ids: Sequence[int], *, locked: bool
    ) -> Sequence[Sequence[Any]]:
        """Read the attributes of rows, in the order of their ids."""
        if len(ids) == 1:
            return self._one[locked].rows(connection, {"id": ids[0]})
        some = self._select.where(self.model.id.in_(ids)).order_by(self.model.id)
        return connection.execute(some.with_for_update(of=self.model) if locked else some).all()

    def values(self, row: Resource) -> dict[str, Any]:
        """Give what is stored of a new row; what it does not say is left to the database."""
        has = vars(row)
        values = {name: has[name] for name in self.columns if name in has}
        if values.get("id") is None:
            values.pop("id", None)
        return values

    def _updating(self, names: tuple[str, ...]) -> Kept:
        """Update these columns of a row that is still of the version in which it was read."""
        columns = self.table.c
        where = (columns.id == bindparam("row_id"), columns.version == bindparam("row_version"))
        return Kept(update(self.table).where(*where), names)

    def insert(self, connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
        """Write a row, and give what came of it; a value may be SQL."""
        computed: dict[str, ClauseElement] = {}
        plain: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, ClauseElement):
                computed[name] = value
            elif value is not None or name not in self._nullable:
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
        return False
    makes_values = column.onupdate is not None and column.name != "updated_at"
    return column.key != attribute.key or makes_values


def _expect_one(count: int, row: Resource) -> None:
    if count != 1:
        raise StaleDataError(f"another transaction has changed {type(row).__name__} {row.id}")
