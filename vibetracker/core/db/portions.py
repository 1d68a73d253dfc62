"""Statements that are quick whatever PostgreSQL takes the size of tables for: by ids, in portions.

The ids are in the statement itself, where as values they would take three times as long.
"""

from collections.abc import Iterable, Sequence
from itertools import batched
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, bindparam, select, true

AT_ONCE = 1000
"""Rows that one statement reads or writes."""
CLOSE = 10
"""How far ids of which most are wanted lie apart on average."""


def among(column: Any, ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition that a column has one of these ids; there is one at least.

    Those that lie close together are looked for as a range: for each by itself PostgreSQL would
    rather read the whole table.
    """
    low, high = min(ids), max(ids)
    some = bindparam(None, ids, column.type, unique=True, expanding=True, literal_execute=True)
    is_one: ColumnElement[bool] = column.in_(some)
    if high - low > CLOSE * len(ids):
        return is_one
    return and_(column.between(low, high), is_one.is_(true()))


def is_found(rows: Select[*tuple[Any, ...]]) -> ColumnElement[bool]:
    """Return the condition that there is such a row, which is looked up for each row.

    The test for truth keeps it from becoming a join, for which PostgreSQL would read all rows of
    one table for each of the other where it takes them for empty.
    """
    return rows.exists().is_(true())


def lock_some(connection: Connection, table: Table, ids: Iterable[int]) -> None:
    """Lock rows, in one order for everybody, so that two transactions do not wait in a circle."""
    for some in batched(sorted(ids), AT_ONCE):
        rows = select(table.c.id).where(among(table.c.id, some)).order_by(table.c.id)
        connection.execute(rows.with_for_update())
