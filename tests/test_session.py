"""The short way of resources to the database: what is added, found, changed and deleted."""

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm.exc import StaleDataError

from vibetracker.core.database import Database
from vibetracker.core.model import utcnow

from .specimens import Specimen, SpecimenFactory


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
