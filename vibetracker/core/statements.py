"""Statements that are written once, and run on the driver's own cursor."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    Boolean,
    Connection,
    Date,
    DateTime,
    Delete,
    Dialect,
    Insert,
    Integer,
    Numeric,
    Select,
    String,
    Table,
    Text,
    Time,
    TypeDecorator,
    Update,
    Uuid,
    bindparam,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.types import TypeEngine

engine_log = logging.getLogger("sqlalchemy.engine")

type Statement = Select[*tuple[Any, ...]] | Insert | Update | Delete


class Kept:
    """A statement whose SQL and types are looked up once for each dialect.

    SQLAlchemy finds the same out at each execution, and prepares for what such a statement does not
    have: where it is about one row, that takes half as long as the way to the database and back.
    """

    def __init__(self, statement: Statement, columns: Collection[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        self._by_dialect: dict[str, _Written | None] = {}

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        """Run it and give its rows."""
        written = self._written(connection)
        if written is None:
            return [tuple(row) for row in connection.execute(self._statement, values)]
        return written.read(written.execute(connection, values))

    def count(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it and tell how many rows it has written."""
        written = self._written(connection)
        if written is None:
            return connection.execute(self._statement, values).rowcount
        count: int = written.execute(connection, values).rowcount
        return count

    def _written(self, connection: Connection) -> "_Written | None":
        """Give it in the words of the dialect; None where SQLAlchemy is to run it."""
        if _is_observed(connection):
            return None
        dialect = connection.dialect
        if dialect.name not in self._by_dialect:
            columns = None if self._columns is None else list(self._columns)
            compiled = self._statement.compile(dialect=dialect, column_keys=columns)
            varies = (
                # As many parameters as there are values in a list of them.
                compiled.post_compile_params
                # Values that SQLAlchemy makes anew each time.
                or compiled.insert_prefetch
                or compiled.update_prefetch
            )
            self._by_dialect[dialect.name] = None if varies else _Written(self._statement, compiled)
        return self._by_dialect[dialect.name]


