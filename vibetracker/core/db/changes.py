"""What a transaction changes, for the listeners of an application.

A feature that has a module ``listener.py`` with ``def on_changes(session, changes)`` gets each new
version of each resource of each feature, in the transaction, before it is committed. What the ORM
writes is seen by its events; what a statement writes is announced by whoever executes it. Without
a listener nothing of this happens.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import batched
from typing import Any, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Table, event, inspect, select, update
from sqlalchemy.orm import Mapper, Session, SessionTransaction, object_session, sessionmaker

from vibetracker.core.db.model import Resource, WritingSession, count_anew
from vibetracker.core.db.portions import AT_ONCE, among, lock_some
from vibetracker.core.db.types import utcnow

MAX_ROUNDS = 100
"""How often listeners may write in answer to what they have written themselves."""

type Values = Mapping[str, Any]
"""The members of a resource's representation, by name."""
type Reader = Callable[[Connection, Sequence[int]], Mapping[int, Values]]
"""Reads the representations of the rows with some ids."""
type Listener = Callable[[Session, Sequence["Change"]], None]
type Key = tuple[Table, int, int | None]
"""What makes one version: table, id and version, which is None where the row is deleted."""


@dataclass(frozen=True, slots=True)
class Change:
    """A new version of a resource: created, changed or deleted.

    ``before`` is None for one that is created, ``after`` for one that is deleted.
    """

    resource: type[Resource]
    id: int
    before: Values | None
    after: Values | None


class Listeners:
    """The listeners of an application, and how they see the rows of its resources."""

    def __init__(
        self, functions: Sequence[Listener], readers: Mapping[type[Resource], Reader]
    ) -> None:
        self.functions = functions
        self.resources = {table_of(resource): resource for resource in readers}
        self._readers = {table_of(resource): reader for resource, reader in readers.items()}

    def session(self, bind: Engine) -> Session:
        """Open a session whose changes the listeners get before it is committed."""
        return _sessions(bind=bind, info={_Transaction: _Transaction(self)})

    def read(
        self, connection: Connection, table: Table, ids: Iterable[int], *, lock: bool = False
    ) -> dict[int, Values]:
        """Return the representations of the rows that exist, locked and listed in order of ids."""
        found: dict[int, Values] = {}
        for some in batched(sorted(ids), AT_ONCE):
            if lock:
                lock_some(connection, table, some)
            rows = self._readers[table](connection, some)
            found |= {row_id: rows[row_id] for row_id in some if row_id in rows}
        return found


class _Rows:
    """The representations of rows before they are written; None of those that are new."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self.before: dict[Table, dict[int, Values | None]] = {}
        self._deleted: set[tuple[Table, int]] = set()

    def read(
        self, connection: Connection, table: Table, ids: Collection[int], *, lock: bool = False
    ) -> None:
        """Read rows that are going to be changed."""
        rows = self.before.setdefault(table, {})
        missing = [row_id for row_id in ids if row_id not in rows]
        rows |= self._listeners.read(connection, table, missing, lock=lock)

    def read_deleted(self, connection: Connection, table: Table, ids: Collection[int]) -> None:
        """Read rows that are going to be deleted, and those that the database changes with them."""
        ids = [row_id for row_id in ids if (table, row_id) not in self._deleted]
        self._deleted |= {(table, row_id) for row_id in ids}
        # Locked, they get no further rows that refer to them.
        self.read(connection, table, ids, lock=True)
        for key in (key for other in self._listeners.resources for key in other.foreign_keys):
            if key.column.table is not table or key.ondelete not in {"CASCADE", "SET NULL"}:
                continue
            for some in batched(ids, AT_ONCE):
                rows = select(key.parent.table.c.id).where(among(key.parent, some))
                others = connection.scalars(rows).all()
                if key.ondelete == "CASCADE":
                    self.read_deleted(connection, key.parent.table, others)
                else:
                    self.read(connection, key.parent.table, others, lock=True)


class _Transaction:
    """What a session's transaction has changed, and no listener has got yet."""

    def __init__(self, listeners: Listeners) -> None:
        self.listeners = listeners
        self.flushed = _Rows(listeners)
        """What the flush that is going on writes."""
        self.savepoints: WeakKeyDictionary[SessionTransaction, dict[Key, Change]]
        self.savepoints = WeakKeyDictionary()
        """What had been changed when each began."""
        self.changes: dict[Key, Change] = {}
        """In the order in which each was complete."""
        self.is_calling = False
        """Whether listeners are at work."""

    def add(self, table: Table, row_id: int, before: Values | None, after: Values | None) -> None:
        """Add what has been written: to what is known of the same version, if there is any."""
        if before == after:
            return
        key = (table, row_id, None if after is None else after.get("version"))
        if known := self.changes.pop(key, None):
            before = known.before
        self.changes[key] = Change(self.listeners.resources[table], row_id, before, after)

    def settle(self, connection: Connection, rows: _Rows) -> None:
        """Add what has become of some rows."""
        for table, before in rows.before.items():
            after = self.listeners.read(connection, table, before)
            for row_id, values in before.items():
                self.add(table, row_id, values, after.get(row_id))


def table_of(resource: type[Resource]) -> Table:
    """Return the table of a resource."""
    return cast("Table", inspect(resource).local_table)


def _of(session: Session | None, table: Table) -> _Transaction | None:
    """Return the transaction of a session if somebody listens to what becomes of a table."""
    transaction: _Transaction | None = None if session is None else session.info.get(_Transaction)
    return transaction if transaction and table in transaction.listeners.resources else None


