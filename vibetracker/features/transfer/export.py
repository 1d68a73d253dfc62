"""What is exported: rows in portions, so that memory holds a portion, however many there are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, bindparam, false, func, select, text
from sqlalchemy.orm import Session

from vibetracker.core.db.database import dialect_of
from vibetracker.core.db.model import Base
from vibetracker.core.db.portions import is_found
from vibetracker.core.db.sqlite import READS
from vibetracker.features.tasks.model import tasks

from .collection import Collection
from .numbering import last_id
from .records import Values

PORTION = 500
"""Rows that are read at once."""


def read_snapshot(session: Session) -> None:
    """Let all that a session reads from here on be of one moment; for one that only reads."""
    if dialect_of(session) == "sqlite":
        session.connection(execution_options={"isolation_level": "SERIALIZABLE", READS: True})
    else:
        session.connection(execution_options={"isolation_level": "READ COMMITTED"})
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


@dataclass
class Export:
    """The rows of a database, all of them or those that belong to some tasks."""

    session: Session
    collections: Mapping[str, Collection]
    narrowed: list[ColumnElement[bool]] | None = None
    """Conditions of the tasks; None for everything."""
    advance: Callable[[int], None] = lambda _: None
    """Told how many rows have been read."""

    def last_ids(self) -> dict[str, int]:
        """Return the last id that each collection has assigned, which no row may get again."""
        return {name: last_id(self.session, it.table) for name, it in self.collections.items()}

    def count(self, name: str) -> int:
        """Count the rows of a collection."""
        collection = self.collections[name]
        rows = select(func.count()).select_from(collection.table).where(*self._chosen(collection))
        return self.session.scalar(rows) or 0

    def portions(self, name: str) -> Iterator[list[Values]]:
        """Read the rows of a collection by their ids; none where there is no such collection."""
        collection = self.collections.get(name)
        if collection is None:
            return
        row_id = collection.table.c.id
        statement = collection.statement().where(*self._chosen(collection))
        statement = statement.where(row_id > bindparam("after")).order_by(row_id).limit(PORTION)
        members = list(collection.sources)
        connection = self.session.connection()
        after = 0
        while rows := connection.execute(statement, {"after": after}).all():
            portion = [dict(zip(members, row, strict=True)) for row in rows]
            after = portion[-1]["id"]
            yield portion
            self.advance(len(portion))

    def names(self, name: str) -> dict[int, str]:
        """Return the names of the rows of a collection, if there is one; those are few."""
        if name not in self.collections:
            return {}
        table = self.collections[name].table.c
        rows = self.session.execute(select(table.id, table.name))
        return {row[0]: row[1] for row in rows}

    def belonging(self, name: str, member: str, portion: list[Values]) -> dict[int, list[Values]]:
        """Read the rows of a collection, if there is one, that refer to those of a portion."""
        found: dict[int, list[Values]] = {}
        if name in self.collections:
            collection = self.collections[name]
            table = collection.table.c
            ids = [row["id"] for row in portion]
            rows = collection.statement().where(table[member].in_(ids)).order_by(table.id)
            for row in self.session.execute(rows).mappings():
                found.setdefault(row[member], []).append(dict(row))
        return found

    def _chosen(self, collection: Collection) -> list[ColumnElement[bool]]:
        """Return the conditions of the rows that belong to the chosen tasks."""
        if self.narrowed is None or collection.name == tasks.name:
            return self.narrowed or []
        table = collection.table
        for member, target in collection.references.items():
            if target == tasks.name:
                return [self._has_task(tasks.c.id == table.c[member])]
        for key in tasks.foreign_keys:
            if key.column.table is table:
                return [self._has_task(key.parent == table.c.id)]
        for link in Base.metadata.tables.values():
            targets = {key.column.table: key.parent for key in link.foreign_keys}
            if link not in {tasks, table} and {tasks, table} <= targets.keys():
                has_task = self._has_task(tasks.c.id == targets[tasks])
                return [is_found(select(link).where(targets[table] == table.c.id, has_task))]
        return [false()]

    def _has_task(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """Return the condition that one of the chosen tasks meets another condition."""
        return is_found(select(tasks.c.id).where(condition, *self.narrowed or ()))