class ManyRows:
    """An INSERT of many rows, which gives their ids in the same order where the table has them.

    PostgreSQL gets them as one value, in JSON: it reads that in a third of the time that it takes
    with a value in the statement for each of theirs.
    """

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self._columns = [table.c[name] for name in names]
        from_json = (
            func.json_to_recordset(bindparam("rows", type_=Text))
            .table_valued(*(column(it.key, it.type) for it in self._columns))
            .render_derived(with_types=True)
        )
        self._by_value = insert(table)
        at_once = insert(table).from_select(names, select(from_json))
        self._has_ids = "id" in names
        self._is_numbered = "id" in table.c and not self._has_ids
        if self._is_numbered:
            self._by_value = self._by_value.returning(table.c.id, sort_by_parameter_order=True)
            at_once = at_once.returning(table.c.id)
        self._at_once = Kept(at_once)
        # SQLAlchemy makes those for each row.
        self._has_defaults = any(it.default is not None for it in set(table.c) - {*self._columns})
        self._by_dialect: dict[str, dict[str, Callable[[Any], Any]] | None] = {}

    def insert(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Write the rows, all of which have a plain value for each name."""
        if not rows:
            return []
        ids: list[int] = [row["id"] for row in rows] if self._has_ids else []
        binds = self._json_binds(connection.dialect)
        if binds is None:
            result = connection.execute(self._by_value, list(rows))
            return list(result.scalars()) if self._is_numbered else ids
        values = {"rows": self._to_json(rows, binds)}
        if self._is_numbered:
            # They are counted up in the order in which the rows are read.
            return sorted(row_id for (row_id,) in self._at_once.rows(connection, values))
        self._at_once.count(connection, values)
        return ids

    def _json_binds(self, dialect: Dialect) -> dict[str, Callable[[Any], Any]] | None:
        """Give what turns values into what is stored; None where the rows do not go as JSON."""
        if dialect.name not in self._by_dialect:
            fits = (
                dialect.name == "postgresql"
                and not self._has_defaults
                and all(_fits_json(it.type, dialect) for it in self._columns)
            )
            self._by_dialect[dialect.name] = (
                {
                    it.key: process
                    for it in self._columns
                    if (process := _bind_processor(it.type, dialect))
                }
                if fits
                else None
            )
        return self._by_dialect[dialect.name]

    def _to_json(
        self, rows: Sequence[Mapping[str, Any]], binds: Mapping[str, Callable[[Any], Any]]
    ) -> str:
        stored = (
            {**row, **{name: process(row[name]) for name, process in binds.items()}} for row in rows
        )
        # A member that is absent is null as well.
        brief = [
            {name: value for name, value in row.items() if value is not None} for row in stored
        ]
        return to_json(brief, inf_nan_mode="strings").decode()


def _fits_json(kind: TypeEngine[Any], dialect: Dialect) -> bool:
    """Tell whether PostgreSQL reads from JSON what the driver would have written."""
    stored = kind.dialect_impl(dialect)
    while isinstance(stored, TypeDecorator):
        stored = stored.impl_instance
    plain = isinstance(stored, (String, Integer, Numeric, Boolean, Date, Time, Uuid))
    instant = isinstance(stored, DateTime) and stored.timezone
    return (plain or instant) and kind.bind_expression(bindparam("value")) is None


def _bind_processor(kind: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    process: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return process


def _is_observed(connection: Connection) -> bool:
    """Tell whether somebody wants to hear of each statement, to log, to trace or to count them."""
    return bool(connection.dispatch.before_cursor_execute) or engine_log.isEnabledFor(logging.INFO)


class _Written:
    """A statement in the words of one dialect."""

    def __init__(self, statement: Statement, compiled: Any) -> None:
        dialect = compiled.dialect
        self._sql: str = compiled.string
        self._order: list[str] | None = compiled.positiontup
        self._binds: dict[str, Callable[[Any], Any]] = {
            name: process
            for name, bind in compiled.binds.items()
            if (process := _bind_processor(bind.type, dialect))
        }
        self._constants: dict[str, Any] = {
            name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required
        }
        self._dialect = dialect
        self._returned = list(
            statement.selected_columns
            if isinstance(statement, Select)
            else getattr(statement, "exported_columns", ())
        )
        self._results: list[tuple[int, Callable[[Any], Any]]] | None = None

    def execute(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """Run it in the transaction of a connection, and give the driver's cursor."""
        bound = {**self._constants, **values}
        for name, process in self._binds.items():
            bound[name] = process(bound[name])
        parameters: Any = bound
        if self._order is not None:
            parameters = tuple(bound[name] for name in self._order)
        if not connection.in_transaction():
            connection.begin()
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self._sql, parameters)
        except BaseException as error:
            # What it means for the connection, the pool and the transaction, SQLAlchemy knows.
            connection._handle_dbapi_exception(error, self._sql, parameters, cursor, None)  # noqa: SLF001 - as its own executions do
        return cursor

    def read(self, cursor: Any) -> list[Sequence[Any]]:
        """Turn what the driver gives into what the columns mean."""
        if self._results is None:
            # What there is to do depends on the types that the database names with the rows.
            self._results = [
                (number, process)
                for number, (column, described) in enumerate(
                    zip(self._returned, cursor.description, strict=True)
                )
                if (process := self._processor(column.type, described[1]))
            ]
        rows: list[Sequence[Any]] = cursor.fetchall()
        return [self._meant(row) for row in rows] if self._results else rows

    def _meant(self, row: Sequence[Any]) -> Sequence[Any]:
        values = list(row)
        for number, process in self._results or ():
            values[number] = process(values[number])
        return values

    def _processor(self, kind: Any, described: object) -> Callable[[Any], Any] | None:
        process: Callable[[Any], Any] | None = kind.dialect_impl(self._dialect).result_processor(
            self._dialect, described
        )
        return process
