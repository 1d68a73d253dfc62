"""The change operations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field

from vibetracker.core.api.cursors import Binding
from vibetracker.core.api.fields import Fields
from vibetracker.core.api.paging import DEFAULT_LIMIT, MAX_LIMIT
from vibetracker.core.api.preconditions import check
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.schema import FROM_DIGITS, Members, UrlId
from vibetracker.core.api.session import DatabaseDep, SessionDep
from vibetracker.core.db.changes import call_listeners
from vibetracker.core.db.database import Database
from vibetracker.core.http.boundary import DRAINING
from vibetracker.core.http.problems import Gone, NotFound, Unavailable

from .feed import (
    NOW,
    START,
    Cursor,
    Json,
    Stretch,
    Wanted,
    boundary,
    entries_of,
    entries_with,
    members,
    reading,
    stretch,
)
from .listener import note_written
from .problems import ChangeIrrevocable, ChangeOvertaken, ChangesExpired
from .schema import (
    ChangeFeed,
    ChangeRead,
    RequestId,
    RequestRevert,
    RevertedRequest,
    RevertedResource,
)
from .undo import owners, revert
from .watcher import READ_AT_ONCE, Follower, Watcher, event_of, place_of

router = Router("/changes", description="What has changed, to be followed and undone.")

MAX_STREAMS = 100
"""Streams of one worker."""
FIRST_RETRY = 1000
"""Milliseconds until a client comes back whose stream has ended."""

EXAMPLE = """\
event: tasks.updated
data: {"id":7,"resource":"tasks","resource_id":1,"action":"updated","version":2}
id: MC43LmI1ZjQ5YzVi

