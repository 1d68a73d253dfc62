"""Idempotency-Key: a POST can be repeated, and has its effect once."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import delete, insert, select, text, update
from starlette.testclient import TestClient

from vibetracker.core.api.idempotency import StoredResponse
from vibetracker.core.db.database import Database, lock
from vibetracker.core.db.model import Base
from vibetracker.core.db.types import utcnow
from vibetracker.testing import pages_read

from .operations import errors_of, operations

JSON = {"Content-Type": "application/json"}


def create(specimens: TestClient, key: str, label: str = "a", **options: Any) -> Response:
    headers = {"Idempotency-Key": key, **options.pop("headers", {})}
    return specimens.post("/specimens", json={"label": label}, headers=headers, **options)


def labels(specimens: TestClient) -> list[str]:
    return [item["label"] for item in specimens.get("/specimens?sort=id").json()["items"]]


def test_the_stored_response_is_replayed_byte_for_byte(specimens: TestClient) -> None:
    first = create(specimens, "k")
    # Later changes of the resource do not change the stored response.
    specimens.patch("/specimens/1", json={"note": "changed", "label": "b"})
    again = create(specimens, "k")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    own = {"idempotency-replayed", "x-request-id", "date"}
    kept = {name: value for name, value in again.headers.items() if name not in own}
    assert kept == {name: value for name, value in first.headers.items() if name not in own}
    assert kept["location"] == "/specimens/1"
    assert kept["etag"] == '"1"'
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert labels(specimens) == ["b"]


def test_an_action_on_a_resource_has_its_effect_once(specimens: TestClient) -> None:
    create(specimens, "create")
    headers = {"Idempotency-Key": "weigh", "If-Match": '"1"'}
    answers = [
        specimens.post("/specimens/1/weigh", json={"weight": 5}, headers=headers) for _ in range(3)
    ]
    # The precondition held when the request had its effect, and is not checked again.
    assert {answer.content for answer in answers} == {answers[0].content}
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert specimens.get("/specimens/1").json()["version"] == 2


@pytest.mark.parametrize(
    ("url", "content"),
    [
        ("/specimens", b'{"label": "b"}'),
        ("/specimens", b'{"label":"a"}'),
        ("/specimens?dry_run=false", b'{"label": "a"}'),
        ("/specimens/1/weigh", b'{"weight": 1}'),
    ],
)
def test_a_key_stands_for_one_request(specimens: TestClient, url: str, content: bytes) -> None:
    headers = {**JSON, "Idempotency-Key": "k"}
    assert specimens.post("/specimens", content=b'{"label": "a"}', headers=headers).is_success
    response = specimens.post(url, content=content, headers=headers)
    assert response.status_code == 422
    assert response.json()["type"] == "/problems/idempotency-key-reused"
    assert labels(specimens) == ["a"]
    assert specimens.get("/specimens/1").json()["version"] == 1


FAILURES: list[tuple[str, dict[str, Any], int]] = [
    ("/specimens", {"json": {}}, 422),
    ("/specimens", {"content": b"{", "headers": JSON}, 400),
    ("/specimens", {"content": b"x"}, 415),
    ("/specimens", {"json": {"label": "taken"}}, 409),
    ("/specimens/4711/weigh", {"json": {"weight": 1}}, 404),
    ("/specimens/1/weigh", {"json": {"weight": 1}, "headers": {"If-Match": '"9"'}}, 412),
    ("/specimens/1/drop", {}, 500),
    ("/specimens", {"json": {"label": "b", "twin_id": 4711}}, 409),
]


@pytest.mark.parametrize(("url", "options", "status"), FAILURES)
def test_a_request_that_failed_leaves_its_key_free(
    specimens: TestClient, url: str, options: dict[str, Any], status: int
) -> None:
    create(specimens, "other", label="taken")
    headers = {**options.get("headers", {}), "Idempotency-Key": "k"}
    for _ in range(2):
        failed = specimens.post(url, **{**options, "headers": headers})
        assert failed.status_code == status
        assert "idempotency-replayed" not in failed.headers
    assert create(specimens, "k").status_code == 201


def test_a_dry_run_leaves_its_key_free_and_is_another_request(specimens: TestClient) -> None:
    for _ in range(2):
        assert create(specimens, "k", params={"dry_run": "true"}).status_code == 200
    assert create(specimens, "k").status_code == 201
    tried = create(specimens, "k", params={"dry_run": "true"})
    assert (tried.status_code, tried.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert create(specimens, "k").headers["idempotency-replayed"] == "true"


def test_a_key_is_visible_ascii(specimens: TestClient) -> None:
    for key in ("k", "!", "~" * 255, "8e03978e-40d5-43e8-bc93-6894a57f9324", '"q"', "a,b;c=d"):
        assert create(specimens, key, label=key[:9]).status_code == 201
        assert create(specimens, key, label=key[:9]).headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("dry_run", ["true", "false"])
def test_another_key_is_refused(specimens: TestClient, dry_run: str) -> None:
    for key in ("", "a b", "k" * 256, "é", "\x7f", "a\tb"):
        headers = {"Idempotency-Key": key.encode()}
        url = f"/specimens?dry_run={dry_run}"
        (error,) = errors_of(specimens, "POST", url, json={"label": "a"}, headers=headers)
        assert error["header"] == "Idempotency-Key"
    assert labels(specimens) == []


def test_two_keys_are_refused(specimens: TestClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    (error,) = errors_of(specimens, "POST", "/specimens", json={"label": "a"}, headers=headers)
    assert error["header"] == "Idempotency-Key"


def test_keys_differ_in_case(specimens: TestClient) -> None:
    assert create(specimens, "key", label="a").status_code == 201
    assert create(specimens, "KEY", label="b").status_code == 201


def test_a_key_is_stored_for_a_day_and_then_deleted(
    specimens: TestClient, database: Database
) -> None:
    create(specimens, "k", label="a")
    create(specimens, "other", label="b")
    _let_pass(database, timedelta(hours=23, minutes=59))
    assert create(specimens, "k", label="a").headers["idempotency-replayed"] == "true"

    _let_pass(database, timedelta(minutes=2))
    response = create(specimens, "k", label="c")
    assert response.status_code == 201
    assert "idempotency-replayed" not in response.headers
    with database.engine.connect() as connection:
        assert list(connection.scalars(select(StoredResponse.key))) == ["k"]


def test_a_sweep_reads_few_pages_where_postgresql_takes_the_table_for_empty(
    specimens: TestClient, database: Database, statements: list[tuple[str, Any]]
) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("the statistics are PostgreSQL's")
    table = Base.metadata.tables[StoredResponse.__tablename__]
    ages = [timedelta(days=2)] * 40 + [timedelta()] * 2_000
    rows = [
        {
            "key": f"{number}",
            "fingerprint": b"",
            "status": 200,
            "headers": "[]",
            "body": b"",
            "created_at": utcnow() - age,
        }
        for number, age in enumerate(ages)
    ]
    with database.engine.connect() as connection:
        connection.execute(insert(table), rows)
        connection.execute(delete(table))
        connection.execute(text(f"VACUUM (TRUNCATE false) {table.name}"))
        connection.execute(insert(table), rows)
        statements.clear()
        assert create(specimens, "k").status_code == 201
        swept = [it for it in statements if table.name in it[0] and "INSERT" not in it[0]]
        assert sum(pages_read(connection, *statement) for statement in swept) < 500


def _let_pass(database: Database, time: timedelta) -> None:
    """Make every stored response older."""
    with database.engine.begin() as connection:
        created_at = connection.scalars(select(StoredResponse.created_at)).first()
        assert created_at is not None
        connection.execute(update(StoredResponse).values(created_at=created_at - time))


def test_a_key_holds_for_another_process(specimens: TestClient, specimen_app: FastAPI) -> None:
    first = create(specimens, "k")
    # No state of it is in this process: a new client has a new event loop and new threads.
    with TestClient(specimen_app) as replica:
        assert create(replica, "k").content == first.content
    assert labels(specimens) == ["a"]


@pytest.fixture
def key_in_flight(database: Database) -> Iterator[str]:
    """Claim a key in a transaction that stays open; needs PostgreSQL."""
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite lets one transaction write at a time, so that none meets another")
    with database.session(write=True) as session:
        lock(session, "idempotency k")
        yield "k"


def test_a_key_in_flight_is_a_conflict_to_try_again(
    specimens: TestClient, key_in_flight: str
) -> None:
    response = create(specimens, key_in_flight)
    assert response.status_code == 409
    assert response.json()["type"] == "/problems/idempotency-key-in-flight"
    assert int(response.headers["retry-after"]) >= 1
    assert create(specimens, "another").status_code == 201


def test_every_post_that_writes_takes_a_key_and_nothing_else_does(
    app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            takes_key = "Idempotency-Key" in operation.parameters("header")
            assert takes_key == (operation.method == "POST" and operation.writes)
