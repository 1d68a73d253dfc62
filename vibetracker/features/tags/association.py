"""Public: how rows of other features wear tags, and what becomes of it when a tag changes.

A feature whose rows wear tags makes its association table here. Whoever changes a tag then reaches
every wearer through the tables alone, without knowing any of those features.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple, override

from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    ScalarSelect,
    Select,
    Table,
    Text,
    TypeDecorator,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm.attributes import set_committed_value

from vibetracker.core.filters import Known
from vibetracker.core.model import Base, BigInt, Resource, utcnow
from vibetracker.core.problems import Fault, ValidationFailed, pointer_to
from vibetracker.core.session import Session
from vibetracker.core.statements import Kept

from .model import Tag, key_of

OWNER = "tag_owner"


def tag_association(name: str, owner: str) -> Table:
    """Make the table through which the rows of the table ``owner`` wear tags.

    The owner is a ``Resource``: its ``version`` grows when a tag of it is renamed or goes.
    """
    return Table(
        name,
        Base.metadata,
        Column("owner_id", BigInt, ForeignKey(f"{owner}.id", ondelete="CASCADE"), primary_key=True),
        Column("tag_id", BigInt, ForeignKey("tags.id"), primary_key=True),
        Index(None, "tag_id", "owner_id"),
        info={OWNER: owner},
    )


class TagNames(TypeDecorator[list[str]]):
    """The names of some tags, sorted ignoring case, read from one aggregated text."""

    impl = Text
    cache_ok = True

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], list[str]]:
        # At once, since a page has many of them.
        return _names


def _names(joined: str | None) -> list[str]:
    return list(_sorted_names(joined)) if joined else []


@lru_cache(maxsize=1024)
def _sorted_names(joined: str) -> tuple[str, ...]:
    # No name has a comma; and the same few sets of tags are worn again and again.
    return tuple(sorted(joined.split(","), key=key_of))


def worn_names(association: Table, owner_id: Any) -> ScalarSelect[list[str]]:
    """Write the SQL for the names of the tags that the row with this id wears."""
    # A lookup for each tag: for a join PostgreSQL would read all tags anew for every row.
    name = select(Tag.name).where(Tag.id == association.c.tag_id).scalar_subquery()
    # A comma as SQL, since one as a value would be put into the statement anew at each execution.
    comma: Any = literal_column("','")
    names = type_coerce(func.aggregate_strings(name, comma), TagNames)
    return select(names).where(association.c.owner_id == owner_id).scalar_subquery()


def wears(association: Table, owner_id: Any, names: Iterable[str] = ()) -> ColumnElement[bool]:
    """Write the condition that the row with this id wears a tag: one of these names, or any."""
    return _wears(association, owner_id, tuple(map(key_of, names)))


@lru_cache(maxsize=128)
def _wears(association: Table, owner_id: Any, keys: tuple[str, ...]) -> ColumnElement[bool]:
    worn = select(association.c.tag_id).where(association.c.owner_id == owner_id)
    # An unknown name's id is NULL, so that nothing wears it.
    ids = [Known(select(Tag.id).where(Tag.key == key)) for key in keys]
    if ids:
        worn = worn.where(or_(*(association.c.tag_id == tag_id for tag_id in ids)))
    return worn.exists()


def _associations() -> list[tuple[Table, Table]]:
    tables = Base.metadata.tables
    return [(table, tables[table.info[OWNER]]) for table in tables.values() if OWNER in table.info]


def touch_wearers(session: Session, tag_ids: Sequence[int]) -> None:
    """Give every row that wears one of the tags a new version, since it now reads differently."""
    for association, owner in _associations():
        wearers = select(association.c.owner_id).where(association.c.tag_id.in_(tag_ids))
        # Locking in one order keeps two such changes from waiting for each other.
        locked = (
            select(owner.c.id).where(owner.c.id.in_(wearers)).order_by(owner.c.id).with_for_update()
        )
        session.execute(
            update(owner)
            .where(owner.c.id.in_(locked))
            .values(version=owner.c.version + 1, updated_at=utcnow())
        )


def take_off(session: Session, tag_ids: Sequence[int]) -> None:
    """Take tags off every row that wears them."""
    touch_wearers(session, tag_ids)
    for association, _ in _associations():
        session.execute(delete(association).where(association.c.tag_id.in_(tag_ids)))


def replace(session: Session, tag_ids: Sequence[int], target_id: int) -> None:
    """Let every row that wears one of the tags wear the target instead, once."""
    for association, _ in _associations():
        has_target = association.alias()
        wearers = (
            select(association.c.owner_id, Tag.id)
            .distinct()
            .join(Tag, Tag.id == target_id)
            .outerjoin(
                has_target,
                and_(
                    has_target.c.owner_id == association.c.owner_id,
                    has_target.c.tag_id == target_id,
                ),
            )
            .where(association.c.tag_id.in_(tag_ids), has_target.c.tag_id.is_(None))
        )
        session.execute(insert(association).from_select(["owner_id", "tag_id"], wearers))
    take_off(session, tag_ids)


class NamedTag(NamedTuple):
    """What rows need to know of a tag to wear it."""

    id: int
    name: str
    key: str


def tags_named(
    session: Session,
    names: Iterable[str],
    *,
    create: bool,
    at: str = "",
    now: datetime | None = None,
) -> list[NamedTag]:
    """Find the tags of these names, whatever their case, each once and in order of their keys.

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
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    # Again where a tag that stood in the way of the insert is gone by the time it is read.
    while missing := wanted.keys() - found.keys():
        now = now or utcnow()
        # One order for everybody, so that two transactions do not wait for each other's tags.
        rows = [
            {
                "name": wanted[key],
                "key": key,
                "version": 1,
                "description": "",
                "created_at": now,
                "updated_at": now,
            }
            for key in sorted(missing)
        ]
        session.execute(dialect.insert(Tag).values(rows).on_conflict_do_nothing())
        found |= _by_key(session, missing)
    return [found[key] for key in sorted(wanted)]