"""
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events without an end.",
        "content": {"text/event-stream": {"example": EXAMPLE}},
        "headers": {
            "X-Accel-Buffering": {
                "description": "Keeps nginx from holding events back.",
                "schema": {"const": "no"},
            },
            "Cache-Control": {
                "description": "What comes is another thing each time.",
                "schema": {"const": "no-cache"},
            },
        },
    }
}

ChangeId = Annotated[UrlId, Path(description="The change's id.")]
After = Annotated[
    str | None,
    Query(
        max_length=100,
        pattern="^[A-Za-z0-9_-]*$",
        description="A cursor, to go on behind it; `now` for only what comes. Absent: the oldest "
        "that is kept.",
        examples=["now"],
    ),
]
Resources = Annotated[
    list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]],
    Query(max_length=50, description="Of these features.", examples=[["tasks"]]),
]
Limit = Annotated[
    int, Query(ge=1, le=MAX_LIMIT, description="How many items a page has at most."), FROM_DIGITS
]
Wait = Annotated[
    int, Query(ge=0, le=30, description="Seconds to wait if there is nothing yet."), FROM_DIGITS
]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=100,
        pattern="^[A-Za-z0-9_-]*$",
        description="The `id` of the last event that has come, to go on behind it.",
        examples=[START.encode()],
    ),
]


def draining_of(request: Request) -> asyncio.Event | None:
    """Return the event that is set when the server is about to end."""
    draining: asyncio.Event | None = getattr(request.state, DRAINING, None)
    return draining


Draining = Annotated[asyncio.Event | None, Depends(draining_of)]


@router.get("", response_model=ChangeFeed, responses=raising(ChangesExpired))
async def list_changes(
    request: Request,
    response: Response,
    database: DatabaseDep,
    draining: Draining,
    after: After = None,
    resource: Resources = [],  # noqa: B006 - FastAPI copies it for each request
    resource_id: Annotated[UrlId | None, Query(description="Of the resource with this id.")] = None,
    request_id: Annotated[RequestId | None, Query(description="Of this request.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    wait: Wait = 0,
) -> Json:
    """List the changes behind a cursor, the oldest first, or wait for one."""
    fields: Fields | None = getattr(request.state, "fields", None)
    without = fields.others - {"id"} if fields else ()
    wanted = Wanted(resource, resource_id, request_id, without)
    place = await _place(database, after)
    found = await _look(database, place, wanted, limit)
    if wait and not found.items:
        watcher = Watcher.of(database)
        with suppress(TimeoutError):
            async with watcher.watching(draining), asyncio.timeout(wait):
                while not (found.items or (draining and draining.is_set())):
                    news = watcher.news
                    found = await _look(database, found.end, wanted, limit)
                    if not found.items:
                        await news.wait()
    cursor = found.end.encode()
    if found.has_more:
        response.headers["Link"] = Binding.of(request).link(cursor, "after")
    items = [change for _, change in found.items]
    return Members(items=items, next_cursor=cursor, has_more=found.has_more)


async def follow(
    database: DatabaseDep,
    draining: Draining,
    after: After = None,
    resource: Resources = [],  # noqa: B006 - FastAPI copies it for each request
    last_event_id: LastEventId = None,
) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    """Follow the changes; what is wrong with the request is found before the answer begins."""
    watcher = Watcher.of(database)
    if len(watcher.followers) >= MAX_STREAMS:
        raise Unavailable(f"This worker has {MAX_STREAMS} streams already", retry_after=5)
    follower = Follower(resource)
    watcher.followers.add(follower)
    try:
        async with watcher.watching(draining):
            place = await _place(database, after, last_event_id)
            wanted = Wanted(resource)
            found = await _look(database, place, wanted, READ_AT_ONCE)
            yield _events(database, follower, wanted, found)
    finally:
        watcher.followers.discard(follower)


async def _events(
    database: Database, follower: Follower, wanted: Wanted, found: Stretch
) -> AsyncIterator[ServerSentEvent]:
    # So that a client knows its place before anything has come.
    begin = found.items[0][0].before if found.items else found.end
    yield ServerSentEvent(id=begin.encode(), retry=FIRST_RETRY)
    while True:
        for cursor, change in found.items:
            yield event_of(cursor, change)
        if not found.has_more:
            break
        found = await _look(database, found.end, wanted, READ_AT_ONCE)
    place = found.end
    if found.items and place > found.items[-1][0]:
        yield place_of(place)
    while (coming := await follower.next()) is not None:
        cursor, event = coming
        if cursor > place:
            place = cursor
            yield event


async def _place(
    database: Database, after: str | None, last_event_id: str | None = None
) -> Cursor | None:
    """Return the place that a request names, if any."""
    if last_event_id:
        return Cursor.decode(last_event_id, header="Last-Event-ID")
    if after == NOW:
        return await reading(database, boundary)
    return None if after is None else Cursor.decode(after, parameter="after")


async def _look(database: Database, place: Cursor | None, wanted: Wanted, limit: int) -> Stretch:
    return await reading(database, partial(stretch, place=place, wanted=wanted, limit=limit))


@router.get(
    "/stream", response_class=EventSourceResponse, responses={**raising(ChangesExpired), **STREAM}
)
async def get_stream(
    events: Annotated[AsyncIterator[ServerSentEvent], Depends(follow)],
) -> AsyncIterator[ServerSentEvent]:
    """Stream the changes behind a cursor, and those that come, as server-sent events.

    The `id` of an event is the cursor behind it, `event` is the feature and the action, such as
    `tasks.updated`, and `data` is the change. Where only others change than are asked for, an `id`
    alone comes now and then, so that the client's `Last-Event-ID` does not expire.
    """
    async for event in events:
        yield event


@router.get("/{change_id}", response_model=ChangeRead)
def get_change(session: SessionDep, change_id: ChangeId) -> Json:
    """Get a change."""
    change = _find(session, change_id)
    check(session, change["version"])
    return change


@router.post(
    "/{change_id}/revert",
    response_model=RevertedResource,
    responses=raising(ChangeOvertaken, ChangeIrrevocable, Gone),
)
def revert_change(request: Request, session: SessionDep, change_id: ChangeId) -> dict[str, Any]:
    """Undo a change: write the values from before, if nothing of it has changed since.

    Answers with the resource; one whose creation is undone, and that has no trash, as it was.
    """
    change = _find(session, change_id)
    known = owners(request.app)
    owner = known.get(change["resource"])
    was = owner.read(session, [change["resource_id"]]) if owner else {}
    revert(session, known, [change])
    now = owner.read(session, [change["resource_id"]]) if owner else {}
    return {**was, **now}[change["resource_id"]]


@router.post(
    "/revert",
    response_model=RevertedRequest,
    responses=raising(ChangeOvertaken, ChangeIrrevocable, Gone, NotFound),
)
def revert_request(
    request: Request, session: SessionDep, data: RequestRevert
) -> dict[str, list[Json]]:
    """Undo all that one request has changed, the last first: all of it, or nothing."""
    found = entries_of(session, Wanted(request_id=data.request_id))
    if not found:
        raise NotFound("There is no change of a request with this id")
    written = note_written(session)
    revert(session, owners(request.app), [members(row) for row in found])
    # At once, so that the answer has what they write.
    call_listeners(session)
    return {"items": [members(row) for row in entries_with(session, written)]}


def _find(session: SessionDep, change_id: int) -> Json:
    rows = entries_with(session, [change_id])
    if not rows:
        raise NotFound(f"There is no change with id {change_id}")
    return members(rows[0])
