"""What every table is built from: the declarative base, and versioned resources."""

import enum
import re
from datetime import datetime
from functools import cache
from inspect import getattr_static
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Enum,
    MetaData,
    Table,
    Update,
    and_,
    event,
    inspect,
    select,
    text,
    true,
)
from sqlalchemy.orm import (
    MANYTOMANY,
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    declared_attr,
    mapped_column,
)

from vibetracker.core.db.portions import is_found
from vibetracker.core.db.types import BigInt, UTCDateTime, utcnow

COUNTED = "_counted"
"""In a row's ``__dict__``: the transaction that has set its version, and that version."""


class Base(DeclarativeBase):
    """The base of every model; constraints are named, so that their violations are recognised.

    Enums are stored as text: PostgreSQL has one type for all enums of the same name.
    """

    type_annotation_map = {enum.Enum: Enum(enum.Enum, native_enum=False)}
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Resource(Base):
    """A row that clients address by id, and whose changes they recognise by ``version``.

    Ids are never reused. ``version`` is 1 at creation; the first flush of a transaction that
    updates the row adds one and sets ``updated_at``, whether a column or a many-to-many collection
    has changed. An UPDATE of another version than the one read raises ``StaleDataError``.
    """

    __abstract__ = True

    id: Mapped[int] = mapped_column(BigInt, primary_key=True, sort_order=-1)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, sort_order=1)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, sort_order=2)
    version: Mapped[int] = mapped_column(BigInt, default=1, sort_order=3)

    @classmethod
    def live(cls) -> ColumnElement[bool]:
        """Return the condition of a row that is not in the trash.

        A resource that has a trash says it itself. Any other one is there with what it belongs to:
        where a foreign key cannot be null, and its row is deleted with the one that it refers to.
        """
        return _live_with_owners(cls)

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.version, "version_id_generator": False}

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> Any:
        return {"sqlite_autoincrement": True}


@cache
def _live_with_owners(model: type[Resource], *within: type[Resource]) -> ColumnElement[bool]:
    """Return the condition; ``within`` are models that belong to this one, perhaps in a circle."""
    if within and has_own_trash(model):
        return model.live()
    table: Any = inspect(model).local_table
    owners = [
        is_found(select(owner.id).where(owner.id == key.parent, live).correlate(table))
        for key in table.foreign_keys
        if key.ondelete == "CASCADE" and not key.parent.nullable
        for owner in resources()
        if owner.__table__ is key.column.table and owner not in {model, *within}
        if (live := _live_with_owners(owner, model, *within)) is not true()
    ]
    return and_(*owners) if owners else true()


def resources() -> list[type[Resource]]:
    """List the resources of all models that are loaded, in no order."""
    models = (mapper.class_ for mapper in Base.registry.mappers)
    return [model for model in models if issubclass(model, Resource)]


def has_trash(model: Any) -> bool:
    """Return whether rows of a model can be in the trash."""
    return issubclass(model, Resource) and model.live() is not true()


def has_own_trash(model: type[Resource]) -> bool:
    """Return whether rows of a model can be in the trash without what they belong to."""
    return getattr_static(model, "live") is not getattr_static(Resource, "live")


@event.listens_for(Resource, "before_insert", propagate=True)
def _begin_versions(_: Any, connection: Connection, row: Resource) -> None:
    # One instant for both, and what the row says at its first flush is its first version.
    if row.created_at is None:
        row.created_at = utcnow()
    if row.updated_at is None:
        row.updated_at = row.created_at
    if row.version is None:
        row.version = 1
    vars(row)[COUNTED] = (connection.get_transaction(), row.version)


@event.listens_for(Resource, "before_update", propagate=True)
def _count_version(_: Any, connection: Connection, row: Resource) -> None:
    transaction = connection.get_transaction()
    if not _has_changed(row) or vars(row).get(COUNTED) == (transaction, row.version):
        return
    row.version += 1
    if not inspect(row).attrs.updated_at.history.has_changes():
        row.updated_at = utcnow()
    vars(row)[COUNTED] = (transaction, row.version)


class WritingSession(Session):
    """A session whose statements count versions; to look at each would delay those that read."""


@event.listens_for(WritingSession, "do_orm_execute")
def _count_versions(state: ORMExecuteState) -> None:
    """Let an ORM-enabled UPDATE count versions, where it does not set them itself."""
    mapper = state.bind_mapper
    if not state.is_update or mapper is None or not issubclass(mapper.class_, Resource):
        return
    statement = state.statement
    if isinstance(state.parameters, list) or not isinstance(statement, Update):
        raise TypeError(
            "this UPDATE counts no versions; execute update(...).where(...).values(...)"
        )
    model = statement.entity_description["entity"]
    counted = {"version": model.version + 1, "updated_at": utcnow()}
    given = str(statement)
    missing = {name: counted[name] for name in counted if not re.search(rf"\b{name}=", given)}
    state.statement = statement.values(missing)


def count_anew(session: Session) -> None:
    """Let the next change of each row be a new version, though the transaction has not ended."""
    for row in session.identity_map.values():
        vars(row).pop(COUNTED, None)


def _has_changed(row: Resource) -> bool:
    """Return whether a column or a many-to-many collection differs from what is stored."""
    state = inspect(row)
    collections = [it for it in state.mapper.relationships if it.direction is MANYTOMANY]
    own = (*state.mapper.column_attrs, *collections)
    return any(state.attrs[attribute.key].history.has_changes() for attribute in own)


def noun(model: type[Resource]) -> str:
    """Return what the rows of a model are called in a sentence."""
    return re.sub("(?<!^)(?=[A-Z])", " ", model.__name__).lower()


_POSTGRESQL = """\
CREATE OR REPLACE FUNCTION vibetracker_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER tr_{table}_{column} BEFORE UPDATE OF {column} ON {table}
FOR EACH ROW WHEN (OLD.{column} IS NOT NULL AND NEW.{column} IS NULL AND pg_trigger_depth() > 0)
EXECUTE FUNCTION vibetracker_touch()
"""
_SQLITE = """\
CREATE TRIGGER tr_{table}_{column} AFTER UPDATE OF {column} ON {table}
FOR EACH ROW WHEN NEW.{column} IS NULL
AND OLD.{column} NOT IN (SELECT {target.name} FROM {target.table}) BEGIN
    UPDATE {table}
    SET version = version + 1, updated_at = strftime('%Y-%m-%d %H:%M:%f000', 'now')
    WHERE id = NEW.id;
END
"""


@event.listens_for(Table, "after_create")
def _count_lost_references(table: Table, connection: Connection, **_: Any) -> None:
    """Add one to the version of a resource when the row that it refers to is deleted.

    The database itself then clears the column (``ondelete="SET NULL"``), whoever deletes: on
    PostgreSQL by a trigger of its own, on SQLite when the other row is not there any more.
    """
    if not any(model.__table__ is table for model in resources()):
        return
    trigger = _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE
    for key in table.foreign_keys:
        if key.ondelete == "SET NULL":
            names = {"table": table.name, "column": key.parent.name, "target": key.column}
            connection.execute(text(trigger.format(**names)))
