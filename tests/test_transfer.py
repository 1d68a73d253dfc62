"""An export is the whole service: imported elsewhere it is the same, whatever the database."""

import gc
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from random import Random
from stat import S_IFREG
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from vibetracker.cli import main, transfer
from vibetracker.core.api.routing import Router
from vibetracker.core.api.session import get_database
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.changes import Change
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import Feature
from vibetracker.features.transfer import files
from vibetracker.features.transfer.formats import FORMATS, losses
from vibetracker.features.transfer.imports import PORTION
from vibetracker.testing import empty

from . import practices
from .gauges.model import Gauge
from .operations import operations

README = Path(__file__).parents[1] / "README.md"
WORDS = ["Paint", "the", "Ærø", "SHELF", "=1+1", "日本", "İstanbul", "🚲", "ß", '"a",b;c']
INSTANTS = ["2026-02-28T23:59:59.999999+01:00", "1900-01-01T00:00:00Z", "9998-12-31T23:59:59Z"]


def lists(client: TestClient) -> dict[str, list[bytes]]:
    """Return every page of every list of what can be created, byte for byte."""
    app: Any = client.app
    found = operations(app)
    created = {it.path for it in found if "201" in it.spec["responses"]}
    pages: dict[str, list[bytes]] = {}
    for operation in found:
        if operation.method != "GET" or operation.path not in created:
            continue
        names = operation.parameters("query")
        everything = "&deleted=include" if "deleted" in names else ""
        for sort in ("id", "-updated_at"):
            path = f"{operation.path}?sort={sort}&limit=200&include_total=true{everything}"
            pages[path] = []
            cursor = ""
            while cursor is not None:
                response = client.get(path + cursor)
                assert response.status_code == 200, response.text
                pages[path].append(response.content)
                following = response.json()["next_cursor"]
                cursor = following and f"&cursor={following}"
    return pages


def fill(client: TestClient, seed: int, steps: int) -> None:
    """Do what clients do, at random; what is refused changes nothing."""
    random = Random(seed)  # noqa: S311 - no secret

    def text() -> str:
        return " ".join(random.choices(WORDS, k=random.randint(1, 5)))

    def some_id() -> int:
        return random.randint(1, steps)

    def task() -> dict[str, Any]:
        due = random.choice([{}, {"due_on": "2026-03-01"}, {"due_at": random.choice(INSTANTS)}])
        return {
            "title": text(),
            "description": random.choice(["", f"{text()}\r\n\t{text()}\n"]),
            "status": random.choice(["todo", "in_progress", "done", "cancelled"]),
            "priority": random.choice(["none", "low", "medium", "high", "urgent"]),
            "tags": random.sample(["home", "Home", "a b", "ß", "SS", "=x", "日本"], 2),
            **due,
            **random.choice([{}, {}, {"parent_id": some_id()}, {"project_id": some_id()}]),
        }

    for _ in range(steps):
        method, path, body = random.choice(
            [
                ("POST", "/tasks", task()),
                ("POST", "/tasks", task()),
                ("POST", "/tasks", task()),
                ("PATCH", f"/tasks/{some_id()}", random.choice([task(), {"parent_id": some_id()}])),
                ("POST", f"/tasks/{some_id()}/move", {"to": random.choice(["first", "last"])}),
                ("POST", f"/tasks/{some_id()}/move", {"before_id": some_id()}),
                ("DELETE", f"/tasks/{some_id()}", None),
                ("DELETE", f"/tasks/{some_id()}?permanent=true", None),
                ("POST", f"/tasks/{some_id()}/restore", None),
                ("PATCH", f"/tags/{some_id()}", {"name": text(), "color": "#123456"}),
                ("DELETE", f"/tags/{some_id()}", None),
                ("POST", "/projects", {"name": text(), "archived": random.random() < 0.3}),
                ("POST", "/comments", {"task_id": some_id(), "body": text(), "author": text()}),
                (
                    "POST",
                    "/recurrences",
                    {"task_id": some_id(), "rule": "FREQ=MONTHLY;BYMONTHDAY=31,-1"},
                ),
            ]
        )
        response = client.request(method, path, json=body)
        assert response.status_code < 500, response.text


