"""Streams send past changes and new ones, to clients that keep up with reading."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.sse import ServerSentEvent
from sqlalchemy import update
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.core.db.types import utcnow
from vibetracker.features.changes import router as changes_router
from vibetracker.features.changes import watcher
from vibetracker.features.changes.bell import Bell
from vibetracker.features.changes.feed import Cursor
from vibetracker.features.changes.model import Entry

from .conftest import ServerSent, Stream
from .factory import EntryFactory
from .memos import Memo
from .test_changes import create, feed


@contextmanager
def following(client: TestClient, path: str = "", **headers: str) -> Iterator[Stream]:
    """Follow the changes, past the event that says where the stream begins."""
    with Stream(client, f"/changes/stream{path}", headers) as stream:
        assert stream.status == 200
        first = stream.read()
        assert first is not None
        assert first.id
        yield stream


def texts(stream: Stream, count: int) -> list[str]:
    """Return the texts that the next changes have set."""
    found = []
    for _ in range(count):
        event = stream.read()
        assert event is not None
        found.append(json.loads(event.data)["changes"]["text"][1])
    return found


def test_a_follower_that_comes_while_the_last_one_goes_gets_new_changes(database: Database) -> None:
    async def come_and_go() -> None:
        watching = watcher.Watcher.of(database)
        last = watching.watching(None)
        await last.__aenter__()
        going = asyncio.create_task(last.__aexit__(None, None, None))
        await asyncio.sleep(0)
        async with watching.watching(None):
            news = watching.news
            EntryFactory.create()
            await asyncio.wait_for(news.wait(), 10)
        await going

    asyncio.run(come_and_go())


def test_its_header_fields_are_those_of_the_document(memos: TestClient, memos_app: FastAPI) -> None:
    answer = memos.head("/changes/stream")
    operation = memos_app.openapi()["paths"]["/changes/stream"]["get"]
    for name in ("Cache-Control", "X-Accel-Buffering"):
        listed = operation["responses"]["200"]["headers"][name]
        assert listed["schema"]["const"] == answer.headers[name]


def test_it_sends_past_changes_and_new_ones(memos: TestClient) -> None:
    create(memos, "a")
    with following(memos) as stream:
        first = stream.read()
        create(memos, "b")
        second = stream.read()
    one, two = feed(memos)["items"]
    cursor = feed(memos, limit=1)["next_cursor"]
    assert first is not None
    assert second is not None
    assert first == ServerSent(cursor, "memos.created", first.data)
    assert (json.loads(first.data), json.loads(second.data)) == (one, two)
    assert feed(memos, after=first.id)["items"] == [two]
    with following(memos, **{"Last-Event-ID": first.id}) as stream:
        assert stream.read() == second
    with following(memos, f"?after={first.id}") as stream:
        assert stream.read() == second


def test_now_is_where_it_begins_and_other_features_are_left_out(memos: TestClient) -> None:
    create(memos, "a")
    with following(memos, "?after=now") as stream, following(memos, "?resource=others") as other:
        create(memos, "b")
        assert texts(stream, 1) == ["b"]
        EntryFactory.create(resource="others", changes='{"text":["a","c"]}')
        assert texts(other, 1) == ["c"]


def resumes(client: TestClient, event: ServerSent | None) -> bool:
    """Return whether the id of an event is a place to go on from."""
    assert event is not None
    headers = {"Last-Event-ID": event.id}
    return client.head("/changes/stream?resource=nothing", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["", "?resource=nothing", "?resource=tags", "?resource=others"])
def test_a_stream_begins_with_a_place_that_has_not_expired(
    memos: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for name in ("CLOCK", "QUICK_CLOCK"):
        monkeypatch.setattr(watcher, name, 0.02)
    EntryFactory.create_batch(2, at=utcnow() - timedelta(days=31))
    EntryFactory.create(resource="others")
    with Stream(memos, f"/changes/stream{path}", {}) as stream:
        first = stream.read()
    assert resumes(memos, first)
    assert first is not None
    with following(memos, path, **{"Last-Event-ID": first.id}) as stream:
        EntryFactory.create(resource="nothing", resource_id=4)
        EntryFactory.create_batch(2, resource="tags", resource_id=5)
        EntryFactory.create(resource="others", resource_id=6)
        event = stream.read()
    assert event is not None
    of = {"": 1, "?resource=nothing": 4, "?resource=tags": 5, "?resource=others": 1}
    assert json.loads(event.data)["resource_id"] == of[path]


def test_a_place_moves_on_with_what_is_left_out(
    memos: TestClient, monkeypatch: pytest.MonkeyPatch, busy_database: Database
) -> None:
    for name in ("MOVES_ON", "CLOCK", "QUICK_CLOCK"):
        monkeypatch.setattr(watcher, name, 0.02)
    EntryFactory.create(resource="others")
    EntryFactory.create()
    with following(memos, "?resource=others") as stream:
        assert [event.event for _ in range(2) if (event := stream.read())] == ["others.updated", ""]
        EntryFactory.create()
        moved = stream.read()
        with busy_database.session(write=True) as session:
            session.execute(update(Entry).values(at=utcnow() - timedelta(days=31)))
            session.commit()
        EntryFactory.create(resource="others")
        event = stream.read()
    assert moved is not None
    assert (moved.event, moved.data) == ("", "")
    assert event is not None
    assert event.event == "others.updated"
    assert resumes(memos, moved)


def test_changes_of_another_server_are_sent(memos: TestClient, busy_database: Database) -> None:
    with following(memos, "?after=now") as stream:
        # Through other connections, as another process has them; its bell wakes nobody here.
        with busy_database.session(write=True) as session:
            session.add(Memo(text="of another"))
            session.flush()
            session.info.pop(Bell, None)
            session.commit()
        assert texts(stream, 1) == ["of another"]


def test_the_number_of_streams_is_limited(
    memos: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_router, "MAX_STREAMS", 2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(following(memos))
        refused = memos.get("/changes/stream")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    with following(memos):
        pass


def test_a_reader_that_is_too_far_behind_is_dropped(
    memos: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "UNREAD", 3)
    follower = watcher.Follower([])
    for number in range(5):
        follower.offer("memos", Cursor(0, number), ServerSentEvent(id=str(number)))
    portal = memos.portal
    assert portal is not None
    assert portal.call(follower.next) is None


def test_it_ends_when_the_server_drains(memos: TestClient) -> None:
    draining = memos.app_state["draining"]
    portal = memos.portal
    assert portal is not None
    try:
        with following(memos) as stream:
            portal.call(draining.set)
            assert stream.read() is None
            assert stream.is_over
    finally:
        portal.call(draining.clear)
