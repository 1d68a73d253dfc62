"""Public: the order of siblings by hand: between which of them a task is put."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, select, tuple_, update
from sqlalchemy.orm import Session

from vibetracker.core.db.changes import announcing
from vibetracker.core.http.problems import invalid

from . import ranking
from .model import live, tasks

type Place = tuple[str, int]
"""Where a task is among its siblings: its position, and its id where that is shared."""

_place = tuple_(tasks.c.position, tasks.c.id)


_SET_RANK = (
    update(tasks)
    .where(tasks.c.id == bindparam("sibling"))
    .values(position=bindparam("rank"), version=tasks.c.version + 1)
)


class Siblings:
    """The tasks under a parent, or those without one, but for the task that is moved."""

    def __init__(self, session: Session, parent_id: int | None, *, without: int) -> None:
        self.session = session
        self._places = (
            select(tasks.c.position, tasks.c.id)
            .where(tasks.c.parent_id == parent_id, tasks.c.id != without)
            # The parent is the same in all; PostgreSQL needs to be told to use its index.
            .order_by(tasks.c.parent_id, tasks.c.position, tasks.c.id)
        )

    def gap(self, wanted: Mapping[str, Any]) -> tuple[Place | None, Place | None]:
        """Find the neighbours between which a task is wanted, by members of a ``TaskMove``."""
        anchor_id = wanted.get("before_id") or wanted.get("after_id")
        backwards = self._places.order_by(None).order_by(
            tasks.c.parent_id.desc(), tasks.c.position.desc(), tasks.c.id.desc()
        )
        if anchor_id is None:
            if wanted["to"] == "first":
                return None, self._first(self._places)
            return self._first(backwards), None
        anchor = self._first(self._places.where(tasks.c.id == anchor_id, live))
        if anchor is None:
            raise invalid(
                "Not another live task with the same parent",
                code="not_a_sibling",
                pointer="/before_id" if "before_id" in wanted else "/after_id",
            )
        if "before_id" in wanted:
            return self._first(backwards.where(_place < anchor)), anchor
        return anchor, self.next_to(anchor)

    def next_to(self, place: Place) -> Place | None:
        """Return the place behind one, if there is one."""
        return self._first(self._places.where(_place > place))

    def _first(self, places: Select[str, int]) -> Place | None:
        row = self.session.execute(places.limit(1)).one_or_none()
        return None if row is None else (row.position, row.id)

    def spread(self, low: Place, now: datetime) -> str:
        """Write new ranks for as few behind ``low`` as make room; return that between."""
        places = self.session.execute(self._places.where(_place > low)).all()
        own, *ranks = ranking.spread(low[0], (position for position, _ in places))
        new = [
            {"sibling": task_id, "rank": rank}
            for (position, task_id), rank in zip(places, ranks, strict=False)
            if rank != position
        ]
        with announcing(self.session, tasks, [it["sibling"] for it in new]):
            self.session.execute(_SET_RANK.values(updated_at=now), new)
        return own
