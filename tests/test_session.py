"""The session of a request: SQLAlchemy's own, and the versions of the rows that it writes."""

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy import null as sql_null
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError
from sqlalchemy.orm import aliased
from sqlalchemy.orm.exc import StaleDataError

from vibetracker.core.api.preconditions import lock_rows
from vibetracker.core.db.changes import table_of
from vibetracker.core.db.database import Database
from vibetracker.core.db.types import utcnow

from .specimens import Crate, Drawer, Keyed, Label, Oddity, Specimen, SpecimenFactory


def test_what_is_added_is_found_by_the_next_query(database: Database) -> None:
    with database.session(write=True) as session:
        specimens = [Specimen(label=label) for label in "cab"]
        session.add_all(specimens)
        assert session.scalar(select(func.count()).select_from(Specimen)) == 3
        assert [specimen.id for specimen in specimens] == [1, 2, 3]
        assert session.get(Specimen, 2) is specimens[1]
        session.rollback()
        assert session.scalar(select(func.count()).select_from(Specimen)) == 0


def test_a_new_row_has_its_first_version_whatever_else_the_transaction_writes_of_it(
    database: Database,
) -> None:
    with database.session(write=True) as session:
        specimen = Specimen(label="a")
        session.add(specimen)
        session.flush()
        specimen.note = "more"
        session.commit()
        assert (specimen.version, specimen.origin) == (1, "unknown")
        assert specimen.updated_at == specimen.created_at


def test_one_transaction_changes_a_version_once_and_only_for_a_change(database: Database) -> None:
    made = SpecimenFactory.create(note="old")
    with database.session(write=True) as session:
        found = session.get_one(Specimen, made.id)
        found.note = "new"
        found.note = "old"
        session.flush()
        assert (found.version, found.updated_at) == (1, made.updated_at)
        found.note = "new"
        session.flush()
        found.weight = 7
        session.flush()
        assert found.version == 2
        assert found.updated_at > made.updated_at
        session.commit()
        found.note = "newer"
        session.commit()
        assert found.version == 3
    with database.session(write=False) as session:
        row = session.execute(select(Specimen.note, Specimen.weight, Specimen.version)).one()
        assert tuple(row) == ("newer", 7, 3)


def test_an_update_statement_counts_versions_where_it_does_not_set_them(database: Database) -> None:
    specimens = [SpecimenFactory.create(label=label) for label in "abc"]
    rows = select(Specimen.version, Specimen.updated_at).order_by(Specimen.id)
    begun = utcnow()
    with database.session(write=True) as session:
        other = aliased(Specimen)
        found = session.get_one(Specimen, 1)
        session.execute(update(Specimen).where(Specimen.label < "c").values(note="by statement"))
        assert (found.note, found.version) == ("by statement", 2)
        session.execute(update(other).where(other.label == "b").values(weight=1))
        session.execute(
            update(Specimen)
            .where(Specimen.label == "b")
            .values(version=Specimen.version + 5, updated_at=specimens[1].updated_at)
        )
        session.commit()
        found.note = "by the object"
        session.commit()
        versions, instants = zip(*session.execute(rows), strict=True)
    assert versions == (3, 8, 1)
    assert [instant > begun for instant in instants] == [True, False, False]


def test_an_update_that_cannot_count_versions_is_refused(database: Database) -> None:
    changed = update(Specimen).values(note="changed").returning(Specimen)
    with database.session(write=True) as session:
        with pytest.raises(TypeError, match=r"counts no versions; execute update"):
            session.execute(update(Specimen), [{"id": 1, "note": "changed"}])
        with pytest.raises(TypeError, match=r"counts no versions; execute update"):
            session.scalars(select(Specimen).from_statement(changed))


def test_what_a_savepoint_rolls_back_has_no_version(database: Database) -> None:
    made = SpecimenFactory.create()
    with database.session(write=True) as session:
        found = session.get_one(Specimen, made.id)
        with session.begin_nested() as savepoint:
            found.note = "not kept"
            session.flush()
            assert found.version == 2
            savepoint.rollback()
        assert (found.note, found.version) == ("", 1)
        found.note = "kept"
        with session.begin_nested():
            session.add(Specimen(label="b"))
        session.commit()
        assert (found.note, found.version) == ("kept", 2)
        assert session.scalar(select(func.count()).select_from(Specimen)) == 2


def test_a_many_to_many_collection_is_a_part_of_its_row(database: Database) -> None:
    made = SpecimenFactory.create_batch(2)
    with database.session(write=True) as session:
        specimens = session.scalars(select(Specimen).order_by(Specimen.id)).all()
        drawer = Drawer(name="Top", finest=specimens[0])
        session.add(drawer)
        session.commit()
        assert (drawer.version, drawer.sign, drawer.finest_id) == (1, "TOP", made[0].id)
        drawer.contents.append(specimens[1])
        session.commit()
        assert (drawer.version, specimens[1].version) == (2, 1)
        drawer.contents.append(specimens[0])
        drawer.name = "Low"
        session.commit()
        assert (drawer.version, drawer.sign) == (3, "LOW")
        session.delete(drawer)
        session.commit()
        assert session.get(Drawer, drawer.id) is None