def put_on(
    session: Session,
    association: Table,
    row: Resource,
    names: Iterable[str],
    *,
    create: bool = True,
    at: str = "/tags",
) -> list[str]:
    """Let a new row wear the tags of these names, and give the names as the tags have them.

    Missing tags are made, or refused, as by ``tags_named``.
    """
    names = list(names)
    missing = {key_of(name) for name in names}
    worn: dict[str, str] = {}
    while missing:
        values = {"owner": row.id} | {f"key_{n}": key for n, key in enumerate(missing)}
        found = _put_on(association, len(missing)).rows(session.connection(), values)
        worn |= {key_of(name): name for (name,) in found}
        missing -= worn.keys()
        if missing:
            tags_named(session, names, create=create, at=at)
    return [worn[key] for key in sorted(worn)]


def wear(session: Session, association: Table, row: Any, names: Iterable[str]) -> None:
    """Let a row wear the tags of these names and no other ones; missing tags are created.

    Its attribute ``tag_names`` has the names then, and other ones are a new version of it. The
    pointer of what is wrong with them begins with ``/tags``.
    """
    if row.id is None:
        new_names: list[str] = []
        set_committed_value(row, "tag_names", new_names)
        session.flush()
        # In place, so that the session has no change of the row to look for.
        new_names += put_on(session, association, row, names)
        return
    tags = tags_named(session, names, create=True, at="/tags")
    worn = [tag.name for tag in tags]
    if row.tag_names == worn:
        return
    session.touch(row)
    session.flush()
    new = {tag.id for tag in tags}
    is_owner = association.c.owner_id == row.id
    old = set(session.scalars(select(association.c.tag_id).where(is_owner)))
    session.execute(delete(association).where(is_owner, association.c.tag_id.in_(old - new)))
    rows = [{"owner_id": row.id, "tag_id": tag_id} for tag_id in sorted(new - old)]
    if rows:
        session.execute(insert(association), rows)
    set_committed_value(row, "tag_names", worn)


@cache
def _put_on(association: Table, count: int) -> Kept:
    keys = [bindparam(f"key_{n}", type_=Text) for n in range(count)]
    by_key = _kept_in_place(
        select(bindparam("owner", type_=BigInt), Tag.id).where(Tag.key.in_(keys))
    )
    # By its text, since SQLAlchemy does not see that the subquery is inside of the INSERT.
    worn = literal_column(f"{association.name}.tag_id", BigInt)
    name = select(Tag.name).where(Tag.id == worn)
    return Kept(
        insert(association)
        .from_select(["owner_id", "tag_id"], by_key)
        .returning(name.scalar_subquery())
    )


def _kept_in_place[T: Select[*tuple[Any, ...]]](tags: T) -> T:
    """Let nobody rename or delete the tags before this transaction ends, as their wearers do."""
    return tags.with_for_update(read=True, key_share=True, of=Tag)


_BY_KEY = _kept_in_place(
    select(Tag.id, Tag.name, Tag.key).where(Tag.key.in_(bindparam("keys", expanding=True)))
)


def _by_key(session: Session, keys: Iterable[str]) -> dict[str, NamedTag]:
    rows = session.connection().execute(_BY_KEY, {"keys": list(keys)}).all()
    return {row.key: NamedTag(*row) for row in rows}
