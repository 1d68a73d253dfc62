"""Public: how rows of other features have tags, and what becomes of it when a tag changes.

A feature whose rows have tags makes its association table here. Whoever changes a tag then reaches
every tagged row through the tables alone, without knowing any of those features.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple, override

from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    FromClause,
    Index,
    ScalarSelect,
    Select,
    Table,
    Text,
    TypeDecorator,
    and_,
    bindparam,
    cast,
    delete,
    func,
    literal_column,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.orm import Session

from vibetracker.core.api.names import key_of
from vibetracker.core.api.text import sortable
from vibetracker.core.db.changes import Values, write_versions
from vibetracker.core.db.model import Base
from vibetracker.core.db.portions import among, is_found, lock_some
from vibetracker.core.db.types import BigInt

from .model import Tag

OWNER = "tag_owner"
FEW = 500
"""Rows of a tag up to which a filter looks each of them up."""
_tags: Table = Base.metadata.tables[Tag.__tablename__]
# As SQL, since one as a value would be put into the statement anew at each execution.
_COMMA: Any = literal_column("','")
# A list reads the same few names again and again.
_search_key = lru_cache(maxsize=1024)(sortable)


def tag_association(name: str, owner: str) -> Table:
    """Return the table through which the rows of the table ``owner`` have tags.

    The owner is a ``Resource``: its ``version`` grows when a tag of it is renamed or goes.
    """
    return Table(
        name,
        Base.metadata,
        Column("owner_id", BigInt, ForeignKey(f"{owner}.id", ondelete="CASCADE"), primary_key=True),
        Column("tag_id", BigInt, ForeignKey("tags.id"), primary_key=True),
        # Not with the owner: an index that has it, but not first, passes for a way to find it where
        # statistics are out of date.
        Index(None, "tag_id"),
        info={OWNER: owner},
    )


class TagNames(TypeDecorator[list[str]]):
    """The names of some tags, in the order of ``GET /tags``, read from one aggregated text."""

    impl = Text
    cache_ok = True

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], list[str]]:
        # At once, since a page has many of them.
        return _names


def _names(joined: str | None) -> list[str]:
    # No name has a comma.
    return sorted(joined.split(","), key=_search_key) if joined else []


def names_of_tags(association: Table, owner_id: Any) -> ScalarSelect[list[str]]:
    """Return the SQL for the names of the tags that the row with this id has."""
    # A lookup for each tag: for a join PostgreSQL would read all tags anew for every row.
    name = select(_tags.c.name).where(_tags.c.id == association.c.tag_id).scalar_subquery()
    names = type_coerce(func.aggregate_strings(name, _COMMA), TagNames)
    return select(names).where(association.c.owner_id == owner_id).scalar_subquery()


def has_tag(
    association: FromClause, owner_id: Any, tag_ids: Iterable[int] | None = None
) -> ColumnElement[bool]:
    """Return the condition that the row with this id has a tag: one of these, or any."""
    is_owner = association.c.owner_id == owner_id
    if tag_ids is None:
        return is_found(select(association.c.tag_id).where(is_owner))
    # For an EXISTS, PostgreSQL would read all rows that have the tags, however few are listed, and
    # for each where it takes the table for empty and might look for them by the tags.
    is_one = association.c.tag_id.in_(list(tag_ids)).is_(true())
    return select(true()).where(is_owner, is_one).limit(1).scalar_subquery().is_(true())


def has_any_tag(
    session: Session, association: Table, owner_id: Any, names: Iterable[str]
) -> ColumnElement[bool]:
    """Return the condition that a row has at least one of the tags of these names."""
    tags = _tagged(session, association, names)
    if any(tag.owners is None for tag in tags):
        return has_tag(association, owner_id, [tag.id for tag in tags])
    few: ColumnElement[bool] = owner_id.in_([row for tag in tags for row in tag.owners or ()])
    return few


def has_all_tags(
    session: Session, association: Table, owner_id: Any, names: Iterable[str]
) -> ColumnElement[bool]:
    """Return the condition that a row has all the tags of these names."""
    tags = _tagged(session, association, names)
    few = [set(tag.owners) for tag in tags if tag.owners is not None]
    many = [has_tag(association, owner_id, [tag.id]) for tag in tags if tag.owners is None]
    if few:
        many.append(owner_id.in_(sorted(set.intersection(*few))))
    return and_(true(), *many)


class _Tagged(NamedTuple):
    """A tag in a filter."""

    id: int
    owners: Sequence[int] | None
    """The rows that have it; None for more than a few."""


NOBODYS = _Tagged(0, ())
"""What a name stands for that no tag has."""


def _tagged(session: Session, association: Table, names: Iterable[str]) -> list[_Tagged]:
    """Look up the tags of these names, whatever their case, and the rows that have each.

    So a list reads a few such rows by their ids, and looks for many in its own order.
    """
    keys = [key_of(name) for name in names]
    found: dict[str, _Tagged] = {}
    for tag_id, key, joined in session.execute(_tags_of(association), {"keys": keys}):
        owners = [int(owner_id) for owner_id in joined.split(",")] if joined else []
        found[key] = _Tagged(tag_id, owners if len(owners) <= FEW else None)
    return [found.get(key, NOBODYS) for key in keys]


@cache
def _tags_of(association: Table) -> Select[int, str, str]:
    owners = (
        select(cast(association.c.owner_id, Text).label("id"))
        .where(association.c.tag_id == _tags.c.id)
        .limit(FEW + 1)
        .correlate(_tags)
        .subquery()
    )
    joined = select(func.aggregate_strings(owners.c.id, _COMMA)).scalar_subquery()
    by_key = _tags.c.key.in_(bindparam("keys", expanding=True))
    return select(_tags.c.id, _tags.c.key, joined).where(by_key)


def association_of(owner: str) -> Table | None:
    """Return the table through which the rows of the table ``owner`` have tags, if they have."""
    return next((table for table, tagged in _associations() if tagged.name == owner), None)


def _associations() -> list[tuple[Table, Table]]:
    tables = Base.metadata.tables
    return [(table, tables[table.info[OWNER]]) for table in tables.values() if OWNER in table.info]


def has_live_owner(session: Session, tag_id: int) -> bool:
    """Return whether a row has the tag that is not in the trash."""
    models = {mapper.local_table: mapper.class_ for mapper in Base.registry.mappers}
    return any(
        session.scalar(
            select(models[owner].id)
            .join(association, association.c.owner_id == models[owner].id)
            .where(association.c.tag_id == tag_id, models[owner].live())
            .limit(1)
        )
        for association, owner in _associations()
    )


def rename(session: Session, tag_id: int, old_name: str, new_name: str) -> None:
    """Write a new version of every row that has the tag, which is about to be renamed.

    That is their cause, and comes behind them, so that it is the first to be undone.
    """
    for association, owner in _associations():
        ids = _owners(session, association, owner, [tag_id])
        write_versions(session, owner, ids, {}, after=_renamed({old_name: new_name}))


def take_off(session: Session, tag: Tag) -> None:
    """Take a tag off every row that has it."""
    _replace(session, [tag], None)


def replace(session: Session, tags: Sequence[Tag], target: Tag) -> None:
    """Put the target in the place of the tags, once, on every row that has one of them."""
    _replace(session, tags, target)


def _replace(session: Session, tags: Sequence[Tag], target: Tag | None) -> None:
    """Write a new version of every row that has one of the tags, and what becomes of these tags."""
    tag_ids = [tag.id for tag in tags]
    names = {tag.name: target.name if target else None for tag in tags}
    for association, owner in _associations():

        def write(owner_ids: Sequence[int], association: Table = association) -> None:
            those = among(association.c.owner_id, owner_ids)
            if target:
                _put_on(session, association, those, tag_ids, target.id)
            session.execute(delete(association).where(those, _is_one(association, tag_ids)))

        ids = _owners(session, association, owner, tag_ids)
        write_versions(session, owner, ids, {}, after=_renamed(names), along=write)


def _put_on(
    session: Session,
    association: Table,
    those: ColumnElement[bool],
    tag_ids: Sequence[int],
    target_id: int,
) -> None:
    """Make the first of the tags that a row has the target, unless it has that."""
    columns = (association.c.owner_id, association.c.tag_id)
    found = select(*columns).where(those, _is_one(association, [*tag_ids, target_id]))
    first: dict[int, int] = {}
    for owner_id, tag_id in session.execute(found):
        first[owner_id] = target_id if tag_id == target_id else first.get(owner_id, tag_id)
    for tag_id in tag_ids:
        # An update has only the tag's foreign key checked, an insert would that of the row too.
        if owner_ids := [it for it, its_tag in first.items() if its_tag == tag_id]:
            put_on = update(association).where(among(association.c.owner_id, owner_ids))
            session.execute(put_on.where(_is_one(association, [tag_id])).values(tag_id=target_id))


def _is_one(association: Table, tag_ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition that it is one of the tags, whose rows are not read as a whole."""
    return association.c.tag_id.in_(tag_ids).is_(true())


def _owners(
    session: Session, association: Table, owner: Table, tag_ids: Sequence[int]
) -> Sequence[int]:
    """Return the ids of all rows that have one of the tags, and lock these rows."""
    tagged = select(association.c.owner_id).where(association.c.tag_id.in_(tag_ids)).distinct()
    lock_some(session.connection(), owner, session.scalars(tagged))
    # Whoever has held one until now may have taken the tag off it.
    return session.scalars(tagged).all()


def _renamed(names: Mapping[str, str | None]) -> Callable[[Values], Values]:
    """Return the function that renames tags in a representation, or takes them off."""

    def rename(members: Values) -> Values:
        if "tags" not in members:
            return members
        tags = {name for old in members["tags"] if (name := names.get(old, old))}
        return {**members, "tags": sorted(tags, key=sortable)}

    return rename
