"""Projects as clients meet them: fields, names, the archive, lists, and each operation."""

from collections import Counter
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.testing import at_once

from .factory import ProjectFactory


def create(client: TestClient, **fields: Any) -> Response:
    return client.post("/projects", json={"name": "Kitchen", **fields})


def names(client: TestClient, query: str = "") -> list[str]:
    return [project["name"] for project in client.get(f"/projects{query}").json()["items"]]


def pointers(response: Response) -> list[str]:
    assert response.status_code == 422, response.text
    return [error["pointer"] for error in response.json()["errors"]]


def test_a_created_project_can_be_read(client: TestClient) -> None:
    created = create(client, name=" Kitchen ", color="#AABBCC", description="# New\n\none")
    assert created.status_code == 201
    assert (created.headers["location"], created.headers["etag"]) == ("/projects/1", '"1"')
    project = created.json()
    assert project.pop("created_at") == project.pop("updated_at")
    assert project == {
        "id": 1,
        "name": "Kitchen",
        "description": "# New\n\none",
        "color": "#aabbcc",
        "archived": False,
        "archived_at": None,
        "version": 1,
    }
    read = client.get("/projects/1")
    assert (read.json(), read.headers["etag"]) == (created.json(), '"1"')
    assert client.get("/projects").json()["items"] == [created.json()]


BROKEN: list[tuple[str, object]] = [
    *(("name", value) for value in ("", " ", "x" * 201, "a\nb", None, 1)),
    *(("description", value) for value in ("x" * 50_001, "a\0", None)),
    *(("color", value) for value in ("red", "#fff", 1)),
    *(("archived", value) for value in (None, "true", 1)),
    *(("archived_at", value) for value in (None, "2026-01-01T00:00:00Z")),
    *(("id", 7), ("unknown", 1)),
]


def test_a_field_that_breaks_its_rule_is_refused(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    ProjectFactory.create(name="old")
    before = client.get("/projects/1").json()
    for field, value in BROKEN:
        with subtests.test(f"{field} {value!r:.40}"):
            assert pointers(create(client, **{field: value})) == [f"/{field}"]
            assert pointers(client.patch("/projects/1", json={field: value})) == [f"/{field}"]
            assert client.get("/projects").json()["items"] == [before]


def test_a_name_is_taken_whatever_its_case(client: TestClient) -> None:
    ProjectFactory.create(name="first")
    ProjectFactory.create(name="Straße")
    for name in ("STRASSE", " straße "):
        answers = [
            create(client, name=name),
            client.post("/projects?dry_run=true", json={"name": name}),
            client.patch("/projects/1", json={"name": name}),
        ]
        for answer in answers:
            assert answer.status_code == 409
            problem = answer.json()
            assert problem["type"] == "/problems/project-name-taken"
            assert problem["existing_id"] == 2
            assert "2" in problem["detail"]
    assert client.patch("/projects/2", json={"name": "STRASSE"}).json()["version"] == 2
    client.delete("/projects/2")
    assert create(client, name="straße").status_code == 201


def test_of_many_that_create_the_same_project_one_succeeds(busy_client: TestClient) -> None:
    def work(number: int) -> Response:
        return create(busy_client, name="KITCHEN" if number % 2 else "kitchen")

    answers = at_once(work)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 15}
    existing = {answer.json()["existing_id"] for answer in answers if answer.status_code == 409}
    assert existing == {answer.json()["id"] for answer in answers if answer.status_code == 201}


def test_the_archive_has_a_date(client: TestClient) -> None:
    new = create(client, archived=True).json()
    assert new["archived_at"] == new["created_at"] == new["updated_at"]
    before = create(client, name="b").json()
    archived = client.patch("/projects/2", json={"archived": True}).json()
    assert archived["archived_at"] >= before["updated_at"]
    assert archived["version"] == 2
    again = client.patch("/projects/2", json={"archived": True, "name": "b"})
    assert again.json() == archived
    back = client.patch("/projects/2", json={"archived": False}).json()
    assert (back["archived"], back["archived_at"], back["version"]) == (False, None, 3)


def test_a_patch_changes_what_it_names_and_a_change_of_nothing_is_none(client: TestClient) -> None:
    before = create(client, color="#000000", description="old").json()
    assert client.patch("/projects/1", json={"description": "old", "name": " Kitchen "}).json() == (
        before
    )
    changed = client.patch("/projects/1", json={"color": None, "description": ""})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    after = changed.json()
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == {**before, "color": None, "description": "", "version": 2}


def test_a_dry_run_commits_nothing(client: TestClient) -> None:
    ProjectFactory.create(name="old")
    before = client.get("/projects").json()
    made = client.post("/projects?dry_run=true", json={"name": "new"})
    assert (made.status_code, made.json()["name"]) == (200, "new")
    renamed = client.patch("/projects/1?dry_run=true", json={"archived": True})
    assert (renamed.json()["archived"], "etag" in renamed.headers) == (True, False)
    assert client.delete("/projects/1?dry_run=true").status_code == 204
    assert client.get("/projects").json() == before