def test_a_row_that_somebody_else_has_changed_is_neither_written_nor_deleted(
    database: Database,
) -> None:
    made = SpecimenFactory.create()
    with database.session(write=True) as session:
        found = session.get_one(Specimen, made.id)
        session.execute(text("UPDATE specimens SET version = 2"))
        found.note = "late"
        with pytest.raises(StaleDataError):
            session.flush()
        session.rollback()
        found = session.get_one(Specimen, made.id)
        session.execute(text("UPDATE specimens SET version = 2"))
        session.delete(found)
        with pytest.raises(StaleDataError):
            session.flush()


def test_columns_and_defaults_are_those_of_sqlalchemy(database: Database) -> None:
    with database.session(write=True) as session:
        odd, keyed = Oddity(kind="odd"), Keyed(kind="keyed")
        session.add_all([odd, keyed])
        session.commit()
        odd.kind = "changed"
        session.commit()
        assert (odd.maker, odd.version) == ("somebody else", 2)
        assert tuple(session.execute(select(Keyed.kind, Keyed.maker)).one()) == ("keyed", "python")


def test_two_enums_of_one_name_are_stored_as_text(database: Database) -> None:
    with database.session(write=True) as session:
        session.add_all([Crate(), Label()])
        session.commit()
        assert session.scalars(select(Crate.kind).where(Crate.kind == Crate.Kind.WOOD)).all()
        assert session.scalars(select(Label.kind)).all() == [Label.Kind.PRINTED]
    for model in (Crate, Label):
        on_postgresql = table_of(model).c.kind.type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call] # SQLAlchemy's own
        assert on_postgresql.startswith("VARCHAR")


def test_null_is_that_of_sql_unless_json_says_so(database: Database) -> None:
    with database.session(write=True) as session:
        session.add_all([Label(), Label(content=None)])
        session.flush()
        nulls = select(func.count()).select_from(Label).where(Label.content.is_(sql_null()))
        assert session.scalar(nulls) == 1


def test_contents_that_change_in_place_are_written(database: Database) -> None:
    with database.session(write=True) as session:
        crate = Crate(side=2, contents={"apples": 1})
        session.add(crate)
        session.commit()
        assert crate.contents is not None
        crate.contents["pears"] = 2
        crate.side = 3
        session.commit()
        assert (crate.area, crate.version) == (9, 2)
        session.expunge_all()
        assert session.get_one(Crate, crate.id).contents == {"apples": 1, "pears": 2}


def test_values_are_read_as_they_were_written(database: Database) -> None:
    made = SpecimenFactory.create(length=1.5, weight=-7, found_at=utcnow(), note="é\n")
    with database.session(write=False) as session:
        found = session.get_one(Specimen, made.id)
        assert (found.length, found.weight, found.note) == (1.5, -7, "é\n")
        assert found.found_at == made.found_at


def test_rows_are_locked_until_the_transaction_ends(database: Database) -> None:
    if database.in_memory:
        pytest.skip("SQLite lets one transaction write at a time")
    made = SpecimenFactory.create_batch(2)
    free = select(Specimen.id).with_for_update(skip_locked=True)
    with database.session(write=True) as session, database.session(write=True) as other:
        lock_rows(session, Specimen, [made[0].id])
        assert other.scalars(free).all() == [made[1].id]
        session.rollback()
        assert len(other.scalars(free).all()) == 2


def test_nothing_is_committed_after_a_flush_that_failed(database: Database) -> None:
    made = SpecimenFactory.create()
    with database.session(write=True) as session:
        session.add_all([Specimen(label="before"), Specimen(label=made.label)])
        with pytest.raises(IntegrityError):
            session.flush()
        with pytest.raises(PendingRollbackError):
            session.commit()
        session.rollback()
        session.add(Specimen(label="anew"))
        session.commit()
        labels = session.scalars(select(Specimen.label).order_by(Specimen.label)).all()
        assert labels == ["anew", made.label]


def test_a_commit_that_succeeds_has_stored_everything(database: Database) -> None:
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
            session.rollback()
        assert session.scalar(select(func.count()).select_from(Specimen)) == kept


def test_many_rows_are_read_in_portions(database: Database) -> None:
    SpecimenFactory.create_batch(5)
    every = select(Specimen).order_by(Specimen.id).execution_options(yield_per=2)
    for write in (False, True):
        with database.session(write=write) as session:
            assert [specimen.id for specimen in session.scalars(every)] == [1, 2, 3, 4, 5]
