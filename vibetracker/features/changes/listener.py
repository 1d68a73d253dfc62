"""Writes the journal, in the transaction of what it is about."""

import random
from collections.abc import Sequence
from itertools import batched
from typing import Any

from pydantic_core import to_json
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from vibetracker.core.db.changes import Change, Values, table_of
from vibetracker.core.db.types import utcnow
from vibetracker.core.logging import current_request_id

from .bell import ring_after_commit
from .model import Action, Turn, entries, latest_first, order, position
from .settings import settings

UNTOLD = {"version", "updated_at"}
"""Members that differ whenever another one does."""
WRITTEN_AT_ONCE = 1000
SWEPT_AT_ONCE = 100
SWEPT_EACH = 20
"""As many changes are written for each time that some are swept: fewer than are swept then."""

WRITTEN = "written changes"
"""Where a session has the ids of the changes that are written, if somebody asks for them."""

_INSERT = insert(entries)
_INSERT_RETURNING = _INSERT.returning(entries.c.id)
_TURN = select(Turn())


def on_changes(session: Session, changes: Sequence[Change]) -> None:
    """Write what has changed into the journal, and sweep some of what has expired."""
    connection = session.connection()
    shared: dict[str, Any] = {"at": utcnow(), "request_id": current_request_id.get()}
    if len(changes) > 1:
        # Once, since the database would look for it for each row.
        shared["turn"] = connection.scalar(_TURN)
    names = {resource: table_of(resource).name for resource in {it.resource for it in changes}}
    rows = [shared | _row(change, names[change.resource]) for change in changes]
    written: list[int] | None = session.info.get(WRITTEN)
    for some in batched(rows, WRITTEN_AT_ONCE):
        if written is None:
            connection.execute(_INSERT, list(some))
        else:
            written += connection.scalars(_INSERT_RETURNING, list(some))
    ring_after_commit(session)
    if random.random() < len(rows) / SWEPT_EACH:  # noqa: S311 - no secret
        sweep(session)


def note_written(session: Session) -> list[int]:
    """Return a list that gets the ids of the changes that are written from now on."""
    written: list[int] = session.info.setdefault(WRITTEN, [])
    return written


def sweep(session: Session) -> None:
    """Delete some changes that have expired, but the last of them.

    That one shows who has missed others before it.
    """
    is_expired = entries.c.at < settings.oldest()
    last = select(*order).where(is_expired).order_by(*latest_first).limit(1)
    expired = (
        select(entries.c.id)
        .where(is_expired, position < last.scalar_subquery())
        .order_by(*order)
        .limit(SWEPT_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    session.execute(delete(entries).where(entries.c.id.in_(expired)))


def _row(change: Change, resource: str) -> dict[str, Any]:
    before, after = change.before or {}, change.after or {}
    # Both have the same members, unless one has none.
    members = {
        name: (was, now)
        for name in after or before
        if (was := before.get(name)) != (now := after.get(name)) and name not in UNTOLD
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
