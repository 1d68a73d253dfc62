"""The constraints of the database, which hold for every statement."""

import pytest
from sqlalchemy import Table, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Base
from vibetracker.features.tags.tests.factory import TagFactory

from .factory import TaskFactory

NOW = "'2020-02-02 00:00:00'"


@pytest.fixture
def table(database: Database) -> Table:  # noqa: ARG001 - it empties the tables
    """Create the tasks 1 to 4: to do, done, cancelled, and in the trash."""
    TaskFactory.create()
    TaskFactory.create(done=True)
    TaskFactory.create(cancelled=True)
    TaskFactory.create(trashed=True, in_progress=True)
    return Base.metadata.tables["tasks"]


BREACHES: list[tuple[int, str]] = [
    (1, "title = ''"),
    (1, "title = NULL"),
    (1, f"title = '{'x' * 501}'"),
    (1, "description = NULL"),
    (1, f"description = '{'x' * 50_001}'"),
    (1, "status = 2"),
    (1, "status = 3"),
    (1, "status = 4"),
    (1, "status = -1"),
    (1, "status = NULL"),
    (1, "priority = 5"),
    (1, "priority = -1"),
    (1, "priority = NULL"),
    (1, f"due_on = '2020-02-02', due_at = {NOW}, due = {NOW}"),
    (1, "due_on = '2020-02-02'"),
    (1, f"due_at = {NOW}"),
    (1, f"due = {NOW}"),
    (1, f"due_at = {NOW}, due = {NOW}, start_at = '2020-02-03 00:00:00'"),
    (1, f"completed_at = {NOW}"),
    (1, f"cancelled_at = {NOW}"),
    (1, f"started_at = {NOW}"),
    (2, "completed_at = NULL"),
    (2, "status = 0"),
    (2, f"cancelled_at = {NOW}"),
    (3, "cancelled_at = NULL"),
    (3, "status = 1"),
    (3, f"completed_at = {NOW}"),
    (4, "deleted_at = NULL"),
    (4, "deleted_with = NULL"),
    (1, f"deleted_at = {NOW}"),
    (1, "deleted_with = 1"),
    (1, "parent_id = 1"),
    (1, "parent_id = 77"),
    (1, "position = NULL"),
    (1, "position = ''"),
    (1, "version = NULL"),
    (1, "id = 2"),
]


def test_an_update_that_breaks_an_invariant_is_refused(
    database: Database, table: Table, subtests: pytest.Subtests
) -> None:
    with database.engine.begin() as connection:
        before = connection.execute(select(table).order_by(table.c.id)).all()
    for task_id, change in BREACHES:
        with subtests.test(f"{task_id} {change:.40}"):
            with pytest.raises(IntegrityError), database.engine.begin() as connection:
                connection.execute(text(f"UPDATE tasks SET {change} WHERE id = {task_id}"))  # noqa: S608 - it is the SQL that is tested
            with database.engine.begin() as connection:
                assert connection.execute(select(table).order_by(table.c.id)).all() == before


def test_a_task_has_a_tag_once_and_both_exist(database: Database, table: Table) -> None:
    tag = TagFactory.create()
    pairs = Base.metadata.tables["task_tags"]
    with database.engine.begin() as connection:
        connection.execute(insert(pairs).values(owner_id=1, tag_id=tag.id))
    for owner_id, tag_id in ((1, tag.id), (77, tag.id), (1, 77)):
        with pytest.raises(IntegrityError), database.engine.begin() as connection:
            connection.execute(insert(pairs).values(owner_id=owner_id, tag_id=tag_id))
    with pytest.raises(IntegrityError), database.engine.begin() as connection:
        connection.execute(text("DELETE FROM tags"))
    with database.engine.begin() as connection:
        connection.execute(delete(table).where(table.c.id == 1))
        assert connection.execute(select(pairs)).all() == []


def test_a_subtree_goes_with_its_root(database: Database, table: Table) -> None:
    with database.engine.begin() as connection:
        connection.execute(update(table).where(table.c.id > 1).values(parent_id=table.c.id - 1))
        connection.execute(delete(table).where(table.c.id == 2))
        assert connection.scalars(select(table.c.id)).all() == [1]
