"""Statements that are written once, and run on the driver's own cursor."""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Insert, Select, Update

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
        self._by_dialect: dict[str, _Written] = {}

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run it and give its rows."""
        if _is_observed(connection):
            return [tuple(row) for row in connection.execute(self._statement, values)]
        written = self._written(connection.dialect)
        return written.read(written.execute(connection, values).fetchall())

    def count(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it and tell how many rows it has written."""
        if _is_observed(connection):
            return connection.execute(self._statement, values).rowcount
        count: int = self._written(connection.dialect).execute(connection, values).rowcount
        return count

    def _written(self, dialect: Dialect) -> "_Written":
        written = self._by_dialect.get(dialect.name)
        if written is None:
            written = _Written(self._statement, dialect, self._columns)
            self._by_dialect[dialect.name] = written
        return written


def _is_observed(connection: Connection) -> bool:
    """Tell whether somebody wants to hear of each statement, to log, to trace or to count them."""
    return bool(connection.dispatch.before_cursor_execute) or engine_log.isEnabledFor(logging.INFO)


class _Written:
    """A statement in the words of one dialect."""

    def __init__(
        self, statement: Statement, dialect: Dialect, columns: Collection[str] | None
    ) -> None:
        compiled: Any = statement.compile(
            dialect=dialect, column_keys=None if columns is None else list(columns)
        )
        if compiled.post_compile_params:
            raise TypeError(f"the SQL depends on the values: {compiled.string}")
        self._sql: str = compiled.string
        self._order: list[str] | None = compiled.positiontup
        self._binds: dict[str, Callable[[Any], Any]] = {
            name: process
            for name, bind in compiled.binds.items()
            if (process := bind.type.dialect_impl(dialect).bind_processor(dialect))
        }
        self._constants: dict[str, Any] = {
            name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required
        }
        returned = (
            statement.selected_columns
            if isinstance(statement, Select)
            else getattr(statement, "exported_columns", ())
        )
        self._results = [
            (number, process)
            for number, column in enumerate(returned)
            if (process := column.type.dialect_impl(dialect).result_processor(dialect, None))
        ]

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
        except Exception as error:
            # What it means for the connection, the pool and the transaction, SQLAlchemy knows.
            connection._handle_dbapi_exception(error, self._sql, parameters, cursor, None)  # noqa: SLF001 - as its own executions do
        return cursor

    def read(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Turn what the driver gives into what the columns mean."""
        for number, process in self._results:
            rows = [(*row[:number], process(row[number]), *row[number + 1 :]) for row in rows]
        return rows
