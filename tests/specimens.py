"""A feature for tests of the shared rules, so that none of them depends on a real feature."""

import enum
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from factory.declarations import Sequence
from fastapi import Path, Query
from pydantic import MISSING
from sqlalchemy import JSON, Column, Computed, Enum, ForeignKey, Table, UniqueConstraint
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from vibetracker.core.api.filters import Filters, Where
from vibetracker.core.api.paging import Page, PageDep, Rows, paginate
from vibetracker.core.api.preconditions import find
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.schema import Id, Input, Output, Patch, Timestamp, UrlId, UrlInt
from vibetracker.core.api.session import SessionDep
from vibetracker.core.api.sorting import Key, Sorting
from vibetracker.core.api.text import Line, Prose
from vibetracker.core.db.model import Base, Resource
from vibetracker.core.db.types import BigInt, OrderedText, UTCDateTime
from vibetracker.core.discovery import Feature
from vibetracker.core.http.problems import Conflict
from vibetracker.testing import Factory

CAUSE = "what only the log may tell"


class Specimen(Resource):
    """A row with a column of each kind that the shared rules treat differently."""

    __tablename__ = "specimens"

    label: Mapped[str] = mapped_column(OrderedText)
    note: Mapped[str] = mapped_column(default="")
    weight: Mapped[int | None] = mapped_column(default=None)
    found_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)
    twin_id: Mapped[int | None] = mapped_column(
        BigInt, ForeignKey("specimens.id", deferrable=True, initially="DEFERRED"), default=None
    )
    """Checked at COMMIT, so that a commit can be made to fail."""
    origin: Mapped[str] = mapped_column(server_default="unknown")
    length: Mapped[float | None] = mapped_column(default=None)
    row_id: Mapped[int | None] = mapped_column(default=None)
    row_version: Mapped[int | None] = mapped_column(default=None)

    __table_args__ = (UniqueConstraint("label"), Resource.__table_args__)


drawer_contents = Table(
    "drawer_contents",
    Base.metadata,
    Column("drawer_id", ForeignKey("drawers.id"), primary_key=True),
    Column("specimen_id", ForeignKey("specimens.id"), primary_key=True),
)


class Drawer(Resource):
    """A row of a model with relationships."""

    __tablename__ = "drawers"

    name: Mapped[str]
    sign: Mapped[str]
    finest_id: Mapped[int | None] = mapped_column(ForeignKey("specimens.id"), default=None)

    finest: Mapped[Specimen | None] = relationship()
    contents: Mapped[list[Specimen]] = relationship(secondary="drawer_contents")

    @validates("name")
    def _sign(self, _: str, name: str) -> str:
        self.sign = name.upper()
        return name


class Oddity(Resource):
    """A row with a column that is named unlike its attribute, and one with an ``onupdate``."""

    __tablename__ = "oddities"

    kind: Mapped[str | None] = mapped_column("type", default=None)
    maker: Mapped[str] = mapped_column(default="somebody", onupdate=lambda: "somebody else")


class Colour(enum.Enum):
    """An enum whose members are no texts, and whose names are not its values."""

    RED = "a"
    GREEN = "b"
    BLUE = "c"


class Tile(Resource):
    """A row with columns of types that JSON does not have."""

    __tablename__ = "tiles"

    code: Mapped[UUID]
    drying: Mapped[timedelta]
    colour: Mapped[Colour]
    paint: Mapped[Colour] = mapped_column(
        Enum(Colour, name="paint", values_callable=lambda it: [member.value for member in it])
    )


class Keyed(Resource):
    """A row with a column that has a ``key``, and one with defaults in Python and in SQL."""

    __tablename__ = "keyed"

    kind: Mapped[str | None] = mapped_column("type", key="kind", default=None)
    maker: Mapped[str] = mapped_column(default=lambda: "python", server_default="database")


class Crate(Resource):
    """A row with an enum, a mutable column, and one that the database computes from another."""

    __tablename__ = "crates"

    class Kind(enum.Enum):
        """Of what it is made."""

        WOOD = "wood"

    kind: Mapped[Kind] = mapped_column(default=Kind.WOOD)

    side: Mapped[int] = mapped_column(default=1)
    area: Mapped[int] = mapped_column(Computed("side * side", persisted=True))
    contents: Mapped[dict[str, int] | None] = mapped_column(MutableDict.as_mutable(JSON()))


