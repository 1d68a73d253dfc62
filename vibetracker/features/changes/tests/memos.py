"""A feature whose changes are followed and undone here."""

from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import MISSING
from sqlalchemy.orm import Mapped, mapped_column, validates

from vibetracker.core.api.preconditions import find
from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import Input, Output, Patch, Timestamp, UrlId
from vibetracker.core.api.session import SessionDep
from vibetracker.core.api.text import Line
from vibetracker.core.db.model import Resource
from vibetracker.core.db.types import UTCDateTime, utcnow
from vibetracker.core.discovery import Feature


class Memo(Resource):
    """A row that is written by the ORM."""

    __tablename__ = "memos"

    text: Mapped[str] = mapped_column(unique=True)
    pinned: Mapped[bool] = mapped_column(default=False)
    pinned_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)
    seen_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)

    @validates("pinned")
    def _date(self, _: str, pinned: bool) -> bool:  # noqa: FBT001 - SQLAlchemy passes it so
        self.pinned_at = utcnow() if pinned else None
        return pinned


class Picture(Resource):
    """A row that has no representation of its own, and a column that JSON does not have."""

    __tablename__ = "pictures"

    name: Mapped[str]
    data: Mapped[bytes]


class Frame(Resource):
    """A row whose handler answers with more than it has."""

    __tablename__ = "frames"

    name: Mapped[str]


Text = Annotated[str, Line(80)]


class MemoCreate(Input):
    """A new memo."""

    text: Text
    pinned: bool = False


class MemoUpdate(Patch):
    """Changes to a memo."""

    text: Text | MISSING = MISSING
    pinned: bool | MISSING = MISSING
    seen_at: Timestamp | MISSING | None = MISSING


class MemoRead(Output):
    """A memo."""

    id: int
    text: str
    pinned: bool
    pinned_at: datetime | None
    seen_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


class FrameRead(Output):
    """A frame with what its handler computes."""

    id: int
    name: str
    size: int
    version: int


router = Router("/memos", description="Memos.")
MemoId = Annotated[UrlId, Path()]


@router.post("", status_code=201, response_model=MemoRead)
def create_memo(session: SessionDep, data: MemoCreate) -> Memo:
    """Create a memo."""
    memo = Memo(**data.model_dump())
    session.add(memo)
    return memo


@router.post("/many", status_code=204)
def create_memos(session: SessionDep) -> None:
    """Create two memos, and change one that there is."""
    session.add_all([Memo(text="first of two"), Memo(text="second of two")])
    find(session, Memo, 1).text = "beside two"


@router.post("/frames", status_code=201)
def create_frame(session: SessionDep) -> FrameRead:
    """Create a frame for a new picture."""
    picture, frame = Picture(name="sea", data=b"\xff"), Frame(name="oak")
    session.add_all([picture, frame])
    session.flush()
    size = len(picture.data)
    return FrameRead(id=frame.id, name=frame.name, size=size, version=frame.version)


@router.get("/{memo_id}", response_model=MemoRead)
def get_memo(session: SessionDep, memo_id: MemoId) -> Memo:
    """Get a memo."""
    return find(session, Memo, memo_id)


@router.patch("/{memo_id}", response_model=MemoRead)
def update_memo(session: SessionDep, memo_id: MemoId, data: MemoUpdate) -> Memo:
    """Change a memo."""
    return data.apply_to(find(session, Memo, memo_id))


@router.delete("/{memo_id}", status_code=204)
def delete_memo(session: SessionDep, memo_id: MemoId) -> None:
    """Delete a memo."""
    session.delete(find(session, Memo, memo_id))


FEATURE = Feature(
    "memos",
    "vibetracker.features.changes.tests",
    router,
    resources={Memo: MemoRead, Picture: None, Frame: FrameRead},
)
