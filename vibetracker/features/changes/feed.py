"""The feed: changes in an order in which none appears behind a cursor.

Changes are in order of their turns, and within a turn of their ids. A page ends where a transaction
that has begun to write changes, and is still open, may have written some.
"""

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack
from zlib import crc32

from sqlalchemy import ColumnElement, RowMapping, Select, literal_column, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from vibetracker.core.db.database import Database, dialect_of
from vibetracker.core.http.faults import Place
from vibetracker.core.http.problems import invalid

from .model import entries, latest_first, order, position
from .problems import ChangesExpired
from .settings import settings

type Json = dict[str, Any]

NOW = "now"
BEGIN_AGAIN = "Take the cursor of GET /changes?after=now, then read the lists, and go on from it"
MEMBERS = ("id", "at", "request_id", "resource", "resource_id", "action", "version", "changes")

_ENTRY = select(*(entries.c[name] for name in MEMBERS), entries.c.turn)
_LAST = select(*order).order_by(*latest_first).limit(1)
# Who writes changes has a lock of their table from before the statement sees any rows until the
# transaction ends, and no turn below its transaction's id. Who gets that lock later sees the rows
# that this statement sees, and so has a later turn. The lock has the id's last 32 bits.
_HAS_ENDED: ColumnElement[bool] = entries.c.turn < literal_column(
    """(
        WITH lock AS MATERIALIZED (SELECT * FROM pg_locks WHERE granted), beyond AS MATERIALIZED (
            SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 2147483648 AS id
        )
        SELECT coalesce(
            min(beyond.id - (beyond.id - own.transactionid::text::bigint) % 4294967296),
            9223372036854775807
        )
        FROM beyond, lock AS own JOIN lock AS journal USING (virtualtransaction)
        WHERE own.locktype = 'transactionid' AND own.mode = 'ExclusiveLock'
            AND journal.relation = 'changes'::regclass AND journal.mode = 'RowExclusiveLock'
            AND journal.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )"""
)


class Cursor(NamedTuple):
    """A place in the feed: behind the change of this turn and id."""

    turn: int
    id: int

    @property
    def before(self) -> "Cursor":
        """The place before that change."""
        return Cursor(self.turn, self.id - 1)

    def encode(self) -> str:
        """Return what clients get."""
        text = f"{self.turn}.{self.id}"
        return urlsafe_b64encode(f"{text}.{crc32(text.encode()):x}".encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, **place: Unpack[Place]) -> "Cursor":
        """Read a cursor; the place is where it was sent, for the problem of a wrong one."""
        try:
            turn, row_id, _ = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split(".")
            cursor = Cursor(int(turn), int(row_id))
            # Compared, since the decoder reads other spellings too.
            is_good = cursor.encode() == text and max(cursor) < 2**63
        except ValueError:
            cursor, is_good = START, False
        if not is_good:
            raise invalid("Not a cursor of the changes; begin without one", code="cursor", **place)
        return cursor


START = Cursor(0, 0)


@dataclass(frozen=True)
class Wanted:
    """Which changes are asked for."""

    resources: Collection[str] = ()
    resource_id: int | None = None
    request_id: str | None = None
    without: Collection[str] = ()
    """Members of a change that need not be read."""

    def narrow(self, statement: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
        """Add the conditions to a statement."""
        if self.resources:
            statement = statement.where(entries.c.resource.in_(self.resources))
        if self.resource_id is not None:
            statement = statement.where(entries.c.resource_id == self.resource_id)
        if self.request_id is not None:
            statement = statement.where(entries.c.request_id == self.request_id)
        if self.without:
            columns = (it for it in statement.selected_columns if it.name not in self.without)
            return statement.with_only_columns(*columns)
        return statement


@dataclass(frozen=True)
class Stretch:
    """Some changes, each with the cursor behind it, and where the next ones begin."""

    items: list[tuple[Cursor, Json]]
    end: Cursor
    has_more: bool


def boundary(session: Session) -> Cursor:
    """Return the place of the last change before which everything has been written.

    Not that of the oldest transaction itself: its id may be used again after a crash.
    """
    last = _LAST.where(_HAS_ENDED) if dialect_of(session) == "postgresql" else _LAST
    row = session.execute(last).first()
    return START if row is None else Cursor(*row)


def stretch(session: Session, place: Cursor | None, wanted: Wanted, limit: int) -> Stretch:
    """Read changes behind a place, or the oldest that are kept.

    Raises ``ChangesExpired`` where some behind the place have expired, and for a place that the
    journal has never come to, or no longer has after a loss.
    """
    after = place or START
    end = boundary(session)
    if after > end:
        last = session.execute(_LAST).first()
        if last is None or after > Cursor(*last):
            raise ChangesExpired(BEGIN_AGAIN)
        # A transaction that began before those up to here has begun to write changes since.
        end = after
    kept = select(entries.c.at).where(position > after).order_by(*order).limit(1)
    oldest = settings.oldest()
    first = session.scalar(kept)
    rows = wanted.narrow(_ENTRY).where(position > after, position <= end)
    if first is not None and first < oldest:
        if place is not None:
            raise ChangesExpired(BEGIN_AGAIN)
        rows = rows.where(entries.c.at >= oldest)
    found = session.execute(rows.order_by(*order).limit(limit + 1)).mappings().all()
    items = [(Cursor(row["turn"], row["id"]), members(row)) for row in found[:limit]]
    if len(found) > limit:
        return Stretch(items, items[-1][0], has_more=True)
    return Stretch(items, end, has_more=False)


def members(row: RowMapping) -> Json:
    """Return the members of the answer for an entry, as far as they have been read."""
    values = {name: row[name] for name in MEMBERS if name in row}
    if "changes" in values:
        values["changes"] = json.loads(values["changes"])
    return values


def entries_of(session: Session, wanted: Wanted) -> Sequence[RowMapping]:
    """Return the entries that are asked for and have not expired, the last first."""
    rows = wanted.narrow(_ENTRY).where(entries.c.at >= settings.oldest())
    return session.execute(rows.order_by(*latest_first)).mappings().all()


def entries_with(session: Session, ids: Collection[int]) -> Sequence[RowMapping]:
    """Return the entries with these ids, in order, as far as they have not expired."""
    rows = _ENTRY.where(entries.c.id.in_(ids), entries.c.at >= settings.oldest())
    return session.execute(rows.order_by(*order)).mappings().all()


async def reading[T](database: Database, read: Callable[[Session], T]) -> T:
    """Read in a thread, with a connection of the pool for as long as that takes."""
    release = await database.reserve_connection()

    def work() -> T:
        with database.session(write=False) as session:
            return read(session)

    working = asyncio.create_task(run_in_threadpool(work))
    try:
        return await asyncio.shield(working)
    finally:
        # The thread has the connection for as long as it works, whoever is cancelled meanwhile.
        await asyncio.wait({working})
        release()
