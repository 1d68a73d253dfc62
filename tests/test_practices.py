"""What the documentation of FastAPI and SQLAlchemy teaches works in a feature."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, File, HTTPException, UploadFile
from fastapi import Response as Answer
from httpx2 import Response
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.testclient import TestClient
from starlette.types import Message

from vibetracker.core.api.routing import Router
from vibetracker.core.api.session import DatabaseDep, SessionDep, get_database, get_session
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Base
from vibetracker.core.http.problems import MEDIA_TYPE
from vibetracker.testing import documented

from . import practices
from .practices import Album, AlbumId, LogEntry, Photo, find_album, log_request

KEY = {"X-API-Key": "k-1"}
TOKEN = {"Authorization": "Bearer Sea"}


@pytest.fixture(scope="session")
def practices_app() -> FastAPI:
    """Create an application of the ordinary practices."""
    settings = Settings(database_url="sqlite://", _env_file=None)
    return create_app(settings, features=practices.FEATURES)


@pytest.fixture(scope="session")
def _albums_client(practices_app: FastAPI) -> Iterator[TestClient]:
    with TestClient(practices_app) as client:
        yield client


@pytest.fixture
def albums(
    practices_app: FastAPI, _albums_client: TestClient, database: Database
) -> Iterator[TestClient]:
    """Yield a client of that application on an empty database."""
    practices_app.dependency_overrides[get_database] = lambda: database
    practices.COMMITTED.clear()
    practices.PRINTED.clear()
    yield _albums_client
    _albums_client.cookies.clear()
    practices_app.dependency_overrides.clear()


def create(client: TestClient, title: str = "Sea", *captions: str, **options: Any) -> Response:
    """Create an album."""
    photos = [{"caption": caption} for caption in captions]
    answer: Response = client.post("/albums", json={"title": title, "photos": photos}, **options)
    return answer


def count(database: Database, model: type[Base]) -> int:
    """Count the rows that are committed."""
    with database.session(write=False) as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def logged(database: Database) -> list[str]:
    """Return the lines of the log that are committed."""
    with database.session(write=False) as session:
        return list(session.scalars(select(LogEntry.line).order_by(LogEntry.id)))


def prints(client: TestClient) -> int:
    """Return how often the first album has been printed."""
    number: int = client.get("/albums/1").json()["prints"]
    return number


def overtaken(app: FastAPI, times: int) -> list[int]:
    """Let a dependency update the album past its object in the first attempts of a request.

    Returns the list of the attempts.
    """
    tries: list[int] = []

    def find_overtaken(session: SessionDep, album_id: AlbumId) -> Album:
        album = find_album(session, album_id)
        tries.append(album.prints)
        if len(tries) <= times:
            overtaking = update(Album).values(version=Album.version + 1)
            session.execute(overtaking.execution_options(synchronize_session=False))
        return album

    app.dependency_overrides[find_album] = find_overtaken
    return tries


def is_problem(answer: Response, status: int) -> bool:
    """Whether a response is a problem of this status."""
    assert answer.status_code == status, answer.text
    return answer.headers["content-type"] == MEDIA_TYPE and answer.json()["status"] == status


def test_the_guard_of_a_route_runs_first_and_refuses(
    albums: TestClient, database: Database
) -> None:
    create(albums, "Sea", "waves")
    for path in ("/albums/1", "/albums/2"):
        refused = albums.delete(path)
        assert is_problem(refused, 401)
        assert refused.headers["WWW-Authenticate"] == "APIKey"
        refused = albums.delete(path, headers={"X-API-Key": "another"})
        assert is_problem(refused, 401)
        assert refused.headers["WWW-Authenticate"] == "APIKey"
        assert refused.json()["detail"] == "Unknown key"
    assert count(database, Album) == 1
    assert albums.delete("/albums/2", headers=KEY).status_code == 404
    assert albums.delete("/albums/1", headers=KEY).status_code == 204
    assert (count(database, Album), count(database, Photo)) == (0, 0)


def test_the_guard_of_a_router_runs_for_each_of_its_routes(albums: TestClient) -> None:
    for method in ("GET", "POST"):
        refused = albums.request(method, "/vault")
        assert is_problem(refused, 401)
        assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert is_problem(albums.get("/vault", headers=TOKEN), 403)
    create(albums)
    assert albums.get("/vault", headers=TOKEN).json() == {"titles": ["Sea"]}
    assert albums.post("/vault", headers=TOKEN).status_code == 204


def test_what_is_documented_as_security_is_enforced(
    practices_app: FastAPI, albums: TestClient
) -> None:
    secured: list[int] = []
    open_to_all: list[int] = []
    for path, operations in practices_app.openapi()["paths"].items():
        for verb, operation in operations.items():
            answer = albums.request(verb, path.format(album_id=1, theme="dark", title="a", slug=1))
            (secured if operation.get("security") else open_to_all).append(answer.status_code)
            assert ("401" in operation["responses"]) == bool(operation.get("security"))
    assert secured == [401] * 3
    assert 401 not in open_to_all


def test_a_response_that_is_not_documented_fails_the_tests(
    practices_app: FastAPI, albums: TestClient
) -> None:
    check = documented(practices_app)
    for answer in (albums.get("/albums/coffee"), albums.delete("/albums/1"), albums.get("/vault")):
        check(answer)
    with pytest.raises(AssertionError, match="list_vault does not document this answer: 403"):
        check(albums.get("/vault", headers=TOKEN))


def test_the_document_of_all_that_is_valid(practices_app: FastAPI) -> None:
    document = practices_app.openapi()
    # FastAPI describes it with a keyword of OpenAPI 3.2.
    (stream,) = [path for path in document["paths"] if path.endswith("/stream")]
    paths = {path: item for path, item in document["paths"].items() if path != stream}
    assert not list(OpenAPIV31SpecValidator(document | {"paths": paths}).iter_errors())


def test_a_background_task_runs_after_the_commit(albums: TestClient) -> None:
    created = create(albums)
    assert (created.status_code, created.json()["prints"]) == (201, 0)
    assert prints(albums) == 1


@pytest.mark.parametrize("response_class", [JSONResponse, HTMLResponse])
def test_a_background_task_of_a_get_has_a_connection(
    mount: Callable[[Router], TestClient], database: Database, response_class: type[Answer]
) -> None:
    def look() -> None:
        pool: Any = database.engine.pool
        busy.append(pool.checkedout())

    router = Router("/looking", description="Tested.")
    busy: list[int] = []

    @router.get("/returned")
    def return_response(session: SessionDep, background: BackgroundTasks) -> Answer:
        background.add_task(look)
        return response_class(f"{session.scalar(select(func.count(Album.id)))}")

    @router.get("/made", response_class=response_class)
    def count_albums(session: SessionDep, background: BackgroundTasks) -> str:
        background.add_task(look)
        return f"{session.scalar(select(func.count(Album.id)))}"

    client = mount(router)
    for path in ("returned", "made"):
        assert client.get(f"/looking/{path}").is_success
    assert busy == [0, 0]


def test_no_background_task_runs_for_a_replay_a_failure_or_a_dry_run(
    albums: TestClient,
) -> None:
    key = {"Idempotency-Key": "k"}
    first = create(albums, headers=key)
    again = create(albums, headers=key)
    assert again.content == first.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert is_problem(create(albums), 409)
    assert create(albums, "Lake", params={"dry_run": "true"}).status_code == 200
    assert (practices.PRINTED, prints(albums)) == ([1], 1)


def test_no_background_task_runs_where_the_handler_returns_an_error(
    mount: Callable[[Router], TestClient], database: Database
) -> None:
    ran: list[int] = []
    router = Router("/errors", description="Tested.")

    @router.post("/{status}")
    def return_status(
        session: SessionDep, status: int, background: BackgroundTasks
    ) -> JSONResponse:
        session.add(Album(title=str(status)))
        background.add_task(ran.append, status)
        return JSONResponse({}, status)

    client = mount(router)
    assert client.post("/errors/409").status_code == 409
    assert (ran, count(database, Album)) == ([], 0)
    assert client.post("/errors/202").status_code == 202
    assert (ran, count(database, Album)) == ([202], 1)


def test_what_is_set_on_the_injected_response_is_sent(albums: TestClient) -> None:
    chosen = albums.post("/albums/theme/dark")
    assert chosen.status_code == 204
    assert chosen.headers["Vary"] == "Cookie"
    assert chosen.headers["Set-Cookie"].startswith("theme=dark;")
    create(albums)
    ordered = albums.post("/albums/1/print")
    assert (ordered.status_code, ordered.headers["X-Queue"]) == (202, "2")
    assert ordered.headers["ETag"] == '"3"'


def test_a_response_is_replayed_with_all_that_was_set_on_it(
    mount: Callable[[Router], TestClient],
) -> None:
    router = Router("/cookies", description="Tested.")

    @router.post("", status_code=204)
    def set_cookies(session: SessionDep, response: Answer) -> None:
        session.flush()
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")

    client = mount(router)
    for _ in range(2):
        client.cookies.clear()
        client.post("/cookies", headers={"Idempotency-Key": "k"})
        assert dict(client.cookies) == {"a": "1", "b": "2"}


def test_the_events_of_mappers_and_sessions_are_handled(
    albums: TestClient, database: Database
) -> None:
    assert create(albums, "Two Words").json()["slug"] == "two-words"
    assert logged(database) == ["new Two Words"]
    assert practices.COMMITTED == ["Two Words"]
    create(albums, "Two Words")
    create(albums, "Dry", params={"dry_run": "true"})
    assert logged(database) == ["new Two Words"]
    assert practices.COMMITTED == ["Two Words"]


def test_an_http_exception_of_any_status_is_a_problem(albums: TestClient) -> None:
    refused = albums.get("/albums/coffee")
    assert is_problem(refused, 418)
    assert refused.json()["title"] == "I'm a Teapot"
    assert refused.json()["detail"] == '{"pot": "tea"}'
    assert refused.headers["X-Pot"] == "tea"


def test_an_async_handler_waits_for_something_other_than_the_database(albums: TestClient) -> None:
    assert albums.get("/albums/wait").json()["agent"] == "True"


def test_an_async_handler_has_what_a_dependency_reads(albums: TestClient) -> None:
    create(albums, "Sea", "waves")
    changed = albums.post("/albums/1/caption", data={"caption": "foam"})
    # The answer has no version, and so no ETag either.
    assert (changed.status_code, changed.headers.get("ETag")) == (200, None)
    assert albums.get("/albums/1").json()["photos"][0]["caption"] == "foam"


def test_a_savepoint_is_rolled_back_alone(albums: TestClient, database: Database) -> None:
    create(albums)
    titles = {"titles": ["Lake", "Sea", "Pond", "Lake"]}
    imported = albums.post("/albums/import", json=titles)
    assert imported.json() == {"created": 2, "taken": ["Sea", "Lake"]}
    assert [item["title"] for item in albums.get("/albums").json()["items"]] == [
        "»Sea«",
        "»Lake«",
        "»Pond«",
    ]
    assert logged(database) == ["new Sea", "new Lake", "new Pond"]


def test_dependencies_share_the_session_however_deep(albums: TestClient) -> None:
    create(albums, "Sea", "waves")
    assert albums.get("/albums/1/badge", headers={"If-None-Match": '"2"'}).status_code == 304
    assert is_problem(albums.post("/albums/2/caption", data={"caption": "a"}), 404)
    create(albums, "Void")
    empty = albums.post("/albums/2/caption", data={"caption": "a"})
    assert is_problem(empty, 404)
    assert empty.json()["detail"] == "The album is empty"


def test_what_a_dependency_does_after_its_yield_is_committed(
    albums: TestClient, database: Database
) -> None:
    create(albums, "Sea")
    renamed = albums.post("/albums/1/rename/Lake")
    assert (renamed.status_code, renamed.json()["title"]) == (200, "Lake")
    path = "/albums/1/rename/Lake"
    assert logged(database) == ["new Sea", f"begin {path}", f"end {path}"]
    assert is_problem(albums.post("/albums/1/rename/nothing"), 422)
    assert albums.post("/albums/1/rename/Pond", params={"dry_run": "true"}).status_code == 200
    create(albums, "Pond")
    assert is_problem(albums.post("/albums/1/rename/Pond"), 409)
    assert logged(database) == ["new Sea", f"begin {path}", f"end {path}", "new Pond"]
    assert albums.get("/albums/1").json()["title"] == "Lake"


@pytest.mark.parametrize(
    ("failure", "status"), [(HTTPException(409, "late"), 409), (RuntimeError("late"), 500)]
)
def test_a_failure_after_the_yield_rolls_everything_back(
    mount: Callable[[Router], TestClient], database: Database, failure: Exception, status: int
) -> None:
    def fail_late(session: SessionDep) -> Iterator[None]:
        yield
        session.add(LogEntry(line="late"))
        session.flush()
        raise failure

    router = Router("/late", description="Tested.")

    @router.post("", dependencies=[Depends(fail_late, scope="function")])
    def create_late(session: SessionDep) -> None:
        session.add(Album(title="late"))

    assert is_problem(mount(router).post("/late"), status)
    assert (count(database, Album), logged(database)) == (0, [])


def test_a_constraint_that_is_broken_after_the_yield_is_a_conflict(
    mount: Callable[[Router], TestClient], database: Database
) -> None:
    tries: list[None] = []

    def break_late(session: SessionDep) -> Iterator[None]:
        yield
        tries.append(None)
        session.add(Album(title="same"))

    router = Router("/late", description="Tested.")

    @router.post("", dependencies=[Depends(break_late, scope="function")])
    def create_same(session: SessionDep) -> None:
        session.add(Album(title="same"))

    assert is_problem(mount(router).post("/late"), 409)
    assert count(database, Album) == 0


def test_no_background_task_of_a_refusal_runs_beside_work_after_the_yield(
    mount: Callable[[Router], TestClient],
) -> None:
    def work_late(session: SessionDep) -> Iterator[None]:
        yield
        session.flush()

    router = Router("/late", description="Tested.")
    statuses: list[int] = []

    @router.post("", dependencies=[Depends(work_late, scope="function")])
    def create_late(background: BackgroundTasks, status: int) -> Answer:
        background.add_task(statuses.append, status)
        return JSONResponse({}, status)

    client = mount(router)
    for status in (409, 201, 422):
        assert client.post("/late", params={"status": status}).status_code == status
    assert statuses == [201]


def test_put_replaces(albums: TestClient, database: Database) -> None:
    create(albums, "Sea", "waves", "foam")
    body = {"title": "Lake", "photos": [{"caption": "boat"}]}
    refused = albums.put("/albums/1", json=body, headers={"If-Match": '"7"'})
    assert is_problem(refused, 412)
    replaced = albums.put("/albums/1", json=body, headers={"If-Match": '"2"'})
    assert replaced.status_code == 200
    assert replaced.json()["photos"] == [{"id": 3, "caption": "boat", "digest": None}]
    assert replaced.json()["version"] == 3
    assert albums.get("/albums/1").json() == replaced.json()
    assert count(database, Photo) == 1
    body["photos"] = [{"caption": "sail"}]
    assert albums.put("/albums/1", json=body, headers={"If-Match": '"3"'}).status_code == 200
    assert is_problem(albums.put("/albums/1", json=body, headers={"If-Match": '"3"'}), 412)


def test_request_header_and_cookie_are_read(albums: TestClient) -> None:
    caller = albums.get("/albums/caller", headers={"User-Agent": "me", "Cookie": "theme=dark"})
    assert caller.json() == {"address": "testclient", "agent": "me", "theme": "dark"}


def fill(database: Database, albums: int) -> None:
    """Create many albums."""
    with database.session(write=True) as session:
        session.add_all(Album(title=f"{number:04}") for number in range(albums))
        session.commit()


def watched(
    client: TestClient, database: Database, path: str, *, method: str = "GET", leave: bool = False
) -> list[int]:
    """Send a request, and count the checked-out connections at each chunk of the response body.

    With ``leave`` the client disconnects after the first chunk. The last count is that after the
    response.
    """
    busy: list[int] = []
    pool: Any = database.engine.pool
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
        "client": ("testclient", 50000),
        "state": client.app_state.copy(),
    }

    async def answer() -> None:
        received = [{"type": "http.request", "body": b"", "more_body": False}]
        left = asyncio.Event()

        async def receive() -> Message:
            if received:
                return received.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body" and message["body"]:
                busy.append(pool.checkedout())
                if leave:
                    left.set()

        await client.app(scope, receive, send)

    assert client.portal is not None
    client.portal.call(answer)
    return [*busy, pool.checkedout()]


@pytest.mark.parametrize("path", ["/albums/export", "/albums/stream"])
def test_a_stream_reads_while_it_is_sent_and_then_returns_its_connection(
    albums: TestClient, database: Database, path: str
) -> None:
    count = 120
    fill(database, count)
    lines = albums.get(path).text.splitlines()
    assert len(lines) == count
    assert f"{count - 1:04}" in lines[-1]
    for _ in range(database.size + 1):
        assert watched(albums, database, path) == [1] * count + [0]
    for _ in range(database.size + 1):
        *busy, afterwards = watched(albums, database, path, leave=True)
        assert (len(busy) < count, afterwards) == (True, 0)
    assert albums.get("/albums/count").text == f"{count}"


def test_a_stream_of_lines_is_json(albums: TestClient, database: Database) -> None:
    fill(database, 2)
    streamed = albums.get("/albums/stream")
    assert streamed.headers["content-type"] == "application/jsonl"
    first = '{"id":1,"title":"»0000«","cover":null,"version":1,"initial":"0"}'
    assert streamed.text.splitlines()[0] == first


def test_a_stream_that_has_written_is_committed_before_it_begins(
    albums: TestClient, database: Database
) -> None:
    copied = albums.post("/albums/copy")
    assert (copied.status_code, copied.text) == (200, "copy\n")
    assert count(database, Album) == 1
    refused = albums.post("/albums/copy", headers={"Idempotency-Key": "k"})
    assert is_problem(refused, 409)
    assert is_problem(albums.delete("/albums/1", headers=KEY | {"If-Match": '"2"'}), 412)
    albums.delete("/albums/1", headers=KEY)
    refused = albums.post("/albums/copy", headers={"Idempotency-Key": "k"})
    assert is_problem(refused, 422)
    assert count(database, Album) == 0


WRITES: list[Callable[[Session], object]] = [
    lambda session: session.add(Album(title="late")),
    lambda session: session.execute(update(Album).values(title="late")),
]


@pytest.mark.parametrize(
    ("method", "dependencies"),
    [("GET", []), ("POST", []), ("POST", [Depends(log_request, scope="function")])],
)
def test_what_a_stream_writes_is_refused_and_in_the_log(
    mount: Callable[[Router], TestClient],
    database: Database,
    caplog: pytest.LogCaptureFixture,
    method: str,
    dependencies: list[Any],
    subtests: pytest.Subtests,
) -> None:
    def lines(session: Session, number: int) -> Iterator[str]:
        yield "first"
        WRITES[number](session)
        session.scalar(select(func.count()).select_from(Album))
        yield "last"

    fill(database, 1)
    router = Router("/writing", description="Tested.", dependencies=dependencies)

    @router.api_route("/{number}", methods=[method])
    def stream_writing(session: SessionDep, number: int) -> StreamingResponse:
        return StreamingResponse(lines(session, number))

    client = mount(router)
    logs = logged(database)
    for number in range(len(WRITES)):
        with subtests.test(f"{number}"):
            caplog.clear()
            path = f"/writing/{number}"
            answer = client.request(method, path)
            assert (answer.status_code, answer.text) == (200, "first")
            reasons = {
                "GET": "a GET only reads",
                "POST": "what is written while the answer is sent",
            }
            assert reasons[method] in caplog.text
            with database.session(write=False) as session:
                assert list(session.scalars(select(Album.title))) == ["0000"]
            logs += [f"begin {path}", f"end {path}"] if dependencies else []
            assert logged(database) == logs


def test_a_stream_that_fails_returns_its_connection(
    mount: Callable[[Router], TestClient], database: Database
) -> None:
    fill(database, 3)
    router = Router("/broken", description="Tested.")

    @router.get("")
    def stream_broken(session: SessionDep) -> Iterator[int]:
        yield from session.scalars(select(Album.id))
        raise RuntimeError("half-way")

    client = mount(router)
    for _ in range(database.size + 1):
        assert watched(client, database, "/broken")[-1] == 0


def test_an_upload_is_a_form_and_nothing_else(albums: TestClient) -> None:
    create(albums)
    upload: dict[str, Any] = {"files": {"photo": b"pixels"}, "data": {"caption": "waves"}}
    added = albums.post("/albums/1/photos", **upload)
    digest = sha256(b"pixels").hexdigest()
    assert added.json() == {"id": 1, "caption": "waves", "digest": digest}
    bodies: list[dict[str, Any]] = [{"json": {}}, {"data": {"caption": "waves"}}]
    for body in bodies:
        refused = albums.post("/albums/1/photos", **body)
        assert is_problem(refused, 415)
        assert refused.headers["Accept"] == "multipart/form-data"
    refused = albums.post("/albums/1/caption", json={"caption": "waves"})
    assert is_problem(refused, 415)
    assert refused.headers["Accept"] == "application/x-www-form-urlencoded, multipart/form-data"
    refused = albums.post("/albums", data={"title": "Sea"})
    assert is_problem(refused, 415)
    assert refused.headers["Accept"] == "application/json"
    refused = albums.post("/albums/1/photos", files={"photo": b"pixels"})
    assert is_problem(refused, 422)
    assert [fault["pointer"] for fault in refused.json()["errors"]] == ["/caption"]


def test_what_a_form_has_beyond_its_fields_is_refused(albums: TestClient) -> None:
    create(albums, "Sea", "waves")
    strange = {"caption": ["foam", "salt"], "colour": "blue"}
    refused = albums.post("/albums/1/caption", data=strange)
    assert is_problem(refused, 422)
    found = [(fault["pointer"], fault["code"]) for fault in refused.json()["errors"]]
    assert found == [("/caption", "repeated"), ("/colour", "extra_forbidden")]
    upload = [("photo", b"pixels"), ("photo", b"again")]
    refused = albums.post("/albums/1/photos", files=upload, data={"caption": "waves"})
    assert is_problem(refused, 422)
    assert [fault["pointer"] for fault in refused.json()["errors"]] == ["/photo"]


def test_an_upload_is_replayed_and_read_again_where_it_is_tried_again(
    albums: TestClient, practices_app: FastAPI, database: Database
) -> None:
    create(albums)
    upload = albums.build_request(
        "POST",
        "/albums/1/photos",
        files={"photo": b"pixels"},
        data={"caption": "waves"},
        headers={"Idempotency-Key": "k"},
    )
    content = upload.read()
    tries = overtaken(practices_app, 1)
    first, again = (
        albums.post("/albums/1/photos", content=content, headers=upload.headers) for _ in range(2)
    )
    assert first.json()["digest"] == sha256(b"pixels").hexdigest()
    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")
    assert (len(tries), count(database, Photo)) == (3, 1)


def test_a_form_without_its_parser_stops_the_start_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    monkeypatch.setitem(sys.modules, "multipart", None)
    router = Router("/forms", description="Tested.")

    def upload(photo: Annotated[UploadFile, File()]) -> None:
        """Upload."""

    with pytest.raises(RuntimeError, match="pip install python-multipart"):
        router.post("")(upload)


def test_relationships_cascade_and_are_read_into_nested_models(
    albums: TestClient, database: Database
) -> None:
    created = create(albums, "Sea", "waves", "foam").json()
    assert [photo["caption"] for photo in created["photos"]] == ["waves", "foam"]
    assert albums.get("/albums/1").json() == created | {"prints": 1, "version": 2}
    assert albums.delete("/albums/1", headers=KEY).status_code == 204
    assert count(database, Photo) == 0


def test_an_answer_with_other_rows_in_it_has_no_etag(
    albums: TestClient, practices_app: FastAPI
) -> None:
    create(albums, "Sea", "waves")
    first = albums.get("/albums/1")
    albums.post("/albums/1/caption", data={"caption": "foam"})
    second = albums.get("/albums/1", headers={"If-None-Match": '"2"'})
    assert (second.status_code, second.json()["photos"][0]["caption"]) == (200, "foam")
    assert first.json()["version"] == second.json()["version"]
    renamed = albums.post("/albums/1/rename/Lake")
    assert not any("ETag" in answer.headers for answer in (first, second, renamed))
    paths = practices_app.openapi()["paths"]
    for verb in ("get", "put"):
        responses = paths["/albums/{album_id}"][verb]["responses"]
        assert "ETag" not in responses["200"]["headers"]
        assert "304" not in responses
    assert "ETag" in paths["/albums/{album_id}/print"]["post"]["responses"]["200"]["headers"]


def test_serializers_computed_fields_and_options_of_the_response_model_hold(
    albums: TestClient,
) -> None:
    create(albums)
    line = {"id": 1, "title": "»Sea«", "version": 2, "initial": "S"}
    assert albums.get("/albums").json() == {
        "items": [line | {"cover": None}],
        "next_cursor": None,
    }
    read = albums.get("/albums/1/line")
    assert (read.json(), read.headers["ETag"]) == (line, '"2"')
    assert albums.post("/albums/1/print").json() == line | {"cover": None, "version": 3}


def test_responses_may_have_other_media_types(albums: TestClient) -> None:
    create(albums)
    counted = albums.get("/albums/count")
    assert counted.headers["content-type"] == "text/plain; charset=utf-8"
    assert counted.text == "1"
    badge = albums.get("/albums/1/badge")
    assert badge.headers["content-type"] == "image/svg+xml"
    assert badge.text == "<svg><!-- 1 --></svg>"


def test_dependencies_are_overridden_in_tests(
    albums: TestClient, practices_app: FastAPI, database: Database
) -> None:
    create(albums)
    practices_app.dependency_overrides[practices.check_key] = lambda: "anybody"
    assert albums.delete("/albums/1").status_code == 204
    assert count(database, Album) == 0


def test_another_session_than_the_one_that_is_committed_is_refused(
    albums: TestClient,
    practices_app: FastAPI,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with database.session(write=True) as session:
        practices_app.dependency_overrides[get_session] = lambda: session
        assert is_problem(albums.post("/albums", json={"title": "Sea"}), 500)
        assert is_problem(albums.get("/albums/count"), 500)
    assert "override get_database" in caplog.text


def test_a_lost_race_is_tried_again_dependencies_and_all(
    albums: TestClient, practices_app: FastAPI, database: Database
) -> None:
    create(albums)
    tries = overtaken(practices_app, 2)
    renamed = albums.post("/albums/1/rename/Lake")
    assert (renamed.status_code, len(tries)) == (200, 3)
    path = "/albums/1/rename/Lake"
    assert logged(database) == ["new Sea", f"begin {path}", f"end {path}"]
    assert renamed.json()["version"] == 3


def test_a_row_that_is_changed_past_its_object_is_a_conflict_and_in_the_log(
    albums: TestClient, practices_app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    create(albums)
    tries = overtaken(practices_app, 100)
    caplog.set_level(logging.ERROR)
    refused = albums.post("/albums/1/print")
    assert is_problem(refused, 409)
    assert "Retry-After" not in refused.headers
    assert len(tries) == 4
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "changed while its object was used" in record.message
    assert prints_now(albums, practices_app) == 1


def prints_now(albums: TestClient, app: FastAPI) -> int:
    """Return how often the first album has been printed, without the overriding dependency."""
    del app.dependency_overrides[find_album]
    return prints(albums)


def test_the_database_is_a_dependency_too(
    mount: Callable[[Router], TestClient], database: Database
) -> None:
    router = Router("/sizes", description="Tested.")

    @router.get("")
    def get_size(other: DatabaseDep) -> int:
        return other.size

    assert mount(router).get("/sizes").json() == database.size
