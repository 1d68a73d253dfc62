"""What FastAPI documents of responses, guards and forms holds beside the rules that core adds."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import (
    BackgroundTasks,
    Depends,
    Form,
    Header,
    HTTPException,
    Query,
    Response,
    Security,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.security import APIKeyHeader, APIKeyQuery, HTTPBearer
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    create_model,
)
from pydantic.alias_generators import to_camel
from pydantic_core import to_json
from sqlalchemy import event, func, literal, select, text, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from vibetracker.core.api.answers import is_plain
from vibetracker.core.api.paging import Page, PageDep, Rows, paginate
from vibetracker.core.api.preconditions import find, read, read_any
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.schema import Input, Output, UrlId, UrlInt
from vibetracker.core.api.session import SessionDep
from vibetracker.core.api.sorting import Key, Sorting
from vibetracker.core.api.text import Line
from vibetracker.core.db.database import Database
from vibetracker.core.http.problems import Conflict, Gone
from vibetracker.testing import documented

from .practices import Album

type Mount = Callable[[Router], TestClient]
type AlbumId = Annotated[int, UrlId]


class AlbumRead(Output):
    """An album."""

    id: int
    title: str
    version: int


def shelf(**options: Any) -> Router:
    """Return a router without any operation."""
    return Router("/shelf", description="Tested.", **options)


def titles(database: Database) -> list[str]:
    """Return the titles that are stored."""
    with database.session(write=False) as session:
        return list(session.scalars(select(Album.title).order_by(Album.id)))


@pytest.fixture
def album(database: Database) -> int:
    """Store an album, and return its id."""
    with database.session(write=True) as session:
        session.add(Album(title="Sea"))
        session.commit()
    return 1


def test_the_response_model_filters_what_a_handler_returns(mount: Mount) -> None:
    class Member(Output):
        name: str
        level: int = 5

    router = shelf()

    @router.get("/one", response_model=Member)
    def get_member(session: SessionDep) -> dict[str, str]:
        return {"name": session.scalar(select(literal("Ada"))) or "", "password": "hunter2"}

    @router.get("/some", response_model=dict[str, Member])
    def get_members(session: SessionDep) -> dict[str, dict[str, str]]:
        return {"first": get_member(session)}

    @router.get("/wrong", response_model=Member)
    def get_wrong(session: SessionDep) -> dict[str, object]:
        return {"nam": session.scalar(select(literal(1)))}

    client = mount(router)
    assert client.get("/shelf/one").json() == {"name": "Ada", "level": 5}
    assert client.get("/shelf/some").json() == {"first": {"name": "Ada", "level": 5}}
    assert client.get("/shelf/wrong").status_code == 500


@pytest.mark.usefixtures("album")
def test_what_a_route_excludes_is_not_to_be_had_by_fields(mount: Mount) -> None:
    router = shelf()

    @router.get("/{album_id}", response_model=AlbumRead, response_model_exclude={"title"})
    def get_shelved(session: SessionDep, album_id: AlbumId) -> dict[str, Any]:
        return read(session, AlbumRead, Album, album_id)

    client = mount(router)
    assert client.get("/shelf/1").json() == {"id": 1, "version": 1}
    assert client.get("/shelf/1?fields=id,title").status_code == 422


@pytest.mark.usefixtures("album")
def test_a_resource_may_have_members_that_a_page_has(mount: Mount) -> None:
    class Reader(Output):
        id: int
        version: int
        next_cursor: str = Field(validation_alias="title")
        items: list[int] | None = Field(validation_alias="prints")

    class Results(BaseModel):
        results: list[int]
        next_cursor: str | None = None

    router = shelf()

    @router.get("/reader", response_model=Reader)
    def get_reader(session: SessionDep) -> dict[str, Any]:
        album = session.get_one(Album, 1)
        return {"id": album.id, "version": 1, "title": album.title, "prints": [album.prints]}

    @router.get("/results")
    def get_results() -> Results:
        return Results(results=[1])

    client = mount(router)
    assert client.get("/shelf/reader?fields=id,items").json() == {"id": 1, "items": [0]}
    assert client.get("/shelf/results").json() == {"results": [1], "next_cursor": None}


@pytest.mark.usefixtures("album")
def test_serializers_and_validators_in_annotations_hold_for_columns_too(mount: Mount) -> None:
    class Loud(Output):
        id: int
        title: Annotated[str, PlainSerializer(str.upper)] | None

    class Checked(Output):
        id: int
        title: Annotated[str, AfterValidator(str.upper)]

    router = shelf()

    @router.get("/loud", response_model=Loud)
    def get_loud(session: SessionDep) -> Album:
        return find(session, Album, 1)

    @router.get("/checked", response_model=Checked)
    def get_checked(session: SessionDep) -> dict[str, Any]:
        return {"id": 1, "title": session.scalar(select(Album.title))}

    client = mount(router)
    for path in ("loud", "checked"):
        assert client.get(f"/shelf/{path}").json() == {"id": 1, "title": "SEA"}


class Secret(Output):
    """A secret."""

    title: SecretStr


class Excluded(Output):
    """A field that is not written."""

    id: int
    title: str = Field(exclude=True)


class Upper(Output):
    """A setting that changes texts."""

    model_config = ConfigDict(str_to_upper=True)
    title: str


class Trimmed(Output):
    """A mark with a schema of its own."""

    title: Annotated[str, Line(80)]


type Loud = Annotated[str, AfterValidator(str.upper)]


class Named(Output):
    """A type that has a name."""

    title: Loud | None


class Float(Output):
    """A number of another type than its column."""

    prints: float


class Inner(BaseModel):
    """A secret, further in."""

    title: SecretStr


class Outer(Output):
    """What has a secret further in."""

    inner: list[Inner] | None = None
    title: str


ANSWERS: dict[type[Output], dict[str, object]] = {
    Secret: {"title": "**********"},
    Excluded: {"id": 1},
    Upper: {"title": "SEA "},
    Trimmed: {"title": "Sea"},
    Named: {"title": "SEA "},
    Float: {"prints": 2.0},
}


def test_columns_go_out_as_the_response_model_has_them(
    mount: Mount, database: Database, subtests: pytest.Subtests
) -> None:
    with database.session(write=True) as session:
        session.add(Album(title="Sea ", prints=2))
        session.commit()
    router = shelf()

    def shelve(model: type[Output]) -> str:
        name = model.__name__.lower()

        @router.get(f"/{name}/{{album_id}}", response_model=model, operation_id=f"get_{name}")
        def get_shelved(session: SessionDep, album_id: AlbumId) -> dict[str, Any]:
            return read_any(session, model, Album, album_id)

        @router.get(f"/{name}", response_model=Page[model], operation_id=f"list_{name}")  # type: ignore[valid-type] # it is one of several
        def list_shelved(session: SessionDep, page: PageDep) -> Rows:
            sorting = Sorting("id", id=Key(Album.id))
            return paginate(session, model.select(Album), page, sorting, "id")

        return f"/shelf/{name}"

    paths = {shelve(model): answer for model, answer in ANSWERS.items()}
    client = mount(router)
    for path, answer in paths.items():
        with subtests.test(path):
            assert client.get(f"{path}/1").text == to_json(answer).decode()
            assert client.get(path).json()["items"] == [answer]


def test_what_lies_inside_of_a_model_is_looked_at() -> None:
    assert is_plain(AlbumRead)
    assert not is_plain(Outer)
    assert not is_plain(dict[str, list[Inner]])


@pytest.mark.usefixtures("album")
def test_the_names_that_a_model_generates_are_those_of_its_answer(mount: Mount) -> None:
    class Camel(Output):
        model_config = ConfigDict(alias_generator=to_camel)
        id: int
        version: int
        created_at: datetime
        full_name: str = Field(validation_alias="title")

    router = shelf()

    @router.get("/read", response_model=Camel)
    def get_shelved(session: SessionDep) -> dict[str, Any]:
        return read(session, Camel, Album, 1)

    @router.get("/found", response_model=Camel)
    def get_found(session: SessionDep) -> Album:
        return find(session, Album, 1)

    client = mount(router)
    whole = client.get("/shelf/read").json()
    assert whole.keys() == {"id", "version", "createdAt", "fullName"}
    assert client.get("/shelf/found").json() == whole
    some = client.get("/shelf/read?fields=createdAt,fullName").json()
    assert some == {"createdAt": whole["createdAt"], "fullName": "Sea"}
    assert client.get("/shelf/read?fields=created_at").status_code == 422


@pytest.mark.usefixtures("album")
def test_what_is_set_by_hand_stands_in_place_of_what_follows_from_the_row(mount: Mount) -> None:
    router = shelf()

    @router.post("/copies", status_code=201)
    def copy_album(session: SessionDep, response: Response) -> AlbumRead:
        album = Album(title="Copy")
        session.add(album)
        session.flush()
        response.headers["Location"] = f"/albums/{album.id}"
        response.headers["Cache-Control"] = "private"
        return AlbumRead.model_validate(album)

    answer = mount(router).post("/shelf/copies")
    assert answer.status_code == 201
    assert answer.headers.get_list("Location") == ["/albums/2"]
    assert answer.headers.get_list("Cache-Control") == ["private"]
    # A model that is made by hand is that of a resource as much as its row is.
    assert answer.headers["ETag"] == '"1"'


@pytest.mark.usefixtures("album")
def test_a_class_of_responses_has_its_own_status_and_gets_json(mount: Mount) -> None:
    router = shelf()

    @router.get("/away", response_class=RedirectResponse)
    def go_away(session: SessionDep) -> str:
        return f"/albums/{session.scalar(select(Album.id))}"

    @router.get("/found", response_class=RedirectResponse, status_code=302)
    def go_found(session: SessionDep) -> str:
        return go_away(session)

    @router.get("/rows", response_class=JSONResponse)
    def list_rows(session: SessionDep) -> list[dict[str, Any]]:
        row = session.scalars(select(Album)).one()
        return [{"title": row.title, "created_at": row.created_at}]

    client = mount(router)
    app: Any = client.app
    for path, status in (("away", 307), ("found", 302)):
        answer = client.get(f"/shelf/{path}", follow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (status, "/albums/1")
        documented(app)(answer)
        responses = app.openapi()["paths"][f"/shelf/{path}"]["get"]["responses"]
        assert [it for it in responses if it < "400"] == [str(status)]
    (row,) = client.get("/shelf/rows").json()
    assert row["title"] == "Sea"


def test_a_creation_need_not_have_a_model(mount: Mount) -> None:
    router = shelf()

    @router.post("/nothing", status_code=201, response_description="It is there.")
    def create_nothing(session: SessionDep) -> None:
        session.add(Album(title="Silent"))

    @router.post("/list", status_code=201)
    def create_list(session: SessionDep) -> list[int]:
        session.add(Album(title="Listed"))
        return [1]

    client = mount(router)
    assert client.post("/shelf/nothing").status_code == 201
    assert client.post("/shelf/list").json() == [1]
    app: Any = client.app
    documented = app.openapi()["paths"]["/shelf/nothing"]["post"]["responses"]
    assert documented["201"]["description"] == "It is there."


def test_a_dry_run_is_documented_with_the_schema_of_the_creation(mount: Mount) -> None:
    class Box[T](Output):
        content: T

    router = shelf()

    @router.post("/box", status_code=201)
    def create_box(session: SessionDep) -> Box[AlbumRead]:
        album = Album(title="Boxed")
        session.add(album)
        session.flush()
        return Box(content=AlbumRead.model_validate(album))

    @router.post(
        "/album", status_code=201, response_model=create_model("AlbumRead", title=(str, ...))
    )
    def create_namesake(session: SessionDep) -> Album:
        album = Album(title="Named")
        session.add(album)
        return album

    client = mount(router)
    for path in ("/shelf/box", "/shelf/album"):
        responses = client.get("/openapi.json").json()["paths"][path]["post"]["responses"]
        assert responses["200"]["content"] == responses["201"]["content"]
        assert client.post(f"{path}?dry_run=true").status_code == 200


def test_a_file_is_not_stored_for_a_key(mount: Mount, tmp_path: Path) -> None:
    (tmp_path / "sea.txt").write_text("waves")
    router = shelf()

    @router.post("/file", response_class=FileResponse)
    def make_file(session: SessionDep) -> FileResponse:
        session.add(Album(title="Filed"))
        return FileResponse(tmp_path / "sea.txt")

    client = mount(router)
    assert client.post("/shelf/file", headers={"Idempotency-Key": "k"}).status_code == 422
    assert client.post("/shelf/file").text == "waves"


def test_a_status_of_the_framework_may_be_a_handler_s_own(mount: Mount) -> None:
    router = shelf()

    @router.get("/locked")
    def get_locked() -> None:
        raise HTTPException(405, "It is locked", headers={"Allow": "POST"})

    answer = mount(router).get("/shelf/locked")
    assert (answer.status_code, answer.json()["detail"]) == (405, "It is locked")
    assert answer.headers.get_list("Allow") == ["POST"]


@pytest.mark.usefixtures("album")
def test_the_etag_of_an_answer_is_documented_wherever_its_version_is(mount: Mount) -> None:
    class Title(Output):
        title: str

    router = shelf()

    @router.get("/{album_id}/read", response_model=AlbumRead)
    def get_shelved(session: SessionDep, album_id: AlbumId) -> Album:
        return find(session, Album, album_id)

    @router.get("/{album_id}", response_model=Title)
    def get_title(session: SessionDep, album_id: AlbumId) -> Album:
        return find(session, Album, album_id)

    client = mount(router)
    paths = client.get("/openapi.json").json()["paths"]
    for path, has_etag in (("/read", True), ("", False)):
        responses = paths[f"/shelf/{{album_id}}{path}"]["get"]["responses"]
        sent = client.get(f"/shelf/1{path}").headers
        assert ("ETag" in sent, "ETag" in responses["200"]["headers"]) == (has_etag, has_etag)
        assert ("304" in responses) == has_etag


def test_a_404_of_a_handler_does_not_deny_its_path(mount: Mount) -> None:
    router = shelf()

    @router.get("/lost")
    def get_lost() -> None:
        raise HTTPException(404)

    client = mount(router)
    details = [client.get(f"/shelf/{path}").json()["detail"] for path in ("lost", "nowhere")]
    assert details == ["Not Found", "There is nothing at this path"]


def test_a_guard_may_look_into_the_query(mount: Mount) -> None:
    scheme = APIKeyQuery(name="api_key")
    router = shelf()

    @router.get("/guarded")
    def get_guarded(key: Annotated[str, Security(scheme)]) -> str:
        return key

    client = mount(router)
    assert client.get("/shelf/guarded?api_key=k-1").json() == "k-1"
    assert client.get("/shelf/guarded").status_code == 401
    assert client.get("/shelf/guarded?api_key=k-1&key=k-1").status_code == 422


def test_a_guard_runs_ahead_of_the_rules_of_a_body_alone(mount: Mount) -> None:
    class Label(Input):
        size: int

    router = shelf(dependencies=[Depends(HTTPBearer())])

    @router.post("/labels")
    def create_label(data: Label) -> int:
        return data.size

    client = mount(router)
    assert client.post("/shelf/labels", json={"size": "x"}).status_code == 401
    for status, request in (
        (422, {"json": {"size": 1}, "params": {"a": "b"}}),
        (413, {"json": " " * 1_048_577}),
        (415, {"content": b"size=1"}),
        (400, {"content": b"{", "headers": {"Content-Type": "application/json"}}),
    ):
        assert client.post("/shelf/labels", **request).status_code == status


def test_the_limits_of_a_form_hold_and_its_lists_may_repeat(mount: Mount) -> None:
    class Labels(BaseModel):
        labels: list[str] | None = None
        colour: str = Field("", validation_alias="color")

    router = shelf()

    @router.post("/labels", form_limits={"max_fields": 3})
    def create_labels(data: Annotated[Labels, Form()]) -> list[str]:
        return [*(data.labels or ()), data.colour]

    client = mount(router)
    assert client.post("/shelf/labels", data={"labels": ["a", "b"], "color": "c"}).json() == [
        "a",
        "b",
        "c",
    ]
    assert client.post("/shelf/labels", data={"labels": list("abcd")}).status_code == 400
    assert client.post("/shelf/labels", data={"colour": "c"}).status_code == 422


PLACES: list[tuple[tuple[int | str, ...], dict[str, str]]] = [
    ((), {"pointer": ""}),
    (("body",), {"pointer": ""}),
    (("query",), {"pointer": ""}),
    ((0, "title"), {"pointer": "/0/title"}),
    (("title",), {"pointer": "/title"}),
    (("body", "lines", 1), {"pointer": "/lines/1"}),
    (("query", 7), {"parameter": "7"}),
    (("cookie", "theme"), {"parameter": "theme"}),
    (("header", "x-theme", 0), {"header": "x-theme"}),
]


def test_what_a_handler_finds_wrong_is_located_wherever_it_begins(
    mount: Mount, subtests: pytest.Subtests
) -> None:
    router = shelf()

    @router.get("/wrong/{number}")
    def get_wrong(number: int) -> None:
        loc, _ = PLACES[number]
        raise RequestValidationError([{"type": "odd", "loc": loc, "msg": "Odd"}, {}])

    client = mount(router)
    for number, (loc, place) in enumerate(PLACES):
        with subtests.test(str(loc)):
            answer = client.get(f"/shelf/wrong/{number}")
            assert answer.status_code == 422
            found, bare = answer.json()["errors"]
            assert found == {"code": "odd", "detail": "Odd", **place}
            assert bare == {"code": "value_error", "detail": "Not valid", "pointer": ""}


class Counter:
    """Counts the albums, for one caller."""

    def __init__(self, caller: str) -> None:
        self.caller = caller

    def __call__(self, session: SessionDep, more: Annotated[int, Query()] = 0) -> str:
        """Count them."""
        count = session.scalar(select(func.count()).select_from(Album)) or 0
        return f"{self.caller}: {count + more}"


def add_album(session: SessionDep, title: str) -> None:
    """Add an album."""
    session.add(Album(title=title))


async def wait(seconds: int, more: UrlInt) -> int:
    """Wait."""
    return seconds + more


@pytest.mark.usefixtures("album")
def test_a_handler_may_be_an_object_or_a_partial(mount: Mount, database: Database) -> None:
    router = shelf()
    router.add_api_route("/count", Counter("Ada"), name="count_albums")
    router.add_api_route("/default", Counter("Bob"))
    router.add_api_route("/lake", partial(add_album, title="Lake"), methods=["POST"], name="add")
    router.add_api_route("/wait", partial(wait, 1), description="Wait.", name="wait")

    client = mount(router)
    assert client.get("/shelf/count?more=2").json() == "Ada: 3"
    assert client.get("/shelf/default").json() == "Bob: 1"
    assert client.post("/shelf/lake").status_code == 200
    assert client.get("/shelf/wait?more=2").json() == 3
    assert titles(database) == ["Sea", "Lake"]
    paths = client.get("/openapi.json").json()["paths"]
    ids = {path: one["operationId"] for path, methods in paths.items() for one in methods.values()}
    assert ids.items() >= {"/shelf/count": "count_albums", "/shelf/default": "Counter"}.items()


def test_a_router_may_say_what_operations_are_called(mount: Mount) -> None:
    router = shelf(
        tags=["furniture"], generate_unique_id_function=lambda route: f"shelf_{route.name}"
    )

    @router.get("/one")
    def get_one() -> None: ...

    @router.get("/two", operation_id="second")
    def get_two() -> None: ...

    @router.get("/three", generate_unique_id_function=lambda route: f"own_{route.name}")
    def get_three() -> None: ...

    client = mount(router)
    paths = client.get("/openapi.json").json()["paths"]
    found = [paths[f"/shelf/{path}"]["get"]["operationId"] for path in ("one", "two", "three")]
    assert found == ["shelf_get_one", "second", "own_get_three"]
    assert paths["/shelf/one"]["get"]["tags"] == ["shelf", "furniture"]


UNSENDABLE: list[tuple[str, int, int]] = [
    (f"/shelf/{2**63}", 422, 404),
    (f"/shelf/{-(2**70)}", 422, 404),
    ("/shelf/-1?title=%00", 404, 422),
    ("/shelf/-1?title=%C3%A9", 404, 404),
]


def test_a_value_that_a_driver_cannot_send_is_refused(
    mount: Mount,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
) -> None:
    router = shelf()

    @router.get("/{number}")
    def get_shelved(session: SessionDep, number: int, title: str = "") -> str:
        found = session.scalar(
            select(Album.title).where(Album.prints == number, Album.title == title)
        )
        if found is None:
            raise HTTPException(404)
        return found

    @router.post("/{number}")
    def create_shelved(session: SessionDep, number: int, title: str = "") -> None:
        session.add(Album(title=title, prints=number))

    client = mount(router)
    is_sqlite = database.engine.dialect.name == "sqlite"
    for path, sqlite, postgresql in UNSENDABLE:
        with subtests.test(path):
            answer = client.get(path)
            assert answer.status_code == (sqlite if is_sqlite else postgresql)
            if answer.status_code == 422:
                assert (
                    answer.json()["detail"] == "A value is outside of what the database can store"
                )
            caplog.clear()
            assert client.post(f"/shelf/{2**63}").status_code == 422
            assert caplog.text.count("a value cannot be stored") == 1
            assert titles(database) == []


ENDINGS: dict[str, Callable[[Session], object]] = {
    "autoflush": lambda session: session.scalar(select(func.count()).select_from(Album)),
    "flush": Session.flush,
    "statement": lambda session: session.execute(update(Album).values(title="ghost")),
    "text": lambda session: session.execute(text("UPDATE albums SET title = 'ghost'")),
    "many": lambda session: session.connection().execute(
        text("UPDATE albums SET title = :title"), [{"title": "ghost"}, {"title": "ghost"}]
    ),
    "cte": lambda session: session.execute(
        text("WITH ghosts AS (SELECT 1)\n delete FROM albums WHERE id IN (SELECT * FROM ghosts)")
    ),
    "driver": lambda session: session.connection().exec_driver_sql("DELETE FROM albums"),
    "savepoint": lambda session: session.begin_nested().session.scalar(select(literal(1))),
    "commit": Session.commit,
    "nothing": lambda _: None,
}
PAST_THE_ORM = [ENDINGS[name] for name in ("text", "many", "cte", "driver", "savepoint")]


def test_the_problems_of_a_router_are_those_of_each_operation_beside_its_own(mount: Mount) -> None:
    router = shelf(responses=raising(Conflict))

    @router.get("/{number}", responses=raising(Gone))
    def get_one(number: UrlInt) -> int:
        return number

    document = mount(router).get("/openapi.json").json()
    responses = document["paths"]["/shelf/{number}"]["get"]["responses"]
    found = {slug for it in ("409", "410") for slug in _problems(responses[it])}
    assert found == {"conflict", "gone"}


def _problems(response: dict[str, Any]) -> Iterator[str]:
    yield from response["content"]["application/problem+json"]["examples"]


def test_a_path_that_looks_like_a_template_is_a_value(mount: Mount) -> None:
    router = shelf()

    @router.get("/{name}")
    def get_one(name: str) -> str:
        return name

    assert mount(router).get("/shelf/%7Bname%7D").json() == "{name}"


def test_an_operation_of_another_method_that_only_reads_has_no_rules_of_writes(
    mount: Mount,
) -> None:
    router = shelf()

    @router.api_route("/count", methods=["OPTIONS"])
    def count_albums(session: SessionDep) -> int:
        return session.scalar(select(func.count(Album.id))) or 0

    operation = mount(router).get("/openapi.json").json()["paths"]["/shelf/count"]["options"]
    assert "dry_run" not in {it["name"] for it in operation["parameters"]}
    assert not {"403", "409"} & operation["responses"].keys()


@pytest.mark.usefixtures("album")
def test_a_get_that_writes_fails_and_writes_nothing(
    mount: Mount,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
) -> None:
    router = shelf()

    def write(session: Session, name: str) -> None:
        end = ENDINGS[name]
        if end not in PAST_THE_ORM:
            session.add(Album(title="ghost"))
        end(session)

    @router.get("/ghost/{name}")
    def get_ghost(session: SessionDep, name: str) -> None:
        write(session, name)

    def audit(session: SessionDep, name: str) -> Iterator[None]:
        yield
        write(session, name)

    @router.get("/late/{name}", dependencies=[Depends(audit, scope="function")])
    def get_late() -> None:
        pass

    client = mount(router)
    for name in ENDINGS:
        for path in ("ghost", "late"):
            with subtests.test(f"{path} {name}"):
                caplog.clear()
                assert client.get(f"/shelf/{path}/{name}").status_code == 500
                assert "a GET only reads" in caplog.text or "commits by itself" in caplog.text
                assert titles(database) == ["Sea"]


@pytest.mark.parametrize("dry_run", ["false", "true"])
def test_a_handler_that_commits_fails_and_keeps_nothing(
    mount: Mount, database: Database, caplog: pytest.LogCaptureFixture, dry_run: str
) -> None:
    router = shelf()

    @router.post("/commit")
    def commit_early(session: SessionDep) -> None:
        session.add(Album(title="early"))
        session.commit()

    @router.post("/begin")
    def begin_early(session: SessionDep) -> None:
        with session.begin():
            session.add(Album(title="early"))

    @router.post("/nested")
    def begin_nested(session: SessionDep) -> None:
        with session.begin_nested():
            session.add(Album(title="nested"))

    client = mount(router)
    for path in ("commit", "begin"):
        assert client.post(f"/shelf/{path}?dry_run={dry_run}").status_code == 500
        assert "the operation commits by itself" in caplog.text
        caplog.clear()
    assert client.post(f"/shelf/nested?dry_run={dry_run}").status_code == 200
    assert titles(database) == ([] if dry_run == "true" else ["nested"])


def test_a_refusal_after_the_handler_keeps_nothing(mount: Mount, database: Database) -> None:
    def refuse() -> Iterator[None]:
        yield
        raise HTTPException(409, "Too late")

    router = shelf()

    @router.post("/refused", dependencies=[Depends(refuse, scope="function")])
    def create_refused(session: SessionDep) -> None:
        session.add(Album(title="refused"))

    assert mount(router).post("/shelf/refused").status_code == 409
    assert titles(database) == []


def keyed(client: TestClient, path: str, **headers: str) -> Any:
    """Send a POST with the same key as every other one, and return its response."""
    return client.post(path, headers={"Idempotency-Key": "k", **headers})


@pytest.mark.parametrize("is_async", [False, True])
def test_a_replay_keeps_nothing_and_does_not_call_the_handler(
    mount: Mount, database: Database, *, is_async: bool
) -> None:
    router = shelf()
    called = []

    def album(session: SessionDep) -> Iterator[Album]:
        new = Album(title="Sea")
        session.add(new)
        yield new
        session.add(Album(title="Late"))

    def create(album: Annotated[Album, Depends(album, scope="function")]) -> Album:
        called.append(album.title)
        return album

    async def create_async(
        album: Annotated[Album, Depends(album, scope="function")],
    ) -> Album:
        return create(album)

    router.post("", status_code=201, response_model=AlbumRead)(create_async if is_async else create)
    client = mount(router)
    first, again = (keyed(client, "/shelf") for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (called, titles(database)) == (["Sea"], ["Sea", "Late"])


class Tenant(BaseModel):
    """A model of header fields."""

    x_tenant: str = ""
    region: str = Field("", alias="X-Region")


def test_an_answer_is_not_replayed_to_another_user(mount: Mount) -> None:
    router = shelf()

    @router.post("/sealed", dependencies=[Security(HTTPBearer())])
    def seal(session: SessionDep) -> int:
        return session.scalar(select(literal(1))) or 0

    @router.post("/keyed", dependencies=[Security(APIKeyHeader(name="X-Key"))])
    def lock(session: SessionDep, tenant: Annotated[Tenant, Header()]) -> str:
        return tenant.x_tenant + str(session.scalar(select(literal(1))))

    client = mount(router)
    ada, bob = {"Authorization": "Bearer ada"}, {"Authorization": "Bearer bob"}
    statuses = [keyed(client, "/shelf/sealed", **user).status_code for user in (ada, ada, bob)]
    assert statuses == [200, 200, 422]
    database_key = {"Idempotency-Key": "l", "X-Key": "a", "X-Tenant": "b"}
    changes: list[dict[str, str]] = [{}, {"X-Request-ID": "1"}, {"X-Key": "c"}, {"X-Tenant": "d"}]
    changes.append({"X-Region": "e"})
    answers = [client.post("/shelf/keyed", headers=database_key | change) for change in changes]
    assert [answer.status_code for answer in answers] == [200, 200, 422, 422, 422]


def test_a_key_for_what_is_not_stored_is_refused(mount: Mount) -> None:
    router = shelf()

    @router.post("")
    def ring() -> str:
        return "rung"

    client = mount(router)
    assert client.post("/shelf").json() == "rung"
    assert keyed(client, "/shelf").json()["errors"][0]["header"] == "Idempotency-Key"


@pytest.mark.usefixtures("album")
def test_an_if_match_that_is_compared_with_no_version_fails_and_changes_nothing(
    mount: Mount, database: Database
) -> None:
    router = shelf()

    @router.patch("/{album_id}", response_model=AlbumRead)
    def rename(session: SessionDep, album_id: AlbumId) -> Album:
        album = session.get_one(Album, album_id)
        album.title = "Mountains"
        return album

    client = mount(router)
    assert client.patch("/shelf/1", headers={"If-Match": '"7"'}).status_code == 500
    assert titles(database) == ["Sea"]
    assert client.patch("/shelf/1").status_code == 200


def test_a_session_that_was_closed_fails_and_loses_nothing_in_silence(
    mount: Mount, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    router = shelf()

    @router.post("/inside")
    def create_inside(session: SessionDep) -> None:
        with session:
            session.add(Album(title="Sea"))

    @router.post("/afterwards")
    def create_afterwards(session: SessionDep, tasks: BackgroundTasks) -> None:
        session.add(Album(title="Mountains"))
        tasks.add_task(session.add, Album(title="Wood"))

    client = mount(router)
    for path, status in (("inside", 500), ("afterwards", 200)):
        caplog.clear()
        assert client.post(f"/shelf/{path}").status_code == status
        assert "Session has been permanently closed" in caplog.text
    assert titles(database) == ["Mountains"]


def test_a_failed_request_rolls_back_as_its_listeners_hear(mount: Mount) -> None:
    router = shelf()
    heard: list[Session] = []

    @router.post("")
    def fail(session: SessionDep) -> None:
        event.listen(session, "after_rollback", heard.append)
        session.add(Album(title="Sea"))
        session.flush()
        raise HTTPException(418)

    assert mount(router).post("/shelf").status_code == 418
    assert len(heard) == 1
