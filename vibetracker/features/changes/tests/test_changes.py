"""The journal has every change once, in order, until it expires."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import delete, func, insert, select, text
from starlette.testclient import TestClient

from vibetracker.core.db.changes import call_listeners
from vibetracker.core.db.database import Database
from vibetracker.core.db.types import utcnow
from vibetracker.features.changes import listener
from vibetracker.features.changes.model import Action, Entry, entries
from vibetracker.testing import pages_read

from .factory import EntryFactory
from .memos import Memo

type Json = dict[str, Any]


def create(client: TestClient, text: str, **headers: str) -> Json:
    """Create a memo."""
    answer = client.post("/memos", json={"text": text}, headers=headers)
    assert answer.status_code == 201, answer.text
    memo: Json = answer.json()
    return memo


def feed(client: TestClient, **params: Any) -> Json:
    """Get a page of the changes."""
    answer = client.get("/changes", params=params)
    assert answer.status_code == 200, answer.text
    page: Json = answer.json()
    return page


def summary(page: Json) -> list[tuple[int, str, int]]:
    """Return the id of the resource, the action and the version of each change."""
    return [(it["resource_id"], it["action"], it["version"]) for it in page["items"]]


def test_each_new_version_is_one_change(memos: TestClient) -> None:
    memo = create(memos, "a", **{"X-Request-ID": "first"})
    seen = "2026-01-02T03:04:05Z"
    memos.patch("/memos/1", json={"text": "b", "seen_at": seen})
    memos.delete("/memos/1")
    page = feed(memos)
    assert summary(page) == [(1, "created", 1), (1, "updated", 2), (1, "deleted", 2)]
    created, updated, deleted = page["items"]
    at = memo["created_at"]
    assert created["changes"] == {
        "id": [None, 1],
        "text": [None, "a"],
        "pinned": [None, False],
        "created_at": [None, at],
    }
    assert (created["request_id"], created["resource"]) == ("first", "memos")
    assert updated["changes"] == {"text": ["a", "b"], "seen_at": [None, seen]}
    assert deleted["changes"] == {
        "id": [1, None],
        "text": ["b", None],
        "pinned": [False, None],
        "seen_at": [seen, None],
        "created_at": [at, None],
    }
    assert created["at"] <= updated["at"] <= deleted["at"]


def test_what_changes_nothing_is_none(memos: TestClient) -> None:
    key = {"Idempotency-Key": "k"}
    create(memos, "a", **key)
    create(memos, "a", **key)
    assert memos.patch("/memos/1", json={"text": "a"}).json()["version"] == 1
    assert memos.patch("/memos/1", json={"text": "b"}, params={"dry_run": True}).is_success
    assert memos.post("/memos", json={"text": "a"}).status_code == 409
    assert summary(feed(memos)) == [(1, "created", 1)]


def test_what_a_row_does_not_have_and_what_json_does_not_have_is_left_out(
    memos: TestClient,
) -> None:
    frame = memos.post("/memos/frames")
    assert (frame.status_code, frame.json()["size"]) == (201, 1)
    found = {it["resource"]: {*it["changes"]} for it in feed(memos)["items"]}
    assert found == {"frames": {"id", "name"}, "pictures": {"id", "name", "created_at"}}


def test_cursors_show_everything_once_and_now_only_what_comes(memos: TestClient) -> None:
    for number in range(5):
        create(memos, f"memo {number}")
    seen, page = [], feed(memos, limit=2)
    seen += summary(page)
    while page["has_more"]:
        page = feed(memos, limit=2, after=page["next_cursor"])
        seen += summary(page)
    assert seen == [(number, "created", 1) for number in range(1, 6)]
    by_link: list[Any] = []
    url: str | None = "/changes?limit=2&resource=memos"
    while url:
        answer = memos.get(url)
        by_link += summary(answer.json())
        url = answer.links.get("next", {}).get("url")
    assert by_link == seen
    assert feed(memos, after=page["next_cursor"])["items"] == []
    now = feed(memos, after="now")
    assert (now["items"], now["has_more"]) == ([], False)
    create(memos, "late")
    for cursor in (now["next_cursor"], page["next_cursor"]):
        assert summary(feed(memos, after=cursor)) == [(6, "created", 1)]


def test_a_cursor_is_of_what_is_stored_and_not_of_transactions_that_a_crash_forgets(
    memos: TestClient,
) -> None:
    create(memos, "a")
    cursor = feed(memos)["next_cursor"]
    assert memos.patch("/memos/1", json={"text": "b"}, params={"dry_run": True}).is_success
    assert feed(memos, after=cursor)["next_cursor"] == cursor
    assert feed(memos, after="now")["next_cursor"] == cursor


def test_what_is_not_asked_for_is_not_read(
    client: TestClient, statements: list[tuple[str, Any]]
) -> None:
    EntryFactory.create_batch(2)
    answer = client.get("/changes?limit=1&fields=resource,action")
    assert answer.json()["items"] == [{"resource": "tags", "action": "updated"}]
    assert "fields=" in answer.links["next"]["url"]
    (sql, _) = statements[-1]
    assert "changes.changes" not in sql


def test_filters_narrow_the_feed_down(memos: TestClient) -> None:
    create(memos, "a", **{"X-Request-ID": "one"})
    create(memos, "b", **{"X-Request-ID": "two"})
    EntryFactory.create(resource="others", resource_id=1)
    assert len(feed(memos, resource_id=1)["items"]) == 2
    assert summary(feed(memos, resource_id=1, resource="memos")) == [(1, "created", 1)]
    assert summary(feed(memos, request_id="two")) == [(2, "created", 1)]
    assert len(feed(memos, resource=["memos", "others"])["items"]) == 3
    page = feed(memos, resource="nothing")
    assert page["items"] == []
    # A filter that nothing has matched for long does not hold its cursor back.
    assert feed(memos, after=page["next_cursor"])["items"] == []


@pytest.mark.parametrize(
    "cursor", ["x", "AAAA", "MC4x", "MC4xLjA", "LTEuMC4w", "z" * 101, "-_-_", "MC40LmYxOTljMTFj"]
)
def test_a_malformed_cursor_is_refused(memos: TestClient, cursor: str) -> None:
    (fault,) = memos.get("/changes", params={"after": cursor}).json()["errors"]
    assert fault["parameter"] == "after"
    (fault,) = memos.get("/changes/stream", headers={"Last-Event-ID": cursor}).json()["errors"]
    assert fault["header"] == "Last-Event-ID"


def test_waiting_ends_with_the_first_change_that_is_asked_for(memos: TestClient) -> None:
    cursor = feed(memos, after="now")["next_cursor"]
    assert feed(memos, after=cursor, wait=0)["items"] == []
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(feed, memos, after=cursor, wait=30, resource_id=2)
        create(memos, "a")
        assert not waiting.done()
        create(memos, "b")
        assert summary(waiting.result(10)) == [(2, "created", 1)]


def test_one_change_is_found_by_its_id(memos: TestClient) -> None:
    create(memos, "a")
    (change,) = feed(memos)["items"]
    answer = memos.get("/changes/1")
    assert answer.json() == change
    etag = {"If-None-Match": answer.headers["ETag"]}
    assert memos.get("/changes/1", headers=etag).status_code == 304
    assert memos.get("/changes/2").status_code == 404


def test_what_has_expired_is_gone_and_a_cursor_that_missed_it_is_refused(memos: TestClient) -> None:
    start = feed(memos)["next_cursor"]
    old = utcnow() - timedelta(days=31)
    EntryFactory.create(at=old)
    assert feed(memos)["items"] == []
    EntryFactory.create(at=old, resource_id=2)
    passed = feed(memos, after="now")["next_cursor"]
    EntryFactory.create(resource_id=3)
    answer = memos.get("/changes", params={"after": start})
    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/changes-expired")
    # In this order no change is missed that is made meanwhile.
    assert re.search("after=now.* then read the lists", answer.json()["detail"])
    assert memos.get("/changes/stream", headers={"Last-Event-ID": start}).status_code == 410
    assert [it["resource_id"] for it in feed(memos)["items"]] == [3]
    assert [it["resource_id"] for it in feed(memos, after=passed)["items"]] == [3]
    assert memos.get("/changes/2").status_code == 404


def test_a_cursor_that_the_journal_has_not_reached_is_gone(
    memos: TestClient, busy_database: Database
) -> None:
    create(memos, "a")
    cursor = feed(memos)["next_cursor"]
    with busy_database.session(write=True) as session:
        # As after a restore from a backup, or a crash that lost the last commits.
        session.execute(delete(Entry))
        session.commit()
    answer = memos.get("/changes", params={"after": cursor})
    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/changes-expired")
    assert memos.get("/changes/stream", params={"after": cursor}).status_code == 410
    assert feed(memos, after=feed(memos, after="now")["next_cursor"])["items"] == []


def test_writers_delete_expired_changes_in_portions(
    memos: TestClient, monkeypatch: pytest.MonkeyPatch, busy_database: Database
) -> None:
    monkeypatch.setattr(listener, "SWEPT_EACH", 1)
    monkeypatch.setattr(listener, "SWEPT_AT_ONCE", 4)
    old = utcnow() - timedelta(days=31)
    EntryFactory.create_batch(7, at=old)
    kept = []
    for number in range(3):
        create(memos, f"memo {number}")
        with busy_database.session(write=False) as session:
            kept.append(session.scalar(select(func.count()).where(Entry.at <= old)))
    # The last one stays, so that cursors that missed the others are recognised.
    assert kept == [3, 1, 1]
    assert len(feed(memos)["items"]) == 3


def test_a_sweep_reads_few_pages_where_postgresql_takes_the_journal_for_empty(
    database: Database, statements: list[tuple[str, Any]]
) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("the statistics are PostgreSQL's")
    row = {"request_id": "", "resource": "tags", "action": Action.UPDATED, "changes": "{}"}
    ages = [timedelta(days=31)] * 40 + [timedelta()] * 2_000
    rows = [row | {"resource_id": 1, "version": 1, "at": utcnow() - age} for age in ages]
    with database.engine.connect() as connection, database.session(write=True) as session:
        # Created again, since PostgreSQL has statistics of the columns, too.
        entries.drop(connection)
        entries.create(connection)
        connection.execute(insert(Entry), rows)
        connection.execute(delete(Entry))
        connection.execute(text("VACUUM (TRUNCATE false) changes"))
        session.execute(insert(Entry), rows)
        session.commit()
        statements.clear()
        listener.sweep(session)
        sent = [it for it in statements if "changes" in it[0]]
        session.rollback()
        assert sum(pages_read(connection, *statement) for statement in sent) < 500


@pytest.fixture
def held(request: pytest.FixtureRequest, busy_database: Database) -> Callable[..., Any]:
    """Return a function that begins a transaction which stays open."""
    request.getfixturevalue("memos")
    if busy_database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite writes one transaction at a time")

    def begin(text: str) -> Any:
        session = busy_database.session(write=True)
        session.add(Memo(text=text))
        call_listeners(session)
        return session

    return begin


def test_a_transaction_that_is_committed_late_is_not_missed(
    memos: TestClient, held: Callable[..., Any]
) -> None:
    cursor = feed(memos)["next_cursor"]
    late = held("late")
    create(memos, "early")
    page = feed(memos, after=cursor)
    assert page["items"] == []
    also_late = held("also late")
    late.commit()
    page = feed(memos, after=page["next_cursor"])
    assert {it["changes"]["text"][1] for it in page["items"]} == {"late", "early"}
    create(memos, "last")
    also_late.commit()
    page = feed(memos, after=page["next_cursor"])
    assert {it["changes"]["text"][1] for it in page["items"]} == {"also late", "last"}
    for session in (late, also_late):
        session.close()


def test_versions_come_in_order_though_their_transactions_began_in_another(
    memos: TestClient, held: Callable[..., Any]
) -> None:
    create(memos, "memo")
    cursor = feed(memos)["next_cursor"]
    first = held("began first")
    second = held("holds everything up")
    # Version 2 is of a transaction that begins after the one of version 3.
    memos.patch("/memos/1", json={"text": "version 2"})
    first.get_one(Memo, 1).text = "version 3"
    first.commit()
    pages = [feed(memos, after=cursor)]
    second.commit()
    pages.append(feed(memos, after=pages[0]["next_cursor"]))
    found = [it for page in pages for it in page["items"] if it["resource_id"] == 1]
    assert [(it["version"], it["changes"]["text"][1]) for it in found] == [
        (2, "version 2"),
        (3, "version 3"),
    ]
    for session in (first, second):
        session.close()


def test_a_transaction_that_writes_no_change_yet_holds_none_up(
    memos: TestClient, busy_database: Database, held: Callable[..., Any]
) -> None:
    create(memos, "memo")
    cursor = feed(memos)["next_cursor"]
    with busy_database.session(write=True) as early:
        early.execute(text("SELECT pg_current_xact_id()"))
        create(memos, "meanwhile")
        page = feed(memos, after=cursor)
        assert [it["changes"]["text"][1] for it in page["items"]] == ["meanwhile"]
        early.add(Memo(text="begun early"))
        call_listeners(early)
        # It is behind the cursors that have passed it, and nothing passes it any more.
        late = held("begun late")
        late.commit()
        assert feed(memos, after=page["next_cursor"])["items"] == []
        early.commit()
        page = feed(memos, after=page["next_cursor"])
        found = {it["changes"]["text"][1] for it in page["items"]}
        assert found == {"begun early", "begun late"}
        late.close()


def test_what_is_written_is_no_change_itself(app: FastAPI, client: TestClient) -> None:
    listening = [feature.name for feature in app.state.features if feature.listener]
    assert "changes" in listening
    EntryFactory.create()
    assert len(client.get("/changes").json()["items"]) == 1
