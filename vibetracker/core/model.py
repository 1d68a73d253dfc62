"""What every table is built from: the base class, portable column types, versioned resources."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, override

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    event,
    inspect,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.sql.schema import CallableColumnDefault, ScalarElementColumnDefault

BigInt = BigInteger().with_variant(Integer, "sqlite")
"""64 bits on both databases; SQLite numbers rows by itself only in an ``INTEGER`` key."""


OrderedText = Text(collation="C").with_variant(Text(), "sqlite")
"""Text that both databases sort by code point."""


class Spelled(TypeDecorator[str]):
    """Reads the place of an enum's member as the member's spelling.

    For answers that are written at once: writing text takes half the time of writing members.
    """

    impl = SmallInteger
    cache_ok = True

    def __init__(self, spellings: tuple[str, ...]) -> None:
        super().__init__()
        self.spellings = spellings

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None]:
        # At once, since a page has a hundred of them.
        return dict(enumerate(self.spellings)).get


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
            # The session's time zone is UTC, so that the driver's values are right as they come.
            return None
        return super().result_processor(dialect, coltype)

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None else value.replace(tzinfo=UTC)


class Ranked[E: StrEnum](TypeDecorator[E]):
    """An enum stored as its place in the definition, so that it sorts by meaning, not spelling."""

    impl = SmallInteger
    cache_ok = True

    def __init__(self, enum: type[E]) -> None:
        super().__init__()
        self.enum = enum
        self._members = list(enum)
        self._ranks = {member: rank for rank, member in enumerate(self._members)}

    @override
    def process_bind_param(self, value: E | None, dialect: Dialect) -> int | None:
        return None if value is None else self._ranks[value]

    @override
    def process_result_value(self, value: int | None, dialect: Dialect) -> E | None:
        return None if value is None else self._members[value]

    @property
    def spelled(self) -> "Spelled":
        """Give the type that reads the same column as plain text."""
        return Spelled(tuple(member.value for member in self._members))

    def literal(self, member: E) -> int:
        """Tell what is stored for a member, for use in a constraint's SQL."""
        return self._ranks[member]


class Base(DeclarativeBase):
    """The base of every model; constraints are named, so that their violations can be told."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def utcnow() -> datetime:
    """Tell the current instant, aware and in UTC."""
    return datetime.now(UTC)


class Resource(Base):
    """A row that clients address by id, and whose changes they can tell apart by ``version``.

    Ids are never reused. ``version`` is 1 at creation and grows by one, and ``updated_at`` moves,
    with every UPDATE that the session writes; an assignment that changes nothing writes none.
    """

    __abstract__ = True

    id: Mapped[int] = mapped_column(BigInt, primary_key=True, sort_order=-1)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, sort_order=1)
    updated_at: Mapped[datetime] = mapped_column(
        UTCDateTime, default=utcnow, onupdate=utcnow, sort_order=2
    )
    version: Mapped[int] = mapped_column(BigInt, sort_order=3)

    def __init__(self, **values: object) -> None:
        # First, since a value may have others derived from it; past the events of each attribute,
        # which would take longer than all the rest.
        constants, made, plain = _defaults(type(self))
        has = vars(self)
        has.update(constants)
        # What is None has its default, as with SQLAlchemy.
        said = {name: value for name, value in values.items() if value is not None}
        for name, make in made:
            if name not in said:
                has[name] = make(None)
        has.update({name: value for name, value in said.items() if name in plain})
        super().__init__(**{name: value for name, value in values.items() if name not in plain})
        if "updated_at" not in said:
            has["updated_at"] = has["created_at"]

    def derive(self) -> None:
        """Set the attributes that follow from others; called before the row is written."""

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.version}

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> Any:
        return {"sqlite_autoincrement": True}


@event.listens_for(Resource, "before_insert", propagate=True)
@event.listens_for(Resource, "before_update", propagate=True)
def _derive(_: Any, __: Connection, row: Resource) -> None:
    row.derive()


@cache
def _defaults(
    model: type[Resource],
) -> tuple[dict[str, Any], list[tuple[str, Callable[[Any], Any]]], set[str]]:
    """Give what new rows have where nobody says otherwise: values, and functions that make them.

    Also the names of the attributes from which nothing follows when they are set. A row knows its
    defaults from the beginning, so that nothing has to be read after its INSERT.
    """
    mapper = inspect(model)
    constants: dict[str, Any] = {"version": 1}
    made: list[tuple[str, Callable[[Any], Any]]] = []
    for attribute in mapper.column_attrs:
        column = attribute.columns[0]
        if not isinstance(column, Column):
            continue
        if column.default is None:
            if column.nullable and column.server_default is None and not _is_value(column):
                constants[attribute.key] = None
        elif isinstance(column.default, ScalarElementColumnDefault):
            constants[attribute.key] = column.default.arg
        elif isinstance(column.default, CallableColumnDefault):
            made.append((attribute.key, column.default.arg))
    plain = {
        attribute.key for attribute in mapper.column_attrs if not _is_value(attribute.columns[0])
    }
    return constants, made, plain - mapper.validators.keys()


def _is_value(column: ColumnElement[Any]) -> bool:
    """Tell whether None is a value in a column of this type, as JSON's null is."""
    return column.type.should_evaluate_none


def noun(model: type[Resource]) -> str:
    """Name what the rows of a model are, as in a sentence."""
    return re.sub("(?<!^)(?=[A-Z])", " ", model.__name__).lower()


_POSTGRESQL = """\
CREATE OR REPLACE FUNCTION vibetracker_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER tr_{table}_{column} BEFORE UPDATE OF {column} ON {table}
FOR EACH ROW WHEN ({lost}) EXECUTE FUNCTION vibetracker_touch()
"""
_SQLITE = """\
CREATE TRIGGER tr_{table}_{column} AFTER UPDATE OF {column} ON {table}
FOR EACH ROW WHEN {lost} BEGIN
    UPDATE {table}
    SET version = version + 1, updated_at = strftime('%Y-%m-%d %H:%M:%f000', 'now')
    WHERE id = NEW.id;
END
"""
_LOST = """\
OLD.{column} IS NOT NULL AND NEW.{column} IS NULL AND NEW.version = OLD.version\
"""


@event.listens_for(Table, "after_create")
def _count_lost_references(table: Table, connection: Connection, **_: Any) -> None:
    """Give a resource a new version when the row that it refers to is deleted.

    The database itself then clears the column (``ondelete="SET NULL"``), whoever deletes.
    """
    if "version" not in table.columns:
        return
    for key in table.foreign_keys:
        if key.ondelete == "SET NULL":
            names = {"table": table.name, "column": key.parent.name}
            trigger = _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE
            connection.execute(text(trigger.format(lost=_LOST.format(**names), **names)))