def move(source: TestClient, target: TestClient) -> None:
    """Export from one service, import into another, and compare them."""
    file = source.get("/transfer/export").content
    headers = {"Content-Type": "application/json"}
    response = target.post("/transfer/import", content=file, headers=headers)
    assert response.status_code == 200, response.text
    assert response.json()["skipped"] == []
    assert target.get("/transfer/export").content == file
    assert lists(target) == lists(source)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_random_service_survives_the_way_into_another(
    client: TestClient, database: Database, tmp_path: Path, seed: int
) -> None:
    fill(client, seed, 60)
    with serving(f"sqlite:///{tmp_path / 'other.db'}") as other:
        move(client, other)
    before, file = lists(client), client.get("/transfer/export").content
    empty(database)
    headers = {"Content-Type": "application/json"}
    client.post("/transfer/import", content=file, headers=headers)
    assert lists(client) == before


@contextmanager
def serving(url: str) -> Iterator[TestClient]:
    """Yield a client of an application on this database."""
    with TestClient(create_app(Settings(database_url=url, _env_file=None))) as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_random_service_moves_from_sqlite_to_postgresql_and_back(
    postgres_url: str, tmp_path: Path, seed: int
) -> None:
    with ExitStack() as stack:
        first, last = (
            stack.enter_context(serving(f"sqlite:///{tmp_path / name}")) for name in "ab"
        )
        between = stack.enter_context(serving(postgres_url))
        app: Any = between.app
        empty(app.state.database)
        fill(first, seed, 400)
        move(first, between)
        move(between, last)
        # The first and the last go on with the same ids.
        for client in (first, between, last):
            assert client.post("/tags", json={"name": "new"}).status_code == 201
        ids = [client.get("/tags?q=new").json()["items"][-1]["id"] for client in (first, last)]
        assert ids[0] == ids[1]


def test_an_import_is_undone_with_the_projects_that_it_has_created(client: TestClient) -> None:
    lines = "Paint +Kitchen @home\nSand +Kitchen\n"
    kind = {"Content-Type": "text/plain"}
    answer = client.post("/transfer/import?format=todotxt", content=lines, headers=kind)
    assert answer.json()["created"] == {"projects": 1, "tasks": 2}
    creation = client.get("/changes", params={"resource": "projects"}).json()["items"][0]
    assert client.post(f"/changes/{creation['id']}/revert").status_code == 409
    undo = {"request_id": answer.headers["X-Request-ID"]}
    assert client.post("/changes/revert", json=undo).status_code == 200
    assert client.get("/projects").json()["items"] == []
    found = client.get("/tasks?deleted=only").json()["items"]
    assert {task["project_id"] for task in found} == {None}
    assert client.post(f"/tasks/{found[0]['id']}/restore").status_code == 200


NAMED = {
    "parent_id": "tasks",
    "deleted_with": "tasks",
    "project_id": "projects",
    "task_id": "tasks",
    "previous_task_id": "tasks",
}
"""Members that refer to something, and what that is."""
LOST_AS = {"project_id": "projects", "due_on": "due_at"}
"""Members whose loss has the name of another one."""


