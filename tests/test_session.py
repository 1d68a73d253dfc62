"""The short way of resources to the database: what is added, found, changed and deleted."""

import math
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Date,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Uuid,
    bindparam,
    func,
    select,
    text,
    update,
)
from sqlalchemy import null as sql_null
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InvalidRequestError,
    PendingRollbackError,
)
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.types import TypeEngine
from vibetracker.core.statements import ManyRows

from vibetracker.core.db.database import Database
from vibetracker.core.db.types import BigInt, utcnow

from .specimens import Crate, Drawer, Keyed, Label, Oddity, Specimen, SpecimenFactory


def test_what_is_added_is_written_at_the_next_flush(database: Database) -> None:
    with database.session(write=True) as session:
        specimens = [Specimen(label=label) for label in "cab"]
        session.add_all(specimens)
        assert session.scalar(select(func.count()).select_from(Specimen)) == 0
        session.flush()
        assert [specimen.id for specimen in specimens] == [1, 2, 3]
        assert session.scalars(select(Specimen.label).order_by(Specimen.id)).all() == [*"cab"]
        session.rollback()
        assert session.scalar(select(func.count()).select_from(Specimen)) == 0


def test_a_new_row_knows_what_the_database_makes_of_it(database: Database) -> None:
    with database.session(write=True) as session:
        one = Specimen(label=func.upper("a"))
        session.add(one)
        session.flush()
        others = [Specimen(label="b"), Specimen(label="c", origin="a lake")]
        session.add_all(others)
        session.flush()
        assert (one.label, one.origin) == ("A", "unknown")
        assert [other.origin for other in others] == ["unknown", "a lake"]


