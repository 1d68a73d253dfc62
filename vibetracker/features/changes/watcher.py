"""Watches the journal for all who follow it in one worker: they wait, and it looks once for all."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Self
from uuid import uuid4
from weakref import WeakKeyDictionary

from fastapi.sse import ServerSentEvent
from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from vibetracker.core.db.database import Database
from vibetracker.core.db.failures import reason

from .bell import CHANNEL, Bell, notify
from .feed import START, Cursor, Json, Wanted, boundary, reading, stretch
from .problems import ChangesExpired

logger = logging.getLogger(__name__)

CLOCK = 0.5
"""Seconds after which it looks without having been told to."""
QUICK_CLOCK = 0.25
"""The same where nothing notifies of what other processes write."""
READ_AT_ONCE = 200
UNREAD = 1000
"""Changes that may wait for one reader."""
MOVES_ON = 10.0
"""Seconds after which a reader gets its place if there was nothing for it."""
LISTENS_AGAIN = 10.0
"""Seconds until it tries once more to listen."""


def event_of(cursor: Cursor, change: Json) -> ServerSentEvent:
    """Return the event that streams have for a change."""
    name = f"{change['resource']}.{change['action']}"
    return ServerSentEvent(id=cursor.encode(), event=name, raw_data=to_json(change).decode())


def place_of(cursor: Cursor) -> ServerSentEvent:
    """Return what moves a client on to a place, and is no event for it (HTML 9.2.6)."""
    return ServerSentEvent(id=cursor.encode())


class Follower:
    """One reader of what comes."""

    def __init__(self, resources: Collection[str]) -> None:
        self._resources = resources
        self._coming: asyncio.Queue[tuple[Cursor, ServerSentEvent] | None] = asyncio.Queue(
            UNREAD + 1
        )
        self._place = START

    def offer(self, resource: str, cursor: Cursor, event: ServerSentEvent) -> None:
        """Put a change into the queue; a reader that is too far behind gets its end instead."""
        self._place = cursor
        if self._resources and resource not in self._resources:
            return
        if self._coming.qsize() >= UNREAD:
            self.end()
        else:
            self._coming.put_nowait((cursor, event))

    def end(self) -> None:
        """Let the reader come to an end, and forget what it has not read."""
        while not self._coming.empty():
            self._coming.get_nowait()
        self._coming.put_nowait(None)

    async def next(self) -> tuple[Cursor, ServerSentEvent] | None:
        """Wait for the next change, or for no more than a place; None is the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MOVES_ON):
                return await self._coming.get()
        if not self._coming.empty():
            return self._coming.get_nowait()
        return self._place, place_of(self._place)


class Watcher:
    """Looks at the journal of one database for as long as somebody follows."""

    _watchers: WeakKeyDictionary[Database, "Watcher"] = WeakKeyDictionary()

    def __init__(self, database: Database) -> None:
        self.database = database
        self.followers: set[Follower] = set()
        self.news = asyncio.Event()
        """Set, and replaced by another one, when there is something new."""
        self._users = 0
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @classmethod
    def of(cls, database: Database) -> "Watcher":
        """Return the watcher of a database."""
        watcher = cls._watchers.get(database)
        if watcher is None or not watcher.is_of_this_loop:
            watcher = cls._watchers[database] = cls(database)
        return watcher

    @property
    def is_of_this_loop(self) -> bool:
        """Whether it watches in the event loop that is running."""
        return self._task is None or self._task.get_loop() is asyncio.get_running_loop()

    @asynccontextmanager
    async def watching(self, draining: asyncio.Event | None) -> AsyncIterator[None]:
        """Watch inside; what is committed from then on is noticed."""
        self._users += 1
        if self._task is None or self._task.done() or self._task.cancelling():
            self._ready.clear()
            self._task = asyncio.create_task(self._watch(draining))
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if self._task.done() and (error := self._task.exception()):
                raise error
            yield
        finally:
            ready.cancel()
            self._users -= 1
            if not self._users:
                # A follower that comes while it ends has another task.
                last = self._task
                last.cancel()
                await asyncio.wait({last})

    async def _watch(self, draining: asyncio.Event | None) -> None:
        with Bell.of(self.database.engine).heard() as woken:
            seen = await reading(self.database, boundary)
            self._ready.set()
            async with _Ears(self.database, woken) as ears:
                while draining is None or not draining.is_set():
                    woken.clear()
                    try:
                        seen = await self._offer_what_is_behind(seen)
                    except ChangesExpired:
                        # The journal is another one: clients that reconnect begin again.
                        self._end_followers()
                        seen = await reading(self.database, boundary)
                    except (SQLAlchemyError, HTTPException) as error:
                        logger.warning("the changes cannot be read: %s", reason(error))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(await ears.listen()):
                            await woken.wait()
        self._end_followers()
        self.news.set()

    def _end_followers(self) -> None:
        for follower in self.followers:
            follower.end()

    async def _offer_what_is_behind(self, seen: Cursor) -> Cursor:
        while True:
            look = partial(stretch, place=seen, wanted=Wanted(), limit=READ_AT_ONCE)
            found = await reading(self.database, look)
            for cursor, change in found.items:
                # One for all of them: it takes longer to make than to put into a queue.
                event = event_of(cursor, change)
                for follower in self.followers:
                    follower.offer(change["resource"], cursor, event)
            if found.items:
                self.news.set()
                self.news = asyncio.Event()
            seen = found.end
            if not found.has_more:
                return seen


class _Ears:
    """Listens to what other processes notify, on a connection that is not of the pool.

    A pooler may take the connection's session away after each transaction, and then notifications
    go astray without an error; so one is sent by another connection, and awaited, before anything
    is relied upon.
    """

    def __init__(self, database: Database, woken: asyncio.Event) -> None:
        self._engine = database.engine
        self._woken = woken
        self._loop = asyncio.get_running_loop()
        self._connection: Any = None
        self._tries_at = 0.0
        self._token = ""
        self._heard = asyncio.Event()

    async def __aenter__(self) -> Self:
        if self._engine.dialect.name != "postgresql":
            self._tries_at = float("inf")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    async def listen(self) -> float:
        """Listen if that is possible, and return after how many seconds to look anyway."""
        if self._connection is None and time.monotonic() >= self._tries_at:
            self._tries_at = time.monotonic() + LISTENS_AGAIN
            await self._try_to_listen()
        return QUICK_CLOCK if self._connection is None else CLOCK

    async def _try_to_listen(self) -> None:
        self._token = uuid4().hex
        self._heard.clear()
        try:
            self._connection = await run_in_threadpool(self._connect)
            self._loop.add_reader(self._connection.fileno(), self._hear)
            await run_in_threadpool(notify, self._engine, self._token)
            async with asyncio.timeout(1):
                await self._heard.wait()
        except TimeoutError:
            self._close()
            self._tries_at = float("inf")
            logger.info("a pooler takes notifications away: changes are looked for by the clock")
        except Exception as error:
            self._close()
            logger.warning("changes are looked for by the clock: %s", reason(error))

    def _connect(self) -> Any:
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        # The pool can open another one in its place.
        pooled.detach()
        connection.cursor().execute(f"LISTEN {CHANNEL}")
        return connection

    def _hear(self) -> None:
        try:
            self._connection.poll()
        except Exception as error:
            logger.warning("changes are looked for by the clock: %s", reason(error))
            self._close()
            return
        if any(notification.payload == self._token for notification in self._connection.notifies):
            self._heard.set()
        self._connection.notifies.clear()
        self._woken.set()

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._loop.remove_reader(self._connection.fileno())
            with suppress(Exception):
                self._connection.close()
            self._connection = None
