"""A feature of ordinary practices: each is one of FastAPI's or SQLAlchemy's documentation."""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from fastapi import (
    BackgroundTasks,
    Cookie,
    Depends,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Request,
    Response,
    UploadFile,
)
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Field, computed_field, field_serializer
from sqlalchemy import Connection, ForeignKey, Select, event, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Mapper, Session, mapped_column, relationship, validates

from vibetracker.core.api.paging import Page, PageDep, Rows, paginate
from vibetracker.core.api.preconditions import find, read
from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import Input, Output, UrlId
from vibetracker.core.api.session import DatabaseDep, SessionDep
from vibetracker.core.api.sorting import Key, Sorting
from vibetracker.core.api.text import Line
from vibetracker.core.db.changes import Change, announcing, table_of
from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Base, Resource
from vibetracker.core.db.types import BigInt, utcnow
from vibetracker.core.discovery import Feature
from vibetracker.core.http.problems import Conflict

KEYS = {"k-1": "Ada"}
PRINTED: list[int] = []
"""The ids of the albums that have been printed."""
COMMITTED: list[str] = []
"""The titles of new albums, announced after the commit."""


class Album(Resource):
    """An album, which has photos."""

    __tablename__ = "albums"

    title: Mapped[str] = mapped_column(unique=True)
    slug: Mapped[str]
    search: Mapped[str]
    prints: Mapped[int] = mapped_column(default=0)
    cover: Mapped[str | None] = mapped_column(default=None)

    photos: Mapped[list["Photo"]] = relationship(
        back_populates="album", cascade="all, delete-orphan", order_by="Photo.id"
    )

    @validates("title")
    def _set_search(self, _: str, title: str) -> str:
        self.search = title.casefold()
        return title


class Photo(Resource):
    """A photo in an album."""

    __tablename__ = "photos"

    caption: Mapped[str]
    digest: Mapped[str | None] = mapped_column(default=None)
    album_id: Mapped[int] = mapped_column(BigInt, ForeignKey("albums.id"))

    album: Mapped[Album] = relationship(back_populates="photos")


class LogEntry(Base):
    """A line of the log of what has been done."""

    __tablename__ = "album_log"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    line: Mapped[str]


@event.listens_for(Album, "before_insert")
def set_slug(_: Mapper[Album], __: Connection, album: Album) -> None:
    """Derive the slug of a new album."""
    album.slug = album.title.lower().replace(" ", "-")


@event.listens_for(Session, "before_flush")
def log_new_albums(session: Session, *_: object) -> None:
    """Log each new album in its own transaction."""
    for album in [row for row in session.new if isinstance(row, Album)]:
        session.add(LogEntry(line=f"new {album.title}"))
        session.info.setdefault("new albums", []).append(album.title)


@event.listens_for(Session, "after_commit")
def announce_new_albums(session: Session) -> None:
    """Announce the albums that have been created."""
    COMMITTED.extend(session.info.pop("new albums", ()))


def on_changes(session: Session, changes: Sequence[Change]) -> None:
    """Log each new title of an album, in the transaction that changes it."""
    for change in changes:
        if change.resource is Album and change.before and change.after:
            old, new = change.before["title"], change.after["title"]
            if new == "untitled":
                raise Conflict("An album keeps a title that says something")
            if old != new:
                session.add(LogEntry(line=f"{old} is now {new}"))


class PhotoCreate(Input):
    """A new photo."""

    caption: Annotated[str, Line(80)]


class AlbumCreate(Input):
    """A new album."""

    title: Annotated[str, Line(80)]
    photos: Annotated[list[PhotoCreate], Field(max_length=100)] = []


class Titles(Input):
    """Titles of albums."""

    titles: Annotated[list[Annotated[str, Line(80)]], Field(max_length=100)]


class PhotoRead(Output):
    """A photo."""

    id: int
    caption: str
    digest: str | None


class AlbumRead(Output):
    """An album with its photos."""

    id: int
    title: str
    slug: str
    prints: int
    photos: list[PhotoRead]
    version: int


class AlbumLine(Output):
    """An album in a list."""

    id: int
    title: str
    cover: str | None
    version: int

    @computed_field  # type: ignore[prop-decorator] # as Pydantic documents it
    @property
    def initial(self) -> str:
        """The first letter of the title."""
        return self.title[:1]

    @field_serializer("title")
    def _quote(self, title: str) -> str:
        return f"»{title}«"


