"""The journal: one row for each new version of a resource."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, Table, Text, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from vibetracker.core.db.model import Base
from vibetracker.core.db.types import BigInt, Ranked, UTCDateTime, utcnow


class Action(StrEnum):
    """What has happened to a resource."""

    CREATED = "created"
    UPDATED = "updated"
    TRASHED = "trashed"
    RESTORED = "restored"
    DELETED = "deleted"


class Turn(GenericFunction[int]):
    """SQL for the turn of the transaction that is going on: those of a later turn come later.

    It is the transaction's id, or the last turn that it sees, if that is greater: a transaction
    may have waited for a row that another one, of a greater id, has changed meanwhile. So a turn is
    never smaller than the id of its transaction. SQLite has one transaction at a time, and needs
    none.
    """

    type = BigInt
    inherit_cache = True


@compiles(Turn, "sqlite")
def _on_sqlite(_: Turn, __: SQLCompiler, **___: Any) -> str:
    return "0"


@compiles(Turn, "postgresql")
def _on_postgresql(_: Turn, __: SQLCompiler, **___: Any) -> str:
    last = "coalesce((SELECT max(turn) FROM changes), 0)"
    return f"greatest(pg_current_xact_id()::text::bigint, {last})"


class Entry(Base):
    """One change of one resource; no resource itself, so that it is no change in turn."""

    __tablename__ = "changes"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    turn: Mapped[int] = mapped_column(BigInt, default=Turn())
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    request_id: Mapped[str] = mapped_column(Text)
    resource: Mapped[str] = mapped_column(Text)
    resource_id: Mapped[int] = mapped_column(BigInt)
    action: Mapped[Action] = mapped_column(Ranked(Action))
    version: Mapped[int] = mapped_column(BigInt)
    changes: Mapped[str] = mapped_column(Text)
    """JSON: each member that differs, with its values before and after."""

    __table_args__ = (
        Index(None, "turn", "id"),
        Index(None, "request_id"),
        Index(None, "resource_id", "resource"),
        {"sqlite_autoincrement": True},
    )


entries: Table = Base.metadata.tables[Entry.__tablename__]
order = (entries.c.turn, entries.c.id)
latest_first = tuple(column.desc() for column in order)
position = tuple_(*order)
"""Where a change is in that order."""
