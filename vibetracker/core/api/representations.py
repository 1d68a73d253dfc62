"""What clients see of rows, read outside of an operation."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, inspect, select
from sqlalchemy.orm import Session

from vibetracker.core.api.answers import is_plain
from vibetracker.core.api.schema import Output
from vibetracker.core.db.changes import Reader, Values, table_of
from vibetracker.core.db.model import Resource


def reader(resource: type[Resource], output: type[Output] | None) -> Reader:
    """Return the function that reads the representations of some rows, by their ids.

    Without an ``output`` they are all columns.
    """
    columns = inspect(resource).column_attrs
    if output is None:
        every = (attribute.columns[0].label(attribute.key) for attribute in columns)
        return _reader_of_columns(resource, select(*every))
    if is_plain(output) and all(source in columns for source in output.sources().values()):
        return _reader_of_columns(resource, output.select(resource))

    def read(connection: Connection, ids: Sequence[int]) -> dict[int, Values]:
        # In a session of its own, which sees what is stored, and not what others hold in memory.
        with Session(connection, join_transaction_mode="rollback_only") as session:
            rows = session.scalars(select(resource).where(resource.id.in_(ids)))
            return {row.id: output.model_validate(row).model_dump() for row in rows}

    return read


def _reader_of_columns(resource: type[Resource], statement: Select[*tuple[Any, ...]]) -> Reader:
    names = [column.name for column in statement.selected_columns]
    key = table_of(resource).c.id
    some = statement.add_columns(key).where(key.in_(bindparam("ids", expanding=True)))

    def read(connection: Connection, ids: Sequence[int]) -> dict[int, Values]:
        rows = connection.execute(some, {"ids": ids})
        return {row[-1]: dict(zip(names, row, strict=False)) for row in rows}

    return read
