"""What clients see of rows, read outside of an operation."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, inspect, select
from sqlalchemy.orm import Session

from vibetracker.core.api.answers import is_plain
from vibetracker.core.api.schema import Output, select_attributes
from vibetracker.core.db.changes import Reader, Values, table_of
from vibetracker.core.db.model import Resource


def reader(resource: type[Resource], output: type[Output] | None) -> Reader:
    """Return the function that reads the representations of some rows, by their ids.

    Without an ``output`` they are all columns.
    """
    columns = inspect(resource).column_attrs.keys()
    sources = dict(zip(columns, columns, strict=True)) if output is None else output.sources()
    if output is None or (is_plain(output) and {*sources.values()} <= {*columns}):
        return _reader_of_columns(resource, sources)

    def read(connection: Connection, ids: Sequence[int]) -> dict[int, Values]:
        # In a session of its own, which sees what is stored, and not what others hold in memory.
        with Session(connection, join_transaction_mode="rollback_only") as session:
            rows = session.scalars(select(resource).where(resource.id.in_(ids)))
            return {row.id: output.model_validate(row).model_dump() for row in rows}

    return read


def _reader_of_columns(resource: type[Resource], sources: Mapping[str, str]) -> Reader:
    key = table_of(resource).c.id
    chosen = key.in_(bindparam("ids", expanding=True))
    some = select_attributes(resource, sources).add_columns(key).where(chosen)

    def read(connection: Connection, ids: Sequence[int]) -> dict[int, Values]:
        rows = connection.execute(some, {"ids": ids})
        return {row[-1]: dict(zip(sources, row, strict=False)) for row in rows}

    return read