def test_a_version_that_is_not_current_is_refused(client: TestClient) -> None:
    create(client)
    headers = {"If-Match": '"7"'}
    for answer in (
        client.patch("/projects/1", json={"name": "b"}, headers=headers),
        client.delete("/projects/1", headers=headers),
        client.delete("/projects/1?tasks=keep", headers=headers),
    ):
        assert (answer.status_code, answer.headers["etag"]) == (412, '"1"')
    assert client.get("/projects/1", headers={"If-None-Match": '"1"'}).status_code == 304
    assert client.delete("/projects/1", headers={"If-Match": '"1"'}).status_code == 204


def test_a_creation_can_be_repeated_with_its_key(client: TestClient) -> None:
    answers = [
        client.post("/projects", json={"name": "a"}, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert names(client) == ["a"]


@pytest.mark.parametrize("query", ["", "?tasks=keep", "?tasks=trash"])
def test_an_empty_project_is_deleted_whatever_should_become_of_its_tasks(
    client: TestClient, query: str
) -> None:
    create(client)
    assert client.delete(f"/projects/1{query}").status_code == 204
    assert client.get("/projects/1").status_code == 404
    assert client.delete(f"/projects/1{query}").status_code == 404
    assert create(client).json()["id"] == 2


def test_another_choice_for_the_tasks_is_refused(client: TestClient) -> None:
    create(client)
    answer = client.delete("/projects/1?tasks=move")
    assert answer.status_code == 422
    assert [error["parameter"] for error in answer.json()["errors"]] == ["tasks"]


def test_projects_are_sorted_by_name_whatever_its_case(client: TestClient) -> None:
    for name in ("f", "C", "a", "É"):
        create(client, name=name)
    assert names(client) == ["a", "C", "É", "f"]
    assert names(client, "?sort=-name") == ["f", "É", "C", "a"]
    assert names(client, "?sort=id") == ["f", "C", "a", "É"]
    client.patch("/projects/2", json={"color": "#000000"})
    assert names(client, "?sort=-updated_at")[0] == "C"
    assert names(client, "?sort=-created_at")[0] == "É"


def test_tasks_are_counted_where_that_is_asked_for(client: TestClient) -> None:
    project = create(client).json()
    counts = {"total": 0, "open": 0, "done": 0, "cancelled": 0}
    for query in ("/projects/1?include=task_counts", "/projects?include=task_counts"):
        answer = client.get(query)
        assert (answer.status_code, "etag" in answer.headers) == (200, False)
        (shown,) = answer.json().get("items", [answer.json()])
        assert shown == {**project, "task_counts": counts}


def test_a_list_comes_in_pages(client: TestClient) -> None:
    ProjectFactory.create_batch(5)
    seen, cursor, suffix = [], "", ""
    while cursor is not None:
        if cursor:
            # A cursor holds whatever ``include`` adds to the items.
            suffix = f"&include=task_counts&cursor={cursor}"
        page = client.get(f"/projects?limit=2&include_total=true{suffix}").json()
        assert page["total"] == 5
        seen += [project["id"] for project in page["items"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == [1, 2, 3, 4, 5]


def test_the_list_is_narrowed_down(client: TestClient) -> None:
    for name, archived in (("Café 100%", False), ("CAFE au lait", True), ("Łódź", False)):
        create(client, name=name, archived=archived)
    for query, found in (
        ("q=cafe", ["Café 100%", "CAFE au lait"]),
        ("q=CAF%C3%89&archived=false", ["Café 100%"]),
        ("q=lait%20caf", ["CAFE au lait"]),
        ("q=lodz", ["Łódź"]),
        ("q=%25", ["Café 100%"]),
        ("q=_", []),
        ("q=%CC%81", []),
        ("archived=TRUE", ["CAFE au lait"]),
        ("q=", ["Café 100%", "CAFE au lait", "Łódź"]),
    ):
        assert names(client, f"?{query}") == found, query


@pytest.mark.parametrize(
    "change",
    [
        "name = ''",
        "key = 'b'",
        "archived = true",
        "archived_at = '2026-01-01'",
        f"description = '{'x' * 50_001}'",
    ],
    ids=lambda change: str(change)[:20],
)
def test_the_database_enforces_the_rules_too(database: Database, change: str) -> None:
    ProjectFactory.create(name="a")
    ProjectFactory.create(name="b")
    with pytest.raises(IntegrityError), database.engine.begin() as connection:
        connection.execute(text(f"UPDATE projects SET {change} WHERE id = 1"))  # noqa: S608 - it is the SQL that is tested
