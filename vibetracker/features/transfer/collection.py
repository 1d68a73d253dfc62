"""What can be transferred: the rows of every feature, each collection by the schemas of its own.

A ``Resource`` with a ``<Model>Create`` and a ``<Model>Read`` in its feature's ``schema`` is
transferred as it is: a record has the members of both that are stored. A feature that stores more
than its clients see has a module ``transfer`` with a ``<Model>Record``, and there it can also have

- ``REFERENCES``: members that refer to rows without a foreign key, and the tables of those;
- ``LASTING``: those of them that stay when the row that they refer to is deleted;
- ``<Model>Import``: what new rows have to agree on, an ``Agreement``.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from graphlib import TopologicalSorter
from types import ModuleType, UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin
from uuid import UUID

from pydantic import MISSING, BaseModel, Field, create_model
from sqlalchemy import Column, Select, Table, UniqueConstraint, inspect
from sqlalchemy.orm import Session

from vibetracker.core.api.schema import CalendarDate, Input, Output, Timestamp, select_attributes
from vibetracker.core.db.model import Base, Resource
from vibetracker.core.discovery import Feature, models_of, module_of
from vibetracker.features.tags.association import association_of
from vibetracker.features.tags.model import Tag

from .records import Values

TAGS = "tag_names"
"""The attribute of rows that have tags."""
AS_TEXT = (Enum, UUID, Decimal, time, timedelta, bytes)
"""Types of which JSON has texts or numbers."""


class Agreement(Protocol):
    """What the new rows of one import have to agree on: with each other, and with what is there.

    A problem that it raises has pointers into the record.
    """

    def look(self, record: Any) -> None:
        """Look at a record before the database is; it refers to nothing yet."""

    def begin(
        self, session: Session, *, is_empty: bool, stand_ins: Mapping[str, Container[int]]
    ) -> None:
        """Begin to write, into a database without rows or beside those that are there.

        ``stand_ins`` are the ids of those, by table, that stand for records of the file; they
        become more as the file is read.
        """

    def complete(self, row_id: int, values: Values) -> Values:
        """Return the values of a new row; what it refers to is there, behind new ids."""
        ...


@dataclass(frozen=True, eq=False)
class Collection:
    """The rows of one table."""

    name: str
    """The table's, and that of the member in JSON."""
    model: type[Resource]
    record: type[BaseModel]
    sources: Mapping[str, str]
    """The attributes of the model that the members of a record come from."""
    columns: Mapping[str, Column[Any]]
    """By their attributes the columns that rows are written into; the database computes others."""
    references: Mapping[str, str]
    """Members that refer to rows, and the tables of those."""
    agreement: type[Agreement] | None
    association: Table | None
    """Through which the rows have tags."""
    unique: Sequence[tuple[str, ...]] = field(default=())
    """Attributes of which no two rows have the same values."""
    lasting: Container[str] = field(default=())
    """Members that refer to rows which may be deleted."""

    @property
    def table(self) -> Table:
        """The table."""
        return Base.metadata.tables[self.name]

    @property
    def behind(self) -> set[str]:
        """The tables whose rows have to be there before."""
        tags = {Tag.__tablename__} if self.association is not None else set()
        return {*self.references.values(), *tags} - {self.name}

    def statement(self) -> Select[*tuple[Any, ...]]:
        """Select the members of the records."""
        return select_attributes(self.model, self.sources)


def collections(features: Sequence[Feature]) -> dict[str, Collection]:
    """Return what the features store, each collection behind those that it refers to."""
    return _collections(tuple(feature.package for feature in features))


@cache
def _collections(packages: tuple[str, ...]) -> dict[str, Collection]:
    found: dict[str, Collection] = {}
    for package in packages:
        schema, transfer = (module_of(package, name) for name in ("schema", "transfer"))
        for model in models_of(package):
            collection = _collection(model, schema, transfer)
            if collection is not None:
                found[collection.name] = collection
    graph = {name: sorted(found[name].behind & found.keys()) for name in sorted(found)}
    return {name: found[name] for name in TopologicalSorter(graph).static_order()}


def _collection(
    model: type[Resource], schema: ModuleType | None, transfer: ModuleType | None
) -> Collection | None:
    name = model.__name__
    create: Any = getattr(schema, f"{name}Create", None)
    read: Any = getattr(schema, f"{name}Read", None)
    record: Any = getattr(transfer, f"{name}Record", None)
    if read is None or (record or create) is None:
        return None
    mapper = inspect(model)
    attributes = mapper.column_attrs
    record = record or _record(create, read, model)
    named = read.sources()
    sources = {
        member: source
        for member in dict.fromkeys((*read.model_fields, *record.model_fields))
        if member in record.model_fields and (source := named.get(member, member)) in attributes
    }
    table = Base.metadata.tables[model.__tablename__]
    columns = {
        it.key: column
        for it in attributes
        if isinstance(column := it.columns[0], Column) and column.computed is None
    }
    references = {
        member: next(iter(keys)).column.table.name
        for member, source in sources.items()
        if source in columns and (keys := columns[source].foreign_keys)
    }
    return Collection(
        table.name,
        model,
        record,
        sources,
        columns,
        {**references, **getattr(transfer, "REFERENCES", {})},
        getattr(transfer, f"{name}Import", None),
        association_of(table.name) if TAGS in sources.values() else None,
        [
            tuple(mapper.get_property_by_column(column).key for column in constraint.columns)
            for constraint in table.constraints
            if isinstance(constraint, UniqueConstraint)
        ],
        getattr(transfer, "LASTING", ()),
    )


def _record(create: type[Input], read: type[Output], model: type[Resource]) -> type[BaseModel]:
    """Make the type of a record: what clients send, and what else they read of the row."""
    attributes = inspect(model).column_attrs
    further: dict[str, Any] = {
        name: (_lenient(field.annotation) | MISSING, MISSING)
        for name, field in read.model_fields.items()
        if name not in create.model_fields and read.sources().get(name, "") in attributes
    }
    return create_model(f"{model.__name__}Record", __base__=create, **further)


def _lenient(annotation: Any) -> Any:
    """Return the type of a member that is read, as it is written in JSON."""
    if annotation is datetime:
        return Timestamp
    if annotation is date:
        return CalendarDate
    if get_origin(annotation) in {Union, UnionType}:
        return Union[tuple(_lenient(part) for part in get_args(annotation))]  # noqa: UP007
    if isinstance(annotation, type) and issubclass(annotation, AS_TEXT):
        return Annotated[annotation, Field(strict=False)]
    return annotation