class Imported(Output):
    """How many albums have been made, and which were there already."""

    created: int
    taken: list[str]


class Caller(Output):
    """What a request says of its caller."""

    address: str
    agent: str
    theme: str | None


router = Router("/albums", description="Ordinary practices.")

AlbumId = Annotated[UrlId, Path()]
SORTING = Sorting(default="title", title=Key(Album.title), id=Key(Album.id))

api_key = APIKeyHeader(name="X-API-Key")


def check_key(key: Annotated[str, Depends(api_key)]) -> str:
    """Return whose key it is."""
    if key not in KEYS:
        raise HTTPException(401, "Unknown key", headers={"WWW-Authenticate": "APIKey"})
    return KEYS[key]


def find_album(session: SessionDep, album_id: AlbumId) -> Album:
    """Return the album that the path names."""
    return find(session, Album, album_id)


AlbumDep = Annotated[Album, Depends(find_album)]


def find_first_photo(album: AlbumDep) -> Photo:
    """Return the first photo of the album that the path names."""
    if not album.photos:
        raise HTTPException(404, "The album is empty")
    return album.photos[0]


def log_request(session: SessionDep, request: Request) -> Iterator[None]:
    """Log a request in its own transaction."""
    session.add(LogEntry(line=f"begin {request.url.path}"))
    yield
    session.add(LogEntry(line=f"end {request.url.path}"))


def print_album(database: Database, album_id: int) -> None:
    """Print an album, in a transaction of its own."""
    PRINTED.append(album_id)
    with database.session(write=True) as session:
        album = session.get_one(Album, album_id)
        album.prints += 1
        session.commit()


@router.get("", response_model=Page[AlbumLine])
def list_albums(session: SessionDep, page: PageDep, sort: Annotated[str, SORTING] = "id") -> Rows:
    """List the albums."""
    return paginate(session, AlbumLine.select(Album), page, SORTING, sort)


@router.post("", status_code=201, response_model=AlbumRead)
def create_album(
    session: SessionDep, data: AlbumCreate, database: DatabaseDep, background: BackgroundTasks
) -> Album:
    """Create an album, and print it afterwards."""
    photos = [Photo(caption=photo.caption) for photo in data.photos]
    album = Album(title=data.title, photos=photos)
    session.add(album)
    session.flush()
    background.add_task(print_album, database, album.id)
    return album


@router.post("/import", response_model=Imported)
def import_albums(session: SessionDep, data: Titles) -> Imported:
    """Create those albums whose titles are free."""
    taken = []
    for title in data.titles:
        try:
            with session.begin_nested():
                session.add(Album(title=title))
        except IntegrityError:
            taken.append(title)
    return Imported(created=len(data.titles) - len(taken), taken=taken)


def export_lines(session: Session) -> Iterator[str]:
    """Read the albums while they are sent, a hundred at a time."""
    every = select(Album).order_by(Album.id).execution_options(yield_per=100)
    for album in session.scalars(every):
        yield f"{album.title}\n"


@router.get("/export")
def export_albums(session: SessionDep) -> StreamingResponse:
    """Export the titles of all albums."""
    return StreamingResponse(export_lines(session), media_type="text/csv")


@router.post("/copy")
def copy_albums(session: SessionDep) -> StreamingResponse:
    """Create an album, and export the titles of all."""
    session.add(Album(title="copy"))
    session.flush()
    return StreamingResponse(export_lines(session), media_type="text/csv")


@router.get("/stream")
def stream_albums(session: SessionDep) -> Iterator[AlbumLine]:
    """Stream the albums as lines of JSON."""
    for album in session.scalars(select(Album).order_by(Album.id)):
        yield AlbumLine.model_validate(album)


@router.get("/count", response_class=PlainTextResponse)
def count_albums(session: SessionDep) -> str:
    """Count the albums."""
    return str(session.scalar(select(func.count()).select_from(Album)))


@router.get("/caller")
def get_caller(
    request: Request,
    user_agent: Annotated[str, Header()],
    theme: Annotated[str | None, Cookie()] = None,
) -> Caller:
    """Return what the request says of its caller."""
    host = request.client.host if request.client else ""
    return Caller(address=host, agent=user_agent, theme=theme)


@router.post("/theme/{theme}", status_code=204)
def choose_theme(theme: Annotated[str, Path(pattern="^[a-z]+$")], response: Response) -> None:
    """Choose a theme, which the caller's cookie remembers."""
    response.set_cookie("theme", theme)
    response.headers["Vary"] = "Cookie"


