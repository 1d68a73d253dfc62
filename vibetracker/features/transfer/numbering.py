"""The ids that a table has assigned and is going to assign, on both databases."""

from collections.abc import Iterator

from sqlalchemy import Table, text
from sqlalchemy.orm import Session

from vibetracker.core.db.database import dialect_of

RESERVED_AT_ONCE = 1000

_LAST = {
    "sqlite": "SELECT seq FROM sqlite_sequence WHERE name = :name",
    "postgresql": "SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence(:name, 'id') "
    "AS regclass))",
}


def last_id(session: Session, table: Table) -> int:
    """Return the last id that a table has assigned; 0 where it has assigned none."""
    return session.scalar(text(_LAST[dialect_of(session)]), {"name": table.name}) or 0


def reserve(session: Session, table: Table, many: int) -> Iterator[int]:
    """Iterate over so many new ids, which nobody else gets."""
    if dialect_of(session) == "sqlite":
        # A transaction that writes is alone.
        first = last_id(session, table) + 1
        yield from range(first, first + many)
        return
    statement = "SELECT nextval(pg_get_serial_sequence(:name, 'id')) FROM generate_series(1, :many)"
    for start in range(0, many, RESERVED_AT_ONCE):
        values = {"name": table.name, "many": min(RESERVED_AT_ONCE, many - start)}
        yield from session.scalars(text(statement), values).all()


def go_beyond(session: Session, table: Table, used: int) -> None:
    """Let a table assign no id up to this one again."""
    if used <= last_id(session, table):
        return
    values = {"name": table.name, "last": used}
    if dialect_of(session) == "sqlite":
        statement = "UPDATE sqlite_sequence SET seq = :last WHERE name = :name"
        if not session.execute(text(statement), values).rowcount:  # type: ignore[attr-defined] # a CursorResult
            statement = "INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"
            session.execute(text(statement), values)
    else:
        # setval() would outlast a transaction that is rolled back, such as that of a dry run.
        sequence = session.scalar(text("SELECT pg_get_serial_sequence(:name, 'id')"), values)
        session.execute(text(f"ALTER SEQUENCE {sequence} RESTART WITH {int(used)}"))
        session.execute(text("SELECT nextval(CAST(:sequence AS regclass))"), {"sequence": sequence})
