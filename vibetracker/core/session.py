"""The session of a request: SQLAlchemy's own, with a short way to the database for resources."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, cast, override

from sqlalchemy import (
    ClauseElement,
    Column,
    Connection,
    Delete,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    insert,
    inspect,
    orm,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm.exc import StaleDataError

from vibetracker.core.model import Resource, utcnow


class Session(orm.Session):
    """A session on one connection, which it closes at its end.

    A ``Resource`` without relationships that is added, found or deleted goes to the database by
    statements that are made once: SQLAlchemy's unit of work finds out anew each time what depends
    on what, and takes more than twice as long for a single row. All else is left to it. Either way
    ``flush`` writes what has changed, and one flush changes a row's version once.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, expire_on_commit=False, autoflush=False)
        self._bound = connection
        self._added: list[Resource] = []
        self._kept: dict[tuple[type[Resource], int], Kept] = {}

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
        if len(ids) == 1:
            rows = self._bound.execute(shape.one(locked=locked), {"id": ids[0]})
        else:
            rows = self._bound.execute(shape.some(locked=locked), {"ids": list(ids)})
        found: dict[int, R] = {}
        for row in rows.all():
            stored = dict(zip(shape.attributes, row, strict=True))
            kept = self._kept.get((model, stored["id"]))
            if kept is None:
                resource = shape.make()
                kept = self._kept[model, stored["id"]] = Kept(resource, stored)
            kept.stored = stored
            vars(kept.row).update(stored)
            found[stored["id"]] = cast(R, kept.row)
        return found

    def reread(self) -> None:
        """Read again what was found, where it has been changed by a statement of its own."""
        for model, kept in groupby(self._kept, key=lambda key: key[0]):
            self.find_all(model, [resource_id for _, resource_id in kept], locked=False)

    def touch(self, row: Resource) -> None:
        """Count a row as changed, for something that it shows and does not store."""
        self._kept[type(row), row.id].is_touched = True

    @override
    def delete(self, instance: object) -> None:
        if isinstance(instance, Resource) and instance not in self:
            self.flush()
            shape = shape_of(type(instance))
            result = self._bound.execute(shape.delete, {"row_id": instance.id})
            _expect_one(result.rowcount, instance)
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
            self._update(kept)
        if self.identity_map or super().new:
            super().flush(objects)

    def _insert(self, shape: "Shape", rows: list[Resource]) -> None:
        values = [shape.values(row) for row in rows]
        if len(rows) == 1:
            results = [shape.insert(self._bound, values[0])]
        else:
            results = shape.insert_all(self._bound, values)
        for row, result in zip(rows, results, strict=True):
            vars(row).update(result)
            stored = {name: vars(row)[name] for name in shape.attributes if name in vars(row)}
            self._kept[type(row), row.id] = Kept(row, stored)
        if unread := [row.id for row in rows if not vars(row).keys() >= shape.attributes.keys()]:
            # What the database makes of a new row.
            self.find_all(shape.model, unread, locked=False)

    def _update(self, kept: "Kept") -> None:
        row, stored = kept.row, kept.stored
        values = vars(row)
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
        result = self._bound.execute(shape_of(type(row)).update, changes | where)
        _expect_one(result.rowcount, row)
        values.update(changes)
        stored.update(changes)

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
class Kept:
    """A row of a session, with what the database has of it."""

    row: Resource
    stored: dict[str, Any]
    is_touched: bool = False


class Shape:
    """What a model's rows consist of, and the statements that read and write them."""

    def __init__(self, model: type[Resource]) -> None:
        mapper = inspect(model)
        self.model = model
        self.make: Callable[[], Resource] = model
        self.is_plain = not mapper.relationships
        self.attributes = {attribute.key: None for attribute in mapper.column_attrs}
        """The names of all that is read; those in ``columns`` are written as well."""
        self.columns = {
            attribute.key: attribute.columns[0]
            for attribute in mapper.column_attrs
            if isinstance(attribute.columns[0], Column)
        }
        table = cast(Table, model.__table__)
        by_id = table.c.id == bindparam("row_id")
        self.delete: Delete = delete(table).where(by_id)
        self.update: Update = update(table).where(
            by_id, table.c.version == bindparam("row_version")
        )
        self._insert: Insert = insert(table).returning(table.c.id)
        self._insert_all: Insert = insert(table).returning(table.c.id, sort_by_parameter_order=True)
        read = select(*(getattr(model, name).label(name) for name in self.attributes))
        one = read.where(model.id == bindparam("id"))
        some = read.where(model.id.in_(bindparam("ids", expanding=True))).order_by(model.id)
        self._one = {False: one, True: one.with_for_update(of=model)}
        self._some = {False: some, True: some.with_for_update(of=model)}

    def one(self, *, locked: bool) -> Select[*tuple[Any, ...]]:
        """Select the row of an ``id``."""
        return self._one[locked]

    def some(self, *, locked: bool) -> Select[*tuple[Any, ...]]:
        """Select the rows of these ``ids``."""
        return self._some[locked]

    def values(self, row: Resource) -> dict[str, Any]:
        """Give what is stored of a new row; what it does not say is left to the database."""
        has = vars(row)
        return {name: has[name] for name in self.columns if name in has}

    def insert(self, connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
        """Write a row, and give what came of it; a value may be SQL."""
        computed = {
            name: value for name, value in values.items() if isinstance(value, ClauseElement)
        }
        if not computed:
            return {"id": connection.execute(self._insert, values).scalar_one()}
        statement = _computing(self, tuple(computed.items()))
        given = {name: value for name, value in values.items() if name not in computed}
        row = connection.execute(statement, given).one()
        return dict(zip(("id", *computed), row, strict=True))

    def insert_all(
        self, connection: Connection, values: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Write rows, and give what came of each."""
        results: list[dict[str, Any]] = []
        for _, alike in groupby(values, key=lambda row: row.keys()):
            ids = connection.scalars(self._insert_all, list(alike))
            results += [{"id": row_id} for row_id in ids]
        return results


@cache
def shape_of(model: type[Resource]) -> Shape:
    """Give the shape of a model."""
    return Shape(model)


@cache
def _computing(shape: Shape, computed: tuple[tuple[str, ClauseElement], ...]) -> Insert:
    """Give the INSERT in which these columns get what SQL makes of the table."""
    names = [shape.columns[name] for name, _ in computed]
    return (
        insert(cast(Table, shape.model.__table__))
        .values(dict(computed))
        .returning(shape.columns["id"], *names)
    )


def _expect_one(count: int, row: Resource) -> None:
    if count != 1:
        raise StaleDataError(f"another transaction has changed {type(row).__name__} {row.id}")
