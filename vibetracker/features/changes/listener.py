"""Writes the journal, in the transaction of what it is about."""

import random
from collections.abc import Sequence
from itertools import batched
from typing import Any

from pydantic_core import to_json
from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.orm import Session

from vibetracker.core.db.changes import Change, Values, table_of
from vibetracker.core.db.types import utcnow
from vibetracker.core.logging import current_request_id

from .bell import ring_after_commit
from .model import Action, entries
from .settings import settings

UNTOLD = {"version", "updated_at"}
"""Members that differ whenever another one does."""
WRITTEN_AT_ONCE = 1000
SWEPT_AT_ONCE = 100
SWEPT_EACH = 20
"""As many changes are written for each time that some are swept: fewer than are swept then."""

_INSERT = insert(entries).returning(entries.c.id, sort_by_parameter_order=True)
_place = tuple_(entries.c.turn, entries.c.id)


def on_changes(session: Session, changes: Sequence[Change]) -> None:
    """Write what has changed into the journal, and sweep some of what has expired."""
    rows = [_row(change) for change in changes]
    ids: list[int] = []
    for some in batched(rows, WRITTEN_AT_ONCE):
        ids += session.connection().scalars(_INSERT, list(some)).all()
    written_by(session).extend(ids)
    ring_after_commit(session)
    if random.random() < len(rows) / SWEPT_EACH:  # noqa: S311 - no secret
        sweep(session)


def written_by(session: Session) -> list[int]:
    """Return the ids of the changes that a session has written."""
    written: list[int] = session.info.setdefault(_INSERT, [])
    return written


def sweep(session: Session) -> None:
    """Delete some changes that have expired, but the last of them.

    That one shows who has missed others before it.
    """
    is_expired = entries.c.at < settings.oldest()
    order = (entries.c.turn, entries.c.id)
    last = select(*order).where(is_expired).order_by(*(it.desc() for it in order)).limit(1)
    expired = (
        select(entries.c.id)
        .where(is_expired, _place < last.scalar_subquery())
        .order_by(*order)
        .limit(SWEPT_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    session.execute(delete(entries).where(entries.c.id.in_(expired)))


def _row(change: Change) -> dict[str, Any]:
    before, after = change.before or {}, change.after or {}
    members = {
        name: (before.get(name), after.get(name))
        for name in {**before, **after}
        if name not in UNTOLD and before.get(name) != after.get(name)
    }
    return {
        "at": utcnow(),
        "request_id": current_request_id.get(),
        "resource": table_of(change.resource).name,
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
