"""Public: tags by their names: found or created, and put on rows of other features."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import (
    Table,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.dml import ReturningInsert

from vibetracker.core.api.names import key_of
from vibetracker.core.api.text import sortable
from vibetracker.core.db.changes import announce_new
from vibetracker.core.db.database import dialect_of
from vibetracker.core.db.model import Base, Resource
from vibetracker.core.db.types import BigInt, utcnow
from vibetracker.core.http.faults import Fault, pointer_to
from vibetracker.core.http.problems import ValidationFailed

from .model import Tag

_tags: Table = Base.metadata.tables[Tag.__tablename__]


class NamedTag(NamedTuple):
    """What is known of a tag that is put on rows."""

    id: int
    name: str
    key: str

    @property
    def search_key(self) -> str:
        """What it is sorted by."""
        return sortable(self.name)


def tags_named(
    session: Session,
    names: Iterable[str],
    *,
    create: bool,
    at: str = "",
    now: datetime | None = None,
) -> list[NamedTag]:
    """Find the tags of these names, whatever their case, each once and as lists sort them.

    Missing ones are created, as of ``now``, or refused with ``at`` as the pointer to the list of
    names. Two transactions that create the same tag both succeed and share it.
    """
    names = list(names)
    wanted = {key_of(name): name for name in reversed(names)}
    found = _by_key(session, wanted)
    missing = wanted.keys() - found.keys()
    if missing and not create:
        faults = [
            Fault(
                pointer=at + pointer_to(index),
                code="unknown_tag",
                detail="There is no tag of this name",
            )
            for index, name in enumerate(names)
            if key_of(name) in missing
        ]
        raise ValidationFailed("Some tags do not exist", errors=faults)
    dialect = postgresql if dialect_of(session) == "postgresql" else sqlite
    # Again where a tag that stood in the way of the insert is gone by the time it is read.
    while missing := wanted.keys() - found.keys():
        now = now or utcnow()
        # One order for everybody, so that two transactions do not wait for each other's tags.
        rows = [
            {
                "name": wanted[key],
                "key": key,
                "search_key": sortable(wanted[key]),
                "version": 1,
                "description": "",
                "created_at": now,
                "updated_at": now,
            }
            for key in sorted(missing)
        ]
        new = dialect.insert(_tags).values(rows).on_conflict_do_nothing().returning(_tags.c.id)
        announce_new(session, _tags, session.scalars(new).all())
        found |= _by_key(session, missing)
    return sorted(found.values(), key=attrgetter("search_key"))


def set_tags(session: Session, association: Table, row: Resource, names: Iterable[str]) -> None:
    """Set the tags of a row to those of these names; missing tags are created.

    Its attribute ``tag_names`` has the names then, and other ones are a new version of it. The
    pointer of what is wrong with them begins with ``/tags``.
    """
    tags = tags_named(session, names, create=True, at="/tags")
    new_names = [tag.name for tag in tags]
    is_new = row.id is None
    session.flush()
    old_names: list[str] = [] if is_new else row.tag_names  # type: ignore[attr-defined] # such rows have it
    if new_names != old_names and not is_new:
        row.updated_at = utcnow()
        session.flush()
    change_tags(session, association, row.id, {tag.id for tag in tags}, is_new=is_new)
    set_committed_value(row, "tag_names", new_names)


def change_tags(
    session: Session, association: Table, owner_id: int, wanted: set[int], *, is_new: bool = False
) -> None:
    """Write which tags the row with this id has."""
    is_owner = association.c.owner_id == owner_id
    old: set[int] = set()
    if not is_new:
        old = set(session.scalars(select(association.c.tag_id).where(is_owner)))
    if old - wanted:
        gone = association.c.tag_id.in_(old - wanted)
        session.execute(delete(association).where(is_owner, gone))
    if rows := [{"owner_id": owner_id, "tag_id": tag_id} for tag_id in sorted(wanted - old)]:
        session.execute(insert(association), rows)


# Held in place, so that nobody renames or deletes a tag before the rows that get it are committed.
_BY_KEY = (
    select(_tags.c.id, _tags.c.name, _tags.c.key)
    .where(_tags.c.key.in_(bindparam("keys", expanding=True)))
    .with_for_update(read=True, key_share=True)
)


def _by_key(session: Session, keys: Iterable[str]) -> dict[str, NamedTag]:
    rows = session.connection().execute(_BY_KEY, {"keys": list(keys)})
    return {row.key: NamedTag(*row) for row in rows}


def put_on(
    session: Session,
    association: Table,
    owner_id: int,
    names: Iterable[str],
    *,
    create: bool = True,
    at: str = "/tags",
) -> list[str]:
    """Put the tags of these names on a new row, and return the names as the tags have them.

    One statement where the tags exist; missing ones are created, or refused, as by ``tags_named``.
    """
    names = list(names)
    missing = {key_of(name) for name in names}
    found: dict[str, str] = {}
    statement = _putting_on(association)
    while missing:
        rows = session.connection().execute(statement, {"owner": owner_id, "keys": list(missing)})
        found |= {key_of(name): name for (name,) in rows}
        missing -= found.keys()
        if missing:
            tags_named(session, names, create=create, at=at)
    return sorted(found.values(), key=sortable)


@cache
def _putting_on(association: Table) -> ReturningInsert[str]:
    # Read once: for a tag that is being renamed, RETURNING would see another name than its lock.
    found = (
        select(_tags.c.id, _tags.c.name)
        .where(_tags.c.key.in_(bindparam("keys", expanding=True)))
        .with_for_update(read=True, key_share=True)
        .cte("found")
    )
    # By its text, since SQLAlchemy does not see that the subquery is inside of the INSERT.
    tag_id = literal_column(f"{association.name}.tag_id", BigInt)
    name = select(found.c.name).where(found.c.id == tag_id)
    return (
        insert(association)
        .from_select(["owner_id", "tag_id"], select(bindparam("owner", type_=BigInt), found.c.id))
        .add_cte(found)
        .returning(name.scalar_subquery())
    )