def fill_with_everything(client: TestClient) -> None:
    """Create something of everything that a format could lose."""
    client.delete(f"/tasks/{create(client, 'tasks', title='deleted for good')}?permanent=true")
    create(client, "tags", name="Big house", color="#00aa55", description="x")
    project_id = create(client, "projects", name="Summer house", color="#00aa55")
    for number in range(20):
        task_id = create(
            client,
            "tasks",
            title=f"task  {number}",
            description="One\r\nTwo",
            priority=["none", "low", "medium", "high", "urgent"][number % 5],
            status=["todo", "in_progress", "done", "cancelled"][number % 4],
            tags=["Big house"],
            start_at="2026-02-01T08:00:00.5Z",
            **[{"due_on": "2040-03-01"}, {"due_at": "2040-03-01T08:00:00.5Z"}][number % 2],
            **[{}, {"project_id": project_id}, {"parent_id": 2 + number // 2}][number % 3],
        )
        create(client, "comments", task_id=task_id, body="One\nTwo", author="Ada")
        if number % 4 == 0:
            create(client, "recurrences", task_id=task_id, rule="FREQ=WEEKLY")
    create(client, "tasks", title="midnight", due_at="2040-03-01T00:00:00Z")
    client.patch("/tasks/3", json={"status": "done"})
    client.post("/tasks/2/move", json={"to": "last"})
    top = create(client, "tasks", title="in the trash")
    for task_id in (create(client, "tasks", title="there before", parent_id=top), top):
        client.delete(f"/tasks/{task_id}")
    client.patch(f"/projects/{project_id}", json={"archived": True})


def create(client: TestClient, collection: str, **members: Any) -> int:
    """Create something, and return its id."""
    response = client.post(f"/{collection}", json=members)
    assert response.status_code == 201, response.text
    number: int = response.json()["id"]
    return number


def stored(client: TestClient) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the records of each collection by their names, and references as names."""
    found: dict[str, Any] = client.get("/transfer/export").json()
    records = {name: rows for name, rows in found.items() if isinstance(rows, list)}
    names = {
        name: {row["id"]: row.get("title", row.get("name", row["id"])) for row in rows}
        for name, rows in records.items()
    }
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for name, rows in records.items():
        for row in rows:
            own = row.get("task_id", row["id"])
            named = {
                member: names[NAMED[member]].get(value) if member in NAMED else value
                for member, value in row.items()
            }
            key = names["tasks"][own] if "task_id" in row else names[name][own]
            result.setdefault(name, {})[key] = named
    return result


def differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what is lost: members of tasks, and the names of other collections."""
    for name, rows in before.items():
        for key, row in rows.items():
            found = after.get(name, {}).get(key)
            if name != "tasks":
                if found != row:
                    yield name
            elif found is None:
                yield "trash" if row["deleted_at"] else key
            else:
                for member in row:
                    old, new = row[member], found[member]
                    if old != new:
                        is_whole = str(old).partition(".")[0] == str(new).removesuffix("Z")
                        lost = LOST_AS.get(member, member)
                        yield "fractions of a second" if is_whole else lost


def test_a_format_leaves_out_what_it_says(
    client: TestClient, database: Database, subtests: pytest.Subtests
) -> None:
    fill_with_everything(client)
    before = stored(client)
    exported = {name: client.get(f"/transfer/export?format={name}").text for name in FORMATS}
    for name, file in exported.items():
        with subtests.test(format=name):
            empty(database)
            assert send(client, name, file).status_code == 200
            assert {*differences(before, stored(client))} == {*FORMATS[name].LOST}


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_format_leaves_out_is_written_down(name: str, app: FastAPI) -> None:
    described = app.openapi()["paths"]["/transfer/export"]["get"]["description"]
    assert name == "json" or f"- `{name}`: {losses(name)}.\n" in f"{described}\n"
    (row,) = (line for line in README.read_text().splitlines() if line.startswith(f"| `{name}` |"))
    assert row.endswith(f"| {losses(name)} |")


def send(client: TestClient, name: str, file: str) -> Any:
    """Import a file of another program, and return the response."""
    headers = {"Content-Type": "application/octet-stream"}
    return client.post(f"/transfer/import?format={name}", content=file, headers=headers)


def test_an_import_holds_the_changes_of_a_portion_of_its_records(client: TestClient) -> None:
    task = '{"uuid": "%d", "description": "a", "annotations": [{"description": "b"}]}'
    tasks = BytesIO("\n".join(task % number for number in range(2 * PORTION)).encode())
    app: Any = client.app
    with app.state.database.session(write=True) as session:
        features = app.state.features
        imported = files.read(session, features, "taskwarrior", tasks, lambda _: None)
        gc.collect()
        held = sum(type(it) is Change for it in gc.get_objects())
    assert imported.created == {"tasks": 2 * PORTION, "comments": 2 * PORTION}
    assert held <= PORTION


def todo(*lines: str) -> str:
    """Return a calendar with a VTODO."""
    inside = ["BEGIN:VTODO", "UID:1", "SUMMARY:a", *lines, "END:VTODO"]
    return "\r\n".join(["BEGIN:VCALENDAR", *inside, "END:VCALENDAR", ""])


@pytest.mark.parametrize(
    ("format", "file", "fault"),
    [
        (
            "taskwarrior",
            '[{"uuid": "1", "description": "a", "annotations": [{"description": "\\u0007"}]}]',
            "/0/annotations/0/description",
        ),
        ("ics", todo("COMMENT:\x07"), "COMMENT: "),
    ],
)
def test_an_error_of_a_comment_is_where_the_other_program_has_it(
    client: TestClient,
    format: str,  # noqa: A002 - the parameter's name
    file: str,
    fault: str,
) -> None:
    (error,) = send(client, format, file).json()["errors"]
    assert fault in f"{error.get('pointer')} {error['detail']}"


@pytest.mark.parametrize(("name", "bodies"), [("taskwarrior", ["b"]), ("ics", [" ", " \n ", "b"])])
def test_a_comment_without_a_word_is_one_of_a_calendar_and_no_annotation(
    client: TestClient, name: str, bodies: list[str]
) -> None:
    task_id = create(client, "tasks", title="a")
    for body in (" ", " \n ", "b"):
        create(client, "comments", task_id=task_id, body=body)
    file = client.get(f"/transfer/export?format={name}").text
    created = send(client, name, file).json()["created"]
    assert created == {"tasks": 1, "comments": len(bodies)}
    comments = client.get(f"/comments?task_id={task_id + 1}&sort=id").json()["items"]
    assert [comment["body"] for comment in comments] == bodies


def test_annotations_of_taskwarrior_are_comments_of_a_task_without_a_uuid_too(
    client: TestClient,
) -> None:
    annotations: list[dict[str, Any]] = [
        {"description": "x", "id": 1, "uuid": None},
        {"description": "y", "id": 2},
    ]
    tasks = [{"description": name, "title": "x", "annotations": annotations} for name in "ab"]
    result = send(client, "taskwarrior", json.dumps(tasks)).json()
    assert result["created"] == {"tasks": 2, "comments": 4}
    assert [(it["pointer"], it["code"]) for it in result["skipped"]] == [
        ("/0/title", "unknown_member"),
        ("/0/annotations/0/id", "unknown_member"),
        ("/0/annotations/0/uuid", "unknown_member"),
    ]
    found = client.get("/comments?sort=id").json()["items"]
    assert [(it["task_id"], it["body"]) for it in found] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]


def test_what_is_behind_the_longest_comment_is_left_out_and_reported(client: TestClient) -> None:
    file = f"TYPE,CONTENT\ntask,a\nnote,{'x' * 10_001}\n"
    (left_out,) = send(client, "csv", file).json()["skipped"]
    assert (left_out["line"], left_out["code"]) == (3, "string_too_long")
    assert client.get("/comments").json()["items"][0]["body"] == "x" * 10_000


def test_a_rule_of_a_calendar_lets_the_task_come_again(client: TestClient) -> None:
    file = todo(
        "DTSTART;TZID=Europe/Berlin:20400131T080000",
        "DUE;TZID=Europe/Berlin:20400131T093000",
        "RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=3",
        "COMMENT:x",
    )
    assert send(client, "ics", file).json() == {
        "created": {"tasks": 1, "comments": 1, "recurrences": 1},
        "skipped": [],
    }
    (recurrence,) = client.get("/recurrences").json()["items"]
    assert recurrence["rule"] == "FREQ=WEEKLY;BYDAY=TU;COUNT=3"
    assert (recurrence["time_zone"], recurrence["number"]) == ("Europe/Berlin", 1)
    client.patch(f"/tasks/{recurrence['task_id']}", json={"status": "done"})
    (following,) = client.get("/tasks?status=todo").json()["items"]
    assert following["due_at"] == "2040-02-07T08:30:00Z"


INDIA = """\
BEGIN:VTIMEZONE\r
TZID:India\r
BEGIN:STANDARD\r
DTSTART:19700101T000000\r
TZOFFSETFROM:+0530\r
TZOFFSETTO:+0530\r
END:STANDARD\r
END:VTIMEZONE\r
"""


@pytest.mark.parametrize(
    ("due", "anchor", "code"),
    [
        ("20400131T093000", "2040-01-31T04:00:00", "zone"),
        ("20400131T033000", None, "recurrence"),
    ],
)
def test_a_rule_in_a_zone_of_the_calendar_counts_in_utc_where_the_day_is_the_same(
    client: TestClient, due: str, anchor: str | None, code: str
) -> None:
    file = todo(f"DUE;TZID=India:{due}", "RRULE:FREQ=MONTHLY")
    result = send(client, "ics", file.replace("BEGIN:VTODO", f"{INDIA}BEGIN:VTODO")).json()
    assert [entry["code"] for entry in result["skipped"]] == [code]
    found = client.get("/recurrences").json()["items"]
    expected = [("UTC", anchor)] if anchor else []
    assert [(it["time_zone"], it["anchor"]) for it in found] == expected


@pytest.mark.parametrize(
    "lines",
    [
        ("DUE:20400131T093000Z", "RRULE:FREQ=HOURLY"),
        ("DUE:20400131T093000Z", "RRULE:FREQ=DAILY;BYHOUR=9"),
        ("DUE:20400131T093000Z", "RRULE:" + "FREQ=DAILY;" * 100),
        ("DTSTART:20400131T093000Z", "RRULE:FREQ=DAILY"),
        ("DUE:20400131T093000Z", "RRULE:FREQ=DAILY", "STATUS:COMPLETED"),
        ("DUE:20200131T093000Z", "RRULE:FREQ=DAILY;UNTIL=20200331T093000Z"),
        ("DUE;VALUE=DATE:20200131", "RRULE:until=20200331;freq=daily"),
        (
            "DTSTART;VALUE=DATE:20400130",
            "DUE;VALUE=DATE:20400131",
            "RRULE:FREQ=WEEKLY;BYDAY=MO",
        ),
    ],
)
def test_a_rule_that_no_recurrence_can_have_is_left_out_and_reported(
    client: TestClient, lines: Sequence[str]
) -> None:
    result = send(client, "ics", todo(*lines)).json()
    assert result["created"] == {"tasks": 1}
    (left_out,) = result["skipped"]
    assert "RRULE" in left_out["detail"]
    assert client.get("/recurrences").json()["items"] == []


def test_every_resource_of_every_feature_is_transferred(client: TestClient, app: FastAPI) -> None:
    created = {it.path.removeprefix("/") for it in operations(app) if "201" in it.spec["responses"]}
    assert created <= client.get("/transfer/export").json().keys()


def test_values_that_json_does_not_have_come_back_as_they_were(
    app: FastAPI, database: Database
) -> None:
    gauges = Feature("gauges", "tests.gauges", Router("/gauges", description="."))
    settings = Settings(database_url="sqlite://", _env_file=None)
    (of_files,) = (it for it in app.state.features if it.name == "transfer")
    made = create_app(settings, [of_files, gauges])
    made.dependency_overrides[get_database] = lambda: database
    with database.session(write=True) as session:
        session.add_all([Gauge(label=label, note="said") for label in "ab"])
        session.commit()
    client = TestClient(made)
    file = client.get("/transfer/export").text
    assert json.loads(file)["gauges"][1]["worth"] == "5.00"
    again = send(client, "json", file).json()
    assert {it["detail"] for it in again["skipped"]} == {
        f"The gauge {it} is there, and stays as it is" for it in (1, 2)
    }
    empty(database)
    assert send(client, "json", file).json()["skipped"] == []
    assert client.get("/transfer/export").text == file


@pytest.fixture
def command(app: FastAPI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the commands use a database in this folder."""
    file = tmp_path / "tracker.db"
    settings = Settings(database_url=f"sqlite:///{file}", _env_file=None)
    made = create_app(settings, app.state.features)
    monkeypatch.setattr(transfer, "load_application", lambda: made)
    monkeypatch.setattr(transfer, "set_dev_defaults", lambda: settings)
    return tmp_path


def test_the_command_line_exports_and_imports(
    command: Path, capsys: pytest.CaptureFixture[str], client: TestClient
) -> None:
    fill(client, 3, 20)
    file, again, kept = (command / name for name in ("all.json", "again.json", "kept.json"))
    kept.touch(0o600)
    again.symlink_to(kept)
    file.write_bytes(client.get("/transfer/export").content)
    assert main(["import", str(file)]) == 0
    assert "tasks: " in capsys.readouterr().out
    assert main(["export", str(again)]) == 0
    assert kept.read_bytes() == file.read_bytes()
    assert again.is_symlink()
    assert kept.stat().st_mode == S_IFREG | 0o600
    assert sorted(command.glob("*.*")) == sorted([file, again, kept, *command.glob("tracker.db*")])
    pipe = command / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)
    assert main(["export", "--format", "todotxt", str(pipe)]) == 0
    assert pipe.is_fifo()
    assert os.read(reader, 9) != b""
    os.close(reader)


def test_an_export_says_which_rows_it_leaves_out(
    command: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelves = Feature("shelves", "tests", practices.router)
    made = create_app(Settings(database_url=f"sqlite:///{command}/a.db", _env_file=None))
    made.state.features = [*made.state.features, shelves]
    monkeypatch.setattr(transfer, "load_application", lambda: made)
    made.state.database.prepare()
    assert main(["export", str(command / "all.json")]) == 0
    told = capsys.readouterr().err
    assert "left out: photos: schema.py has no PhotoCreate" in told
    assert "left out: tasks" not in told


def test_an_export_needs_a_database_and_creates_none(
    command: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, database = command / "all.json", command / "tracker.db"
    file.write_text("an earlier export")
    assert main(["export", str(file)]) == 2
    assert list(command.iterdir()) == [file]
    database.touch()
    assert main(["export", str(file)]) == 2
    assert capsys.readouterr().err == 2 * (
        f"vibetracker: there is no database {database}, or it has no tables\n"
    )
    assert file.read_text() == "an earlier export"


@pytest.mark.usefixtures("command")
def test_a_pipe_cannot_be_imported(capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    assert main(["import", "--format", "json", f"/dev/fd/{reader}"]) == 2
    os.close(reader)
    assert capsys.readouterr().err == (
        f"vibetracker: /dev/fd/{reader} is a pipe, and can be read only once; import a file\n"
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", '{"tasks": [\n{"title": ""}]}', "line 2"),
        ("a.json", "{", "line 1"),
        ("a.doc", "", "--format"),
        ("missing/a.json", None, "No such file"),
    ],
)
def test_what_cannot_be_imported_is_reported_in_one_line(
    command: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str | None,
    reason: str,
) -> None:
    if content is not None:
        (command / name).write_text(content)
    assert main(["import", str(command / name)]) == 2
    assert reason in capsys.readouterr().err


IN_A_PROJECT = {
    "csv": "title,project\nfirst,open\nsecond,Away\n",
    "ics": todo("X-VIBETRACKER-PROJECT:away"),
    "json": '{"projects": [{"id": 1, "name": "away"}],\n'
    '"tasks": [{"title": "a", "project_id": 1}]}',
    "taskwarrior": '[{"description": "a"},\n{"description": "b", "project": "away"}]',
    "todotxt": "first\nsecond +away\n",
}
"""Files with a task in a project, in their second line or behind it."""


@pytest.mark.parametrize("dry_run", ["false", "true"])
@pytest.mark.parametrize("name", IN_A_PROJECT)
def test_an_archived_project_that_is_there_takes_no_task_of_a_file(
    client: TestClient, name: str, dry_run: str
) -> None:
    project_id = create(client, "projects", name="away", archived=True)
    refused = send(client, f"{name}&dry_run={dry_run}", IN_A_PROJECT[name])
    problem = refused.json()
    assert (refused.status_code, problem["type"]) == (409, "/problems/project-archived")
    assert problem["project_id"] == project_id
    assert problem["line"] > 1
    assert f"Line {problem['line']}: " in problem["detail"]
    assert client.get("/tasks").json()["items"] == []
    assert len(client.get("/projects").json()["items"]) == 1
    client.patch(f"/projects/{project_id}", json={"archived": False})
    assert send(client, name, IN_A_PROJECT[name]).status_code == 200


def test_an_archived_project_of_a_file_comes_with_its_tasks(client: TestClient) -> None:
    create(client, "projects", name="there already")
    projects = [{"id": 7, "name": "away", "archived": True}, {"id": 8, "name": "AWAY"}]
    tasks = [{"title": "a", "project_id": 7 + number % 2} for number in range(2 * PORTION)]
    file = json.dumps({"projects": projects, "tasks": tasks})
    assert send(client, "json", file).json()["created"] == {"projects": 1, "tasks": len(tasks)}
    (away, _) = client.get("/projects?include=task_counts").json()["items"]
    assert (away["archived"], away["task_counts"]["total"]) == (True, len(tasks))