def announce(
    session: Session, table: Table, row_id: int, before: Values | None, after: Values | None
) -> None:
    """Announce what a statement has made of a row; both are members of its representation."""
    if transaction := _of(session, table):
        transaction.add(table, row_id, before, after)


def announce_new(session: Session, table: Table, ids: Collection[int]) -> None:
    """Announce the rows that a statement has inserted."""
    if ids and (transaction := _of(session, table)):
        rows = _Rows(transaction.listeners)
        rows.before[table] = dict.fromkeys(ids)
        transaction.settle(session.connection(), rows)


@contextmanager
def announcing(
    session: Session, table: Table, ids: Collection[int], *, deletes: bool = False
) -> Iterator[None]:
    """Announce what statements inside make of the rows with these ids.

    With ``deletes`` also what the database itself makes of other resources by ``ON DELETE CASCADE``
    and ``SET NULL``. If somebody listens, the rows are read before and after, and locked.
    """
    transaction = _of(session, table)
    if transaction is None:
        yield
        return
    session.flush()
    connection = session.connection()
    rows = _Rows(transaction.listeners)
    if deletes:
        rows.read_deleted(connection, table, ids)
    else:
        rows.read(connection, table, ids, lock=True)
    yield
    session.flush()
    transaction.settle(connection, rows)


def write_versions(
    session: Session,
    table: Table,
    ids: Iterable[int],
    values: Values,
    *,
    after: Callable[[Values], Values] = dict,
    along: Callable[[Sequence[int]], object] | None = None,
) -> None:
    """Write values of columns into the rows with these ids, as a new version, and announce it.

    Their representations are read before. ``along`` writes what else becomes of rows, by their ids,
    and ``after`` makes the members of that. All of it a portion at a time; where there are many the
    listeners get each by itself, so that no more than a portion is in memory.
    """
    transaction = _of(session, table)
    values = {"updated_at": utcnow(), **values}
    statement = update(table).values(version=table.c.version + 1, **values)
    session.flush()
    connection = session.connection()
    for some in batched(sorted(ids), AT_ONCE):
        lock_some(connection, table, some)
        found = transaction.listeners.read(connection, table, some) if transaction else {}
        connection.execute(statement.where(among(table.c.id, some)))
        if along is not None:
            along(some)
        for row_id, was in found.items():
            new = {name: values[name] for name in values if name in was}
            now = {**was, **new, "version": was["version"] + 1}
            announce(session, table, row_id, was, after(now))
        if transaction and len(transaction.changes) >= AT_ONCE:
            call_listeners(session)


def call_listeners(session: Session) -> None:
    """Call the listeners with what the transaction has changed, until they change nothing more.

    What one raises fails the transaction.
    """
    transaction: _Transaction | None = session.info.get(_Transaction)
    if transaction is None or transaction.is_calling:
        return
    transaction.is_calling = True
    try:
        for _ in range(MAX_ROUNDS):
            session.flush()
            changes = [*transaction.changes.values()]
            transaction.changes.clear()
            # What is changed from now on is a new version.
            count_anew(session)
            if not changes:
                return
            for listener in transaction.listeners.functions:
                listener(session, changes)
    finally:
        transaction.is_calling = False
    raise RuntimeError("listeners answer each other's changes without an end")


_sessions = sessionmaker(class_=WritingSession, expire_on_commit=False, close_resets_only=False)


@event.listens_for(_sessions, "before_commit")
def _before_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        call_listeners(session)


@event.listens_for(_sessions, "after_flush")
def _after_flush(session: Session, _: object) -> None:
    transaction: _Transaction = session.info[_Transaction]
    rows, transaction.flushed = transaction.flushed, _Rows(transaction.listeners)
    transaction.settle(session.connection(), rows)


@event.listens_for(_sessions, "after_transaction_create")
def _begin_savepoint(session: Session, begun: SessionTransaction) -> None:
    if begun.nested:
        transaction: _Transaction = session.info[_Transaction]
        transaction.savepoints[begun] = transaction.changes.copy()


@event.listens_for(_sessions, "after_soft_rollback")
def _roll_back(session: Session, ended: SessionTransaction) -> None:
    transaction: _Transaction = session.info[_Transaction]
    transaction.flushed = _Rows(transaction.listeners)
    if ended.nested or ended.parent is None:
        transaction.changes = transaction.savepoints.pop(ended, {})


@event.listens_for(Resource, "after_insert", propagate=True)
def _after_insert(mapper: Mapper[Any], _: Connection, row: Resource) -> None:
    table = cast("Table", mapper.local_table)
    if transaction := _of(object_session(row), table):
        transaction.flushed.before.setdefault(table, {})[row.id] = None


@event.listens_for(Resource, "before_update", propagate=True)
def _before_update(mapper: Mapper[Any], connection: Connection, row: Resource) -> None:
    session, table = object_session(row), cast("Table", mapper.local_table)
    if (transaction := _of(session, table)) and session and session.is_modified(row):
        transaction.flushed.read(connection, table, [row.id])


@event.listens_for(Resource, "before_delete", propagate=True)
def _before_delete(mapper: Mapper[Any], connection: Connection, row: Resource) -> None:
    table = cast("Table", mapper.local_table)
    if transaction := _of(object_session(row), table):
        transaction.flushed.read_deleted(connection, table, [row.id])