def test_many_rows_keep_their_values_and_their_order(database: Database) -> None:
    moment = datetime(2026, 3, 29, 2, 30, 0, 7, tzinfo=ZoneInfo("America/St_Johns"))
    values: list[dict[str, Any]] = [
        {"label": "z", "note": 'a "quote", a \\ and a \t%s', "length": 0.1, "weight": 2**31 - 1},
        {"label": "\N{SNOWMAN}", "note": "null", "length": 1e308, "found_at": moment},
        {"label": "a", "note": "", "length": math.inf, "weight": 0},
        {"label": "b", "length": -5e-324, "origin": "a lake"},
    ]
    with database.session(write=True) as session:
        made = [Specimen(**each) for each in values]
        session.add_all(made)
        session.commit()
        session.expunge_all()
        for each, specimen in zip(values, made, strict=True):
            found = session.find(Specimen, specimen.id, locked=False)
            assert found is not None
            assert found is not specimen
            assert vars(found).items() >= each.items()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (LargeBinary, [b"\xff\x00", b""]),
        (JSON, [{"to": ["x"]}, "y"]),
        (Interval, [-timedelta(hours=5), timedelta(seconds=1)]),
        (Uuid, [UUID(int=1), UUID(int=2**128 - 1)]),
        (Boolean, [True, False]),
        (Date, [date(2026, 2, 28), date(1, 1, 1)]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_many_rows_keep_what_is_no_text(
    database: Database, kind: type[TypeEngine[Any]], values: list[object]
) -> None:
    table = Table(
        "parcels", MetaData(), Column("id", BigInt, primary_key=True), Column("content", kind)
    )
    rows = [{"content": value} for value in values]
    with database.engine.connect() as connection:
        table.create(connection)
        try:
            ids = ManyRows(table, ("content",)).insert(connection, rows)
            found = connection.execute(select(table).order_by(table.c.id)).all()
            assert [tuple(row) for row in found] == list(zip(ids, values, strict=True))
        finally:
            table.drop(connection)


def test_a_model_with_relationships_keeps_the_same_rules(database: Database) -> None:
    made = SpecimenFactory.create()
    with database.session(write=True) as session:
        drawer = Drawer(name="Top")
        session.add(drawer)
        session.flush()
        assert (drawer.version, drawer.sign) == (1, "TOP")
        drawer.finest = session.get(Specimen, made.id)
        drawer.name = "Low"
        session.flush()
        assert (drawer.version, drawer.sign, drawer.finest_id) == (2, "LOW", made.id)
        session.commit()
        session.expunge_all()
        found = session.find(Drawer, drawer.id, locked=True)
        assert found is not None
        assert found.finest is not None
        assert (found.sign, found.finest.label) == ("LOW", made.label)
        session.delete(found)
        session.commit()
        assert session.find(Drawer, drawer.id, locked=False) is None


@pytest.mark.parametrize("count", [1, 2])
def test_a_model_whose_columns_are_named_otherwise_keeps_its_values(
    database: Database, count: int
) -> None:
    with database.session(write=True) as session:
        odd = [Oddity(kind=f"odd {n}") for n in range(count)]
        keyed = [Keyed(kind=f"keyed {n}") for n in range(count)]
        session.add_all([*odd, *keyed])
        session.flush()
        found = session.find_all(Oddity, [row.id for row in odd], locked=True)
        assert list(found.values()) == odd
        odd[0].kind = "changed"
        session.commit()
        kinds = session.scalars(select(Oddity.kind).order_by(Oddity.id)).all()
        assert kinds == ["changed", "odd 1"][:count]
        makers = session.scalars(select(Oddity.maker).order_by(Oddity.id)).all()
        assert makers == ["somebody else", "somebody"][:count]
        written = session.execute(select(Keyed.kind, Keyed.maker).order_by(Keyed.id)).all()
        assert [tuple(row) for row in written] == [(row.kind, "python") for row in keyed]


def test_many_rows_may_have_ids_of_their_own(database: Database) -> None:
    with database.session(write=True) as session:
        session.add_all([Specimen(id=7, label="a"), Specimen(id=5, label="b")])
        session.add_all([Specimen(id=None, label="c"), Specimen(label="d")])
        session.commit()
        labels = dict(session.execute(select(Specimen.label, Specimen.id)).all())
        assert (labels["a"], labels["b"]) == (7, 5)
        assert len(labels) == 4


def test_one_flush_changes_a_version_once_and_only_for_a_change(database: Database) -> None:
    made = SpecimenFactory.create(note="old")
    with database.session(write=True) as session:
        found = session.find(Specimen, made.id, locked=True)
        assert found is not None
        assert session.find(Specimen, made.id, locked=True) is found
        found.note = "new"
        found.note = "old"
        session.flush()
        assert (found.version, found.updated_at) == (1, made.updated_at)
        found.note, found.weight = "new", 7
        session.flush()
        session.flush()
        assert found.version == 2
        assert found.updated_at > made.updated_at
        session.touch(found)
        session.commit()
    with database.session(write=False) as session:
        row = session.execute(select(Specimen.note, Specimen.weight, Specimen.version)).one()
        assert tuple(row) == ("new", 7, 3)


def test_a_row_that_somebody_else_has_changed_is_not_written(database: Database) -> None:
    made = SpecimenFactory.create()
    with database.session(write=True) as session:
        found = session.find(Specimen, made.id, locked=False)
        assert found is not None
        session.execute(text("UPDATE specimens SET version = 2"))
        found.note = "late"
        with pytest.raises(StaleDataError):
            session.flush()
        session.rollback()
        with pytest.raises(StaleDataError):
            session.delete(Specimen(id=4711, label="never there"))


def test_what_a_statement_has_changed_can_be_read_again(database: Database) -> None:
    made = SpecimenFactory.create_batch(3)
    with database.session(write=True) as session:
        first, second, third = session.find_all(
            Specimen, [specimen.id for specimen in made], locked=True
        ).values()
        session.execute(update(Specimen).values(note="all", version=2))
        session.refresh(first)
        assert (first.note, second.note) == ("all", "")
        session.reread()
        assert (second.note, third.version) == ("all", 2)
        second.note = "mine"
        session.commit()
        assert second.version == 3


def test_what_is_changed_is_not_lost_when_more_is_found(database: Database) -> None:
    made = SpecimenFactory.create_batch(2)
    with database.session(write=True) as session:
        found = session.find(Specimen, made[0].id, locked=True)
        assert found is not None
        found.note = "new"
        session.find_all(Specimen, [specimen.id for specimen in made], locked=True)
        session.commit()
        session.expunge_all()
        again = session.find(Specimen, found.id, locked=False)
        assert again is not None
        assert (again.note, again.version) == ("new", 2)


def test_what_was_found_before_can_be_locked_later(database: Database) -> None:
    if database.in_memory:
        pytest.skip("SQLite lets one transaction write at a time")
    made = SpecimenFactory.create()
    free = select(Specimen.id).with_for_update(skip_locked=True)
    with database.session(write=True) as session, database.session(write=True) as other:
        found = session.find(Specimen, made.id, locked=False)
        assert other.scalars(free).all() == [made.id]
        other.rollback()
        assert session.find(Specimen, made.id, locked=True) is found
        assert other.scalars(free).all() == []


def test_what_somebody_else_has_changed_is_not_deleted(database: Database) -> None:
    made = SpecimenFactory.create()
    with database.session(write=True) as session:
        found = session.find(Specimen, made.id, locked=False)
        session.execute(text("UPDATE specimens SET version = 2"))
        with pytest.raises(StaleDataError):
            session.delete(found)


def test_nothing_is_committed_after_a_flush_that_failed(database: Database) -> None:
    made = SpecimenFactory.create()
    with database.session(write=True) as session:
        session.add_all([Specimen(label="before"), Specimen(label=made.label)])
        with pytest.raises(IntegrityError):
            session.flush()
        session.add(Specimen(label="behind"))
        with pytest.raises(PendingRollbackError):
            session.commit()
        session.rollback()
        session.add(Specimen(label="anew"))
        session.commit()
        labels = session.scalars(select(Specimen.label).order_by(Specimen.label)).all()
        assert labels == ["anew", made.label]


def test_a_commit_that_succeeds_has_kept_everything(database: Database) -> None:
    with database.session(write=True) as session:
        session.add(Specimen(label="a"))
        session.flush()
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT nothing"))
        kept = 1
        try:
            session.commit()
        except DBAPIError:
            kept = 0
        assert session.scalar(select(func.count()).select_from(Specimen)) == kept


def test_a_statement_for_many_rows_is_part_of_the_transaction(database: Database) -> None:
    made = SpecimenFactory.create_batch(2)
    with database.session(write=True) as session:
        statement = update(Specimen.metadata.tables["specimens"]).where(
            Specimen.id == bindparam("this")
        )
        session.connection().execute(
            statement.values(note="new"), [{"this": specimen.id} for specimen in made]
        )
        session.rollback()
        assert session.scalars(select(Specimen.note)).all() == ["", ""]


def test_a_session_is_one_transaction(database: Database) -> None:
    with database.session(write=True) as session:
        for begin in (session.begin, session.begin_nested):
            with pytest.raises(InvalidRequestError):
                begin()


def test_a_row_is_added_once(database: Database) -> None:
    with database.session(write=True) as session:
        specimen = Specimen(label="a")
        for _ in range(2):
            session.add(specimen)
            session.add(specimen)
            session.flush()
        assert session.scalar(select(func.count()).select_from(Specimen)) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_none_is_the_default_where_there_is_one(database: Database, count: int) -> None:
    with database.session(write=True) as session:
        made = [Specimen(label=f"{n}", note=None, origin=None) for n in range(count)]
        session.add_all(made)
        session.flush()
        assert {(specimen.note, specimen.origin) for specimen in made} == {("", "unknown")}


@pytest.mark.parametrize("count", [1, 2])
def test_null_is_that_of_sql_unless_json_says_so(database: Database, count: int) -> None:
    with database.session(write=True) as session:
        session.add_all(Label() for _ in range(count))
        session.add(Label(content=None))
        session.flush()
        nulls = select(func.count()).select_from(Label).where(Label.content.is_(sql_null()))
        assert session.scalar(nulls) == count


def test_contents_that_change_in_place_are_written(database: Database) -> None:
    with database.session(write=True) as session:
        crate = Crate(side=2, contents={"apples": 1})
        session.add(crate)
        session.flush()
        assert crate.contents is not None
        crate.contents["pears"] = 2
        crate.side = 3
        session.commit()
        assert (crate.area, crate.version) == (9, 2)
        session.expunge_all()
        found = session.find(Crate, crate.id, locked=False)
        assert found is not None
        assert found.contents == {"apples": 1, "pears": 2}


def test_a_field_may_have_any_name(database: Database) -> None:
    made = SpecimenFactory.create(row_id=1)
    with database.session(write=True) as session:
        found = session.find(Specimen, made.id, locked=True)
        assert found is not None
        found.row_id, found.row_version = 2, 3
        session.commit()
        assert (found.row_id, found.row_version, found.version) == (2, 3, 2)


def test_values_come_back_as_what_they_were(database: Database) -> None:
    made = SpecimenFactory.create(length=1.5, weight=-7, found_at=utcnow(), note="é\n")
    with database.session(write=False) as session:
        for _ in range(2):
            found = session.find(Specimen, made.id, locked=False)
            assert found is not None
            assert (found.length, found.weight, found.note) == (1.5, -7, "é\n")
            assert found.found_at == made.found_at
            session.expunge_all()


def test_what_is_deleted_is_gone(database: Database) -> None:
    made = SpecimenFactory.create()
    with database.session(write=True) as session:
        found = session.find(Specimen, made.id, locked=True)
        session.delete(found)
        assert session.find(Specimen, made.id, locked=True) is None
        session.commit()
