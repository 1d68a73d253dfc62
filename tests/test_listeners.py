"""A listener sees every change of a transaction, in it and before the commit."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import ForeignKey, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column
from starlette.testclient import TestClient

from vibetracker.core.api.representations import reader
from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import Output
from vibetracker.core.api.session import SessionDep, get_database
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.changes import Change, Listener, announce_new, table_of
from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Base, Resource, WritingSession
from vibetracker.core.db.types import BigInt, utcnow
from vibetracker.core.discovery import Feature, FeatureError, discover
from vibetracker.core.http.problems import Conflict

from .practices import Album, AlbumRead, LogEntry, Photo, PhotoRead, on_changes
from .practices import router as albums_router
from .specimens import Drawer, Specimen, SpecimenRead
from .test_discovery import folder, write

__all__ = ["folder"]

KEY = {"X-API-Key": "k-1"}


class Shelf(Resource):
    """A row that is deleted with the specimen that it refers to."""

    __tablename__ = "shelves"

    specimen_id: Mapped[int] = mapped_column(BigInt, ForeignKey("specimens.id", ondelete="CASCADE"))


class Sign(Resource):
    """A row that is deleted with its shelf; its reference to a specimen is set to null."""

    __tablename__ = "signs"

    shelf_id: Mapped[int | None] = mapped_column(
        BigInt, ForeignKey("shelves.id", ondelete="CASCADE"), default=None
    )
    specimen_id: Mapped[int | None] = mapped_column(
        BigInt, ForeignKey("specimens.id", ondelete="SET NULL"), default=None
    )


class Slip(Base):
    """A row that is no resource, though it counts versions of its own."""

    __tablename__ = "slips"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    version: Mapped[int] = mapped_column()
    specimen_id: Mapped[int | None] = mapped_column(
        BigInt, ForeignKey("specimens.id", ondelete="SET NULL"), default=None
    )

    __mapper_args__ = {"version_id_col": version}
    __table_args__ = {"sqlite_autoincrement": True}


class SignRead(Output):
    """A sign."""

    id: int
    specimen_id: int | None
    version: int


router = Router("/specimens", description="Written in other ways.")


@router.post("/signs", status_code=201, response_model=SignRead)
def create_sign(session: SessionDep) -> Sign:
    """Create a sign that refers to a specimen, and does so no more at its second flush."""
    specimen = Specimen(label="a")
    session.add(specimen)
    session.flush()
    sign = Sign(specimen_id=specimen.id)
    session.add(sign)
    session.flush()
    sign.specimen_id = None
    return sign


@router.post("/{count}", status_code=204)
def create_specimens(session: SessionDep, count: int) -> None:
    """Create some, each in a savepoint, of which every second one is rolled back."""
    for number in range(count):
        savepoint = session.begin_nested()
        session.add(Specimen(label=f"specimen {number}"))
        session.flush()
        if number % 2:
            savepoint.rollback()


@router.patch("", status_code=204)
def update_specimens(session: SessionDep) -> None:
    """Change each twice, and flush in between."""
    for specimen in session.scalars(select(Specimen)):
        specimen.note = "flushed"
        session.flush()
        specimen.weight = 3


FEATURES = [
    Feature("albums", "tests", albums_router, resources={Album: AlbumRead, Photo: PhotoRead}),
    Feature(
        "specimens",
        "tests",
        router,
        resources={Specimen: SpecimenRead, Drawer: None, Shelf: None, Sign: None},
    ),
]


@pytest.fixture
def heard() -> list[Change]:
    """Return the list of the changes that the listener was called with."""
    return []


@pytest.fixture(scope="module")
def _listening() -> Iterator[tuple[TestClient, list[Listener]]]:
    """Yield a client of an application, and the list of the functions that its listener calls."""
    functions: list[Listener] = []

    def listen(session: Session, changes: Sequence[Change]) -> None:
        for function in functions:
            function(session, changes)

    witness = Feature("witness", "tests", Router("/witness", description="."), listener=listen)
    settings = Settings(database_url="sqlite://", _env_file=None)
    with TestClient(create_app(settings, [*FEATURES, witness])) as client:
        yield client, functions


@pytest.fixture
def listened(
    _listening: tuple[TestClient, list[Listener]], heard: list[Change], database: Database
) -> Iterator[Callable[..., TestClient]]:
    """Yield a function that returns a client of an application with a listener."""
    client, functions = _listening
    app: Any = client.app

    def start(listen: Listener) -> TestClient:
        functions[:] = [lambda _, changes: heard.extend(changes), listen]
        app.dependency_overrides[get_database] = lambda: database
        database.listeners = app.state.database.listeners
        return client

    yield start
    functions.clear()
    app.dependency_overrides.clear()


@pytest.fixture
def albums(listened: Callable[..., TestClient]) -> TestClient:
    """Return a client of an application whose listener does nothing else."""
    return listened(lambda _, __: None)


def members(changes: Sequence[Change], *names: str) -> list[tuple[object, ...]]:
    """Return for each change its resource and id, and some members before and after."""
    return [
        (
            change.resource,
            change.id,
            change.before and tuple(change.before.get(name) for name in names),
            change.after and tuple(change.after.get(name) for name in names),
        )
        for change in changes
    ]


def test_it_gets_what_requests_create_change_and_delete(
    albums: TestClient, heard: list[Change]
) -> None:
    created = albums.post("/albums", json={"title": "Sea", "photos": [{"caption": "waves"}]})
    # Printed by a background task, in a transaction of its own.
    assert members(heard, "title", "prints", "version") == [
        (Album, 1, None, ("Sea", 0, 1)),
        (Photo, 1, None, (None, None, None)),
        (Album, 1, ("Sea", 0, 1), ("Sea", 1, 2)),
    ]
    assert heard[0].after == created.json()
    heard.clear()
    albums.put("/albums/1", json={"title": "Lake", "photos": [{"caption": "boat"}]})
    assert members(heard, "title", "version") == [
        (Album, 1, ("Sea", 2), ("Lake", 3)),
        (Photo, 2, None, (None, None)),
        (Photo, 1, (None, None), None),
    ]
    heard.clear()
    assert albums.post("/albums/forget").status_code == 204
    assert members(heard, "prints", "version") == [(Album, 1, (1, 3), (0, 4))]
    heard.clear()
    albums.delete("/albums/1", headers=KEY)
    assert {(change.resource, change.after) for change in heard} == {(Album, None), (Photo, None)}


def test_what_changes_nothing_is_no_change(albums: TestClient, heard: list[Change]) -> None:
    key = {"Idempotency-Key": "k"}
    albums.post("/albums", json={"title": "Sea"}, headers=key)
    heard.clear()
    album = albums.get("/albums/1").json()
    assert albums.post("/albums/1/rename/Sea").json() == album
    assert albums.put("/albums/1", json={"title": "Lake"}, params={"dry_run": True}).is_success
    assert albums.post("/albums", json={"title": "Sea"}, headers=key).status_code == 201
    assert albums.post("/albums", json={"title": "Sea"}).status_code == 409
    assert albums.put("/albums/1", json={"title": ""}).status_code == 422
    assert heard == []


def test_what_a_savepoint_rolls_back_is_not_seen_and_two_flushes_are_one_version(
    albums: TestClient, heard: list[Change]
) -> None:
    assert albums.post("/specimens/4").status_code == 204
    assert [change.after and change.after["label"] for change in heard] == [
        "specimen 0",
        "specimen 2",
    ]
    heard.clear()
    assert albums.patch("/specimens").status_code == 204
    seen = members(heard, "note", "weight", "version")
    assert [before_and_after for _, _, *before_and_after in seen] == [
        [("", None, 1), ("flushed", 3, 2)]
    ] * 2


def test_what_it_refuses_fails_the_request(
    listened: Callable[..., TestClient], heard: list[Change], database: Database
) -> None:
    def refuse(_: Session, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.after and change.after.get("title") == "Sea":
                raise Conflict("Not the sea")

    client = listened(refuse)
    refused = client.post("/albums", json={"title": "Sea"}, headers={"Idempotency-Key": "k"})
    assert (refused.status_code, refused.json()["detail"]) == (409, "Not the sea")
    assert client.get("/albums/1").status_code == 404
    with database.session(write=True) as session:
        session.add(Album(title="Sea"))
        with pytest.raises(Conflict):
            session.commit()
    kept = client.post("/albums", json={"title": "Lake"}, headers={"Idempotency-Key": "k"})
    assert kept.status_code == 201
    assert len(heard) > 2


def test_what_it_writes_is_part_of_the_transaction_and_a_change_itself(
    listened: Callable[..., TestClient], heard: list[Change]
) -> None:
    def cover(session: Session, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.resource is Album and change.before is None:
                session.get_one(Album, change.id).title += "!"
                session.add(Specimen(label="of a listener"))
            if change.resource is Specimen and change.before is None:
                session.get_one(Specimen, change.id).note = "seen"

    album = listened(cover).post("/albums", json={"title": "Sea"}).json()
    assert (album["title"], album["version"]) == ("Sea!", 2)
    seen = members(heard[:4], "title", "note", "version")
    assert [it for it in seen if it[0] is Album] == [
        (Album, 1, None, ("Sea", None, 1)),
        (Album, 1, ("Sea", None, 1), ("Sea!", None, 2)),
    ]
    assert [it for it in seen if it[0] is Specimen] == [
        (Specimen, 1, None, (None, "", 1)),
        (Specimen, 1, (None, "", 1), (None, "seen", 2)),
    ]


def test_a_listener_that_causes_changes_without_end_is_an_error(
    listened: Callable[..., TestClient],
) -> None:
    def answer(session: Session, changes: Sequence[Change]) -> None:
        for change in changes:
            session.get_one(Album, change.id).prints += 1

    client = listened(answer)
    assert client.post("/albums", json={"title": "Sea"}).status_code == 500
    assert client.get("/albums/1").status_code == 404


def test_a_transaction_that_is_run_again_calls_it_again(
    listened: Callable[..., TestClient], heard: list[Change], database: Database
) -> None:
    def overtake(session: Session, changes: Sequence[Change]) -> None:
        if changes[0].before and len(heard) < 3:
            # By a statement, as another transaction would: the object does not know of it.
            album = session.get_one(Album, 1)
            other = update(Album).values(version=Album.version + 1)
            session.execute(other.execution_options(synchronize_session=False))
            album.cover = "lost"

    client = listened(overtake)
    with Session(database.engine) as session:
        session.add(Album(title="Sea"))
        session.commit()
    assert client.put("/albums/1", json={"title": "Lake"}).json()["version"] == 2
    assert members(heard, "title", "version") == [(Album, 1, ("Sea", 1), ("Lake", 2))] * 3


def test_what_the_database_deletes_or_clears_is_seen(
    albums: TestClient, heard: list[Change], database: Database
) -> None:
    with database.session(write=True) as session:
        session.add(Specimen(label="a"))
        session.flush()
        session.add(Shelf(specimen_id=1))
        session.flush()
        slip = Slip(specimen_id=1)
        session.add_all([Sign(shelf_id=1), Sign(specimen_id=1), slip])
        session.commit()
        heard.clear()
        session.delete(session.get_one(Specimen, 1))
        session.commit()
        session.refresh(slip)
        assert (slip.specimen_id, slip.version) == (None, 1)
    assert members(heard, "specimen_id", "version") == [
        (Specimen, 1, (None, 1), None),
        (Shelf, 1, (1, 1), None),
        (Sign, 1, (None, 1), None),
        (Sign, 2, (1, 1), (None, 2)),
    ]
    assert albums.get("/albums").json()["items"] == []


def test_a_reference_that_is_cleared_in_a_second_flush_is_the_same_version(
    albums: TestClient, database: Database
) -> None:
    created = albums.post("/specimens/signs")
    assert (created.json()["specimen_id"], created.headers["etag"]) == (None, '"1"')
    with database.session(write=False) as session:
        sign = session.get_one(Sign, 1)
        assert (sign.specimen_id, sign.version) == (None, 1)


def test_a_collection_is_part_of_a_representation(
    heard: list[Change], listened: Callable[..., TestClient], database: Database
) -> None:
    listened(lambda _, __: None)
    with database.session(write=True) as session:
        session.add_all([Album(title="Sea", photos=[Photo(caption="waves")]), Drawer(name="top")])
        session.commit()
        heard.clear()
        album = session.get_one(Album, 1)
        album.photos.append(Photo(caption="foam"))
        album.cover = "foam"
        drawer = session.get_one(Drawer, 1)
        drawer.contents.append(Specimen(label="a"))
        session.commit()
    (changed,) = (change for change in heard if change.resource is Album)
    assert [len((values or {})["photos"]) for values in (changed.before, changed.after)] == [1, 2]
    (filled,) = (change for change in heard if change.resource is Drawer)
    assert members([filled], "version") == [(Drawer, 1, (1,), (2,))]


def test_a_statement_announces_what_it_inserts(
    listened: Callable[..., TestClient], heard: list[Change], database: Database
) -> None:
    listened(lambda _, __: None)
    with database.session(write=True) as session:
        table = table_of(Specimen)
        now = utcnow()
        values = {"label": "a", "note": "", "version": 1, "created_at": now, "updated_at": now}
        ids = session.scalars(table.insert().values(values).returning(table.c.id)).all()
        announce_new(session, table, ids)
        session.commit()
    assert members(heard, "label") == [(Specimen, 1, None, ("a",))]


def test_an_application_without_listeners_records_nothing(database: Database) -> None:
    app = create_app(Settings(database_url="sqlite://", _env_file=None), FEATURES)
    assert app.state.database.listeners is None
    database.listeners = None
    with database.session(write=True) as session:
        assert type(session) is WritingSession
        assert session.info == {}


def test_the_listener_of_the_guide_logs_and_refuses(
    listened: Callable[..., TestClient], database: Database
) -> None:
    client = listened(on_changes)
    client.post("/albums", json={"title": "Sea"})
    assert client.put("/albums/1", json={"title": "Lake"}).status_code == 200
    assert client.put("/albums/1", json={"title": "untitled"}).status_code == 409
    with database.session(write=False) as session:
        lines = session.scalars(select(LogEntry.line)).all()
    assert lines == ["new Sea", "Sea is now Lake"]


LISTENER = """
    HEARD = []

    def on_changes(session, changes):
        HEARD.extend(changes)
"""


def test_a_folder_brings_its_listener_and_a_disabled_one_does_not(folder: Path) -> None:
    write(folder, "alpha")
    write(folder, "beta", listener=LISTENER)
    alpha, beta = discover()
    assert alpha.listener is None
    assert beta.listener is not None
    settings = Settings(database_url="sqlite://", disabled_features=["beta"], _env_file=None)
    assert create_app(settings).state.database.listeners is None
    settings = Settings(database_url="sqlite://", _env_file=None)
    found = create_app(settings).state.database.listeners
    assert found is not None
    assert found.functions == [beta.listener]


def test_a_listener_without_its_function_stops_the_start(folder: Path) -> None:
    write(folder, "alpha", listener="def on_change(): pass")
    with pytest.raises(FeatureError, match="no function `on_changes`; write `def on_changes"):
        discover()


def test_resources_are_found_with_their_representations(app: FastAPI) -> None:
    """Each is read with the members of its ``Read`` schema."""
    for feature in app.state.features:
        for resource, output in feature.resources.items():
            assert output is not None, f"{resource.__name__} needs a {resource.__name__}Read"
            assert callable(reader(resource, output))