@router.get(
    "/coffee",
    responses={
        418: {"description": "A teapot", "headers": {"X-Pot": {"schema": {"type": "string"}}}}
    },
)
def get_coffee() -> None:
    """Refuse to brew coffee."""
    raise HTTPException(418, {"pot": "tea"}, headers={"X-Pot": "tea"})


@router.get("/wait")
async def wait_for_albums() -> Caller:
    """Wait for something other than the database."""
    await asyncio.sleep(0)
    return Caller(address="", agent=str(asyncio.current_task() is not None), theme=None)


@router.get("/{album_id}", response_model=AlbumRead)
def get_album(album: AlbumDep) -> Album:
    """Get an album."""
    return album


@router.put("/{album_id}", response_model=AlbumRead)
def replace_album(album: AlbumDep, data: AlbumCreate) -> Album:
    """Replace an album and its photos."""
    album.title = data.title
    album.photos = [Photo(caption=photo.caption) for photo in data.photos]
    album.updated_at = utcnow()
    return album


@router.delete("/{album_id}", status_code=204, dependencies=[Depends(check_key)])
def delete_album(session: SessionDep, album: AlbumDep) -> None:
    """Delete an album and its photos."""
    session.delete(album)


@router.get("/{album_id}/line", response_model=AlbumLine, response_model_exclude_none=True)
def get_album_line(session: SessionDep, album_id: AlbumId) -> dict[str, Any]:
    """Get an album as a list has it."""
    return read(session, AlbumLine, Album, album_id)


@router.get("/{album_id}/badge", response_class=Response)
def get_album_badge(album: AlbumDep) -> Response:
    """Draw the badge of an album."""
    return Response(f"<svg><!-- {album.id} --></svg>", media_type="image/svg+xml")


@router.post("/{album_id}/print", response_model=AlbumLine)
def order_print(album: AlbumDep, response: Response) -> Album:
    """Order a print, which takes a while."""
    album.prints += 1
    response.status_code = 202
    response.headers["X-Queue"] = str(album.prints)
    return album


@router.post("/{album_id}/photos", status_code=201, response_model=PhotoRead)
def upload_photo(
    album: AlbumDep, photo: Annotated[UploadFile, File()], caption: Annotated[str, Form()]
) -> Photo:
    """Add a photo to an album."""
    added = Photo(caption=caption, digest=hashlib.sha256(photo.file.read()).hexdigest())
    album.photos.append(added)
    album.cover = caption
    return added


@router.post("/{album_id}/caption", response_model=PhotoRead)
async def ask_for_a_caption(
    photo: Annotated[Photo, Depends(find_first_photo)], caption: Annotated[str, Form()]
) -> Photo:
    """Set the caption of an album's first photo, waiting for something other than the database."""
    await asyncio.sleep(0)
    photo.caption = caption
    return photo


@router.post(
    "/{album_id}/rename/{title}",
    response_model=AlbumRead,
    dependencies=[Depends(log_request, scope="function")],
)
def rename_album(album: AlbumDep, title: str) -> Album:
    """Rename an album, which is logged."""
    if title == "nothing":
        raise HTTPException(422, "An album needs a title")
    album.title = title
    return album


@router.post("/forget", status_code=204)
def forget_prints(session: SessionDep) -> None:
    """Forget how often albums have been printed, by one statement."""
    ids = session.scalars(select(Album.id).where(Album.prints > 0)).all()
    with announcing(session, table_of(Album), ids):
        session.execute(update(Album).values(prints=0))


vault = Router("/vault", description="Guarded as a whole.", dependencies=[Depends(HTTPBearer())])


def read_token(
    session: SessionDep, given: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]
) -> str:
    """Return the album whose title the token is."""
    title = session.scalar(_titled(given.credentials))
    if title is None:
        raise HTTPException(403, "This token opens nothing")
    return title


def _titled(title: str) -> Select[str]:
    return select(Album.title).where(Album.title == title)


@vault.get("", response_model=Titles)
def list_vault(title: Annotated[str, Depends(read_token)]) -> Titles:
    """List what the token opens."""
    return Titles(titles=[title])


@vault.post("", status_code=204)
def lock_vault() -> None:
    """Lock the vault."""


FEATURES = [
    Feature("albums", "tests.practices", router),
    Feature("vault", "tests.practices", vault),
]