class Label(Resource):
    """A row with an enum of the same name, and a JSON column, whose null is another than SQL's."""

    __tablename__ = "labels"

    class Kind(enum.Enum):
        """How it is written."""

        PRINTED = "printed"

    kind: Mapped[Kind] = mapped_column(default=Kind.PRINTED)

    content: Mapped[object | None] = mapped_column(JSON)


class SpecimenCreate(Input):
    """A new specimen."""

    label: Annotated[str, Line(40)]
    note: Annotated[str, Prose(200)] = ""
    weight: int | None = None
    found_at: Timestamp | None = None
    twin_id: Id | None = None


class SpecimenUpdate(Patch):
    """Changes to a specimen."""

    label: Annotated[str, Line(40)] | MISSING = MISSING
    note: Annotated[str, Prose(200)] | MISSING = MISSING
    weight: int | MISSING | None = MISSING


class Weighing(Input):
    """The result of weighing."""

    weight: int


class SpecimenRead(Output):
    """A specimen."""

    id: int
    label: str
    note: str
    weight: int | None
    found_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


class SpecimenFilters(Filters):
    """What narrows the list down."""

    weight: Annotated[
        list[UrlInt], Where(lambda weights, _: Specimen.weight.in_(weights)), Query()
    ] = []
    heavier_than: Annotated[
        UrlInt | None, Where(lambda weight, _: Specimen.weight > weight), Query()
    ] = None


SORTING = Sorting(
    default="-created_at",
    id=Key(Specimen.id),
    label=Key(Specimen.label),
    weight=Key(Specimen.weight, nullable=True),
    found_at=Key(Specimen.found_at, nullable=True),
    created_at=Key(Specimen.created_at),
)

router = Router("/specimens", description="Things to test on.")

SpecimenId = Annotated[UrlId, Path()]


@router.get("", response_model=Page[SpecimenRead])
def list_specimens(
    session: SessionDep,
    page: PageDep,
    filters: Annotated[SpecimenFilters, Query()],
    sort: Annotated[str, SORTING, Query()] = SORTING.default,
) -> Rows:
    """List the specimens."""
    rows = SpecimenRead.select(Specimen).where(*filters.conditions())
    return paginate(session, rows, page, SORTING, sort)


@router.post("", status_code=201, response_model=SpecimenRead, responses=raising(Conflict))
def create_specimen(session: SessionDep, data: SpecimenCreate) -> Specimen:
    """Create a specimen; a taken label is left to the database."""
    specimen = Specimen(**data.model_dump())
    session.add(specimen)
    return specimen


@router.get("/{specimen_id}", response_model=SpecimenRead)
def get_specimen(session: SessionDep, specimen_id: SpecimenId) -> Specimen:
    """Get a specimen."""
    return find(session, Specimen, specimen_id)


@router.patch("/{specimen_id}", response_model=SpecimenRead, responses=raising(Conflict))
def update_specimen(session: SessionDep, specimen_id: SpecimenId, data: SpecimenUpdate) -> Specimen:
    """Change a specimen."""
    return data.apply_to(find(session, Specimen, specimen_id))


@router.delete("/{specimen_id}", status_code=204)
def delete_specimen(session: SessionDep, specimen_id: SpecimenId) -> None:
    """Delete a specimen."""
    session.delete(find(session, Specimen, specimen_id))


@router.post("/{specimen_id}/weigh", response_model=SpecimenRead)
def weigh_specimen(session: SessionDep, specimen_id: SpecimenId, data: Weighing) -> Specimen:
    """Weigh a specimen: an action on one resource."""
    specimen = find(session, Specimen, specimen_id)
    specimen.weight = data.weight
    return specimen


@router.post("/{specimen_id}/drop", response_model=SpecimenRead)
def drop_specimen(session: SessionDep, specimen_id: SpecimenId) -> Specimen:
    """Drop a specimen: fails after it has written."""
    find(session, Specimen, specimen_id).note = "broken"
    session.flush()
    raise RuntimeError(CAUSE)


class SpecimenFactory(Factory[Specimen]):
    """A specimen with a label of its own."""

    class Meta:
        model = Specimen

    label = Sequence(lambda n: f"specimen {n}")  # type: ignore[no-untyped-call] # factory-boy is untyped


FEATURE = Feature("specimens", "tests.specimens", router)
