"""Column types that mean the same on SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, override

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, SmallInteger, Text, TypeDecorator

BigInt = BigInteger().with_variant(Integer, "sqlite")
"""64 bits on both databases; SQLite numbers rows by itself only in an ``INTEGER`` key."""


OrderedText = Text(collation="C").with_variant(Text(), "sqlite")
"""Text that both databases sort by code point."""


def utcnow() -> datetime:
    """Return the current instant, aware and in UTC."""
    return datetime.now(UTC)


class UTCDateTime(TypeDecorator[datetime]):
    """An instant, aware and in UTC on both databases; SQLite would forget the offset."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None else value.astimezone(UTC)

    @override
    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], datetime | None] | None:
        if dialect.name == "postgresql":
            # The connection sees to it that the driver's values are in UTC.
            return None
        return super().result_processor(dialect, coltype)

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None else value.replace(tzinfo=UTC)


class Ranked[E: StrEnum](TypeDecorator[E]):
    """An enum stored as its place in the definition, so that it sorts by meaning, not spelling.

    ``as_text`` reads a member's value: rows that are written as JSON at once take half the time.
    """

    impl = SmallInteger
    cache_ok = True

    def __init__(self, enum: type[E], *, as_text: bool = False) -> None:
        super().__init__()
        self.enum = enum
        self.as_text = as_text
        self._ranks = {member: rank for rank, member in enumerate(enum)}

    @override
    def process_bind_param(self, value: E | None, dialect: Dialect) -> int | None:
        return None if value is None else self._ranks[value]

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return dict(enumerate(member.value if self.as_text else member for member in self.enum)).get

    def literal(self, member: E) -> int:
        """Return what is stored for a member, for use in a constraint's SQL."""
        return self._ranks[member]
