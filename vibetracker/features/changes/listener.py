"""Writes the journal, in the transaction of what it is about."""

import random
from collections.abc import Sequence
from itertools import batched
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Insert, bindparam, delete, func, insert, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from vibetracker.core.db.changes import Change, Values, table_of
from vibetracker.core.db.database import dialect_of
from vibetracker.core.db.portions import AT_ONCE, among
from vibetracker.core.db.types import utcnow
from vibetracker.core.logging import current_request_id

from .bell import ring_after_commit
from .model import Action, entries, order
from .settings import settings

LEFT_OUT = {"version", "updated_at"}
"""Members that differ whenever another one does."""
SWEPT_AT_ONCE = 100
SWEPT_EACH = 50
"""As many changes are written for each time that some are swept: fewer than are swept then."""

WRITTEN = "written changes"
"""Where a session has the ids of the changes that are written, if somebody asks for them."""

SHARED = ("at", "request_id")
OWN = ("resource", "resource_id", "action", "version", "changes")

# Without reading back what the database fills in.
_INSERT = insert(entries).inline()


def _insert_from_lists() -> Insert:
    """Insert many entries from a list for each column, which PostgreSQL makes rows of.

    As values of each row the driver would take five times as long for them.
    """
    lists = [bindparam(name, type_=ARRAY(entries.c[name].type)) for name in OWN]
    unnested = func.unnest(*lists).table_valued(*OWN, with_ordinality="number")
    rows = unnested.render_derived()
    shared = [bindparam(name, type_=entries.c[name].type) for name in SHARED]
    values = select(*shared, *(rows.c[name] for name in OWN)).order_by(rows.c.number)
    return insert(entries).from_select([*SHARED, *OWN], values)


_INSERT_FROM_LISTS = _insert_from_lists()
_FIRST = select(entries.c.id, entries.c.at).order_by(*order).limit(bindparam("at_once"))


def on_changes(session: Session, changes: Sequence[Change]) -> None:
    """Write what has changed into the journal, and sweep some of what has expired."""
    shared: dict[str, Any] = {"at": utcnow(), "request_id": current_request_id.get()}
    names = {resource: table_of(resource).name for resource in {it.resource for it in changes}}
    for some in batched(changes, AT_ONCE):
        _insert(session, shared, [_row(change, names[change.resource]) for change in some])
    ring_after_commit(session)
    if random.random() < len(changes) / SWEPT_EACH:  # noqa: S311 - no secret
        sweep(session)


def _insert(session: Session, shared: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    if len(rows) > 1 and dialect_of(session) == "postgresql":
        statement: Insert = _INSERT_FROM_LISTS
        values: Any = shared | {name: [row[name] for row in rows] for name in OWN}
    else:
        statement, values = _INSERT, [shared | row for row in rows]
    written: list[int] | None = session.info.get(WRITTEN)
    if written is None:
        session.connection().execute(statement, values)
    else:
        written += session.connection().scalars(statement.returning(entries.c.id), values)


def note_written(session: Session) -> list[int]:
    """Return a list that gets the ids of the changes that are written from now on."""
    written: list[int] = session.info.setdefault(WRITTEN, [])
    return written


def sweep(session: Session) -> None:
    """Delete some changes that have expired, but the last of them.

    That one shows who has missed others before it.
    """
    # Of the first ones alone, since the whole journal would be searched where nothing has expired.
    oldest = settings.oldest()
    first = session.execute(_FIRST, {"at_once": SWEPT_AT_ONCE + 1})
    expired = [row.id for row in first if row.at < oldest][:-1]
    if expired:
        # By their ids, since PostgreSQL would join the journal with itself where it takes it for
        # empty. What another request sweeps is left to that.
        free = select(entries.c.id).where(among(entries.c.id, expired))
        locked = session.scalars(free.with_for_update(skip_locked=True)).all()
        if locked:
            session.execute(delete(entries).where(among(entries.c.id, locked)))


def _row(change: Change, resource: str) -> dict[str, Any]:
    before, after = change.before or {}, change.after or {}
    # Both have the same members, unless one has none.
    members = {
        name: (was, now)
        for name in after or before
        if (was := before.get(name)) != (now := after.get(name)) and name not in LEFT_OUT
    }
    return {
        "resource": resource,
        "resource_id": change.id,
        "action": _action(change.before, change.after),
        "version": (after or before).get("version", 1),
        "changes": to_json(members).decode(),
    }


def _action(before: Values | None, after: Values | None) -> Action:
    if before is None:
        return Action.CREATED
    if after is None:
        return Action.DELETED
    was_in_trash = before.get("deleted_at") is not None
    is_in_trash = after.get("deleted_at") is not None
    if was_in_trash == is_in_trash:
        return Action.UPDATED
    return Action.TRASHED if is_in_trash else Action.RESTORED
