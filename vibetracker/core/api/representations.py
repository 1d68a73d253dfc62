"""What clients see of rows, read outside of an operation."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import MISSING, create_model
from sqlalchemy import Connection, LargeBinary, bindparam, inspect, select
from sqlalchemy.orm import Session

from vibetracker.core.api.answers import is_plain
from vibetracker.core.api.schema import Output, select_attributes
from vibetracker.core.db.changes import Reader, Values, table_of
from vibetracker.core.db.model import Resource


def reader(resource: type[Resource], output: type[Output] | None) -> Reader:
    """Return the function that reads the representations of some rows, by their ids.

    Without an ``output`` they are all columns but those of bytes, which JSON does not have.
    """
    columns = inspect(resource).column_attrs
    if output is None:
        texts = [it.key for it in columns if not isinstance(it.columns[0].type, LargeBinary)]
        return _reader_of_columns(resource, {name: name for name in texts})
    # What a handler computes is no part of what the row is.
    computed: dict[str, Any] = {
        name: (output.model_fields[name].annotation | MISSING, MISSING)
        for name, source in output.sources().items()
        if source.isidentifier() and not hasattr(resource, source)
    }
    output = create_model(output.__name__, __base__=output, **computed) if computed else output
    sources = output.sources()
    if is_plain(output) and {*sources.values()} <= {*columns.keys()}:
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
