"""What becomes of those that have a tag, whatever feature they belong to."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import Column, Table, delete, insert, select, text, update
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Base
from vibetracker.core.db.types import BigInt, UTCDateTime, utcnow
from vibetracker.core.http.problems import ValidationFailed
from vibetracker.features.tags.association import tag_association
from vibetracker.features.tags.model import Tag
from vibetracker.features.tags.tagging import put_on, tags_named

from .factory import TagFactory


@dataclass
class Owners:
    """The rows of another feature, and the tags that they have."""

    database: Database
    owner: Table
    association: Table

    def create(self, owner_id: int, *tag_ids: int) -> None:
        """Create a row that has these tags."""
        with self.database.engine.begin() as connection:
            row = {"id": owner_id, "version": 1, "updated_at": utcnow()}
            connection.execute(insert(self.owner), row)
            for tag_id in tag_ids:
                pair = {"owner_id": owner_id, "tag_id": tag_id}
                connection.execute(insert(self.association), pair)

    def tags(self) -> dict[int, set[int]]:
        """Return the ids of the tags of each row."""
        with self.database.engine.connect() as connection:
            found: dict[int, set[int]] = {
                owner_id: set() for owner_id in connection.scalars(select(self.owner.c.id))
            }
            for owner_id, tag_id in connection.execute(select(self.association)):
                found[owner_id].add(tag_id)
        return found

    def versions(self) -> dict[int, int]:
        """Return the version of each row."""
        with self.database.engine.connect() as connection:
            rows = connection.execute(select(self.owner.c.id, self.owner.c.version))
            return {row.id: row.version for row in rows}

    def changed_at(self, owner_id: int) -> datetime:
        """Return when a row changed."""
        with self.database.engine.connect() as connection:
            query = select(self.owner.c.updated_at).where(self.owner.c.id == owner_id)
            moment: datetime = connection.scalars(query).one()
            return moment


@pytest.fixture
def owners(database: Database) -> Iterator[Owners]:
    """Create the tables of another feature, and drop them after the test."""
    owner = Table(
        "owners",
        Base.metadata,
        Column("id", BigInt, primary_key=True),
        Column("version", BigInt),
        Column("updated_at", UTCDateTime),
    )
    tables = [owner, tag_association("owner_tags", "owners")]
    Base.metadata.create_all(database.engine, tables)
    with database.engine.begin() as connection:
        connection.execute(delete(tables[1]))
        connection.execute(delete(owner))
    yield Owners(database, *tables)
    for table in reversed(tables):
        Base.metadata.remove(table)
        table.drop(database.engine)


@pytest.fixture
def tagged(client: TestClient, owners: Owners) -> Owners:
    """Create tags 1 to 4, and rows that have some of them."""
    TagFactory.create_batch(4)
    owners.create(10, 1)
    owners.create(11, 1, 2)
    owners.create(12, 2, 3)
    owners.create(13, 4)
    owners.create(14)
    assert client.get("/tags?include_total=true").json()["total"] == 4
    return owners


def test_a_new_name_is_a_new_version_of_every_owner(client: TestClient, tagged: Owners) -> None:
    before = tagged.changed_at(10)
    assert client.patch("/tags/1", json={"name": "renamed"}).status_code == 200
    assert tagged.versions() == {10: 2, 11: 2, 12: 1, 13: 1, 14: 1}
    assert tagged.changed_at(10) > before
    # Other case is another representation too.
    client.patch("/tags/1", json={"name": "RENAMED"})
    assert tagged.versions() == {10: 3, 11: 3, 12: 1, 13: 1, 14: 1}


def wait_for_a_lock(database: Database, work: Future[Any]) -> None:
    """Wait until work waits for a lock."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with database.engine.connect() as connection:
        while not connection.scalar(waiting):
            assert not work.done()


def test_what_loses_a_tag_while_it_is_renamed_has_no_version_of_that(
    client: TestClient, tagged: Owners
) -> None:
    database, owner, association = tagged.database, tagged.owner, tagged.association
    if database.engine.dialect.name != "postgresql":
        pytest.skip("nobody writes between the statements of a transaction on SQLite")
    with database.session(write=True) as session, ThreadPoolExecutor(1) as pool:
        session.execute(update(owner).where(owner.c.id == 10).values(version=2))
        session.execute(delete(association).where(association.c.owner_id == 10))
        renamed = pool.submit(client.patch, "/tags/1", json={"name": "renamed"})
        wait_for_a_lock(database, renamed)
        session.commit()
        assert renamed.result().status_code == 200
    assert tagged.versions() == {10: 2, 11: 2, 12: 1, 13: 1, 14: 1}


def test_what_gets_a_tag_while_it_is_renamed_has_the_new_name(
    client: TestClient, tagged: Owners
) -> None:
    database, association = tagged.database, tagged.association
    if database.engine.dialect.name != "postgresql":
        pytest.skip("nobody writes between the statements of a transaction on SQLite")

    def put() -> list[str]:
        with database.session(write=True) as session:
            names = put_on(session, association, 14, ["home"])
            session.commit()
            return names

    client.patch("/tags/1", json={"name": "home"})
    with database.session(write=True) as session, ThreadPoolExecutor(1) as pool:
        session.get_one(Tag, 1, with_for_update=True).name = "HOME"
        session.flush()
        names = pool.submit(put)
        wait_for_a_lock(database, names)
        session.commit()
        assert names.result() == ["HOME"]


@pytest.mark.parametrize(
    "changes", [{"color": "#000000"}, {"description": "x"}, {"name": "tag"}, {}, {"color": None}]
)
def test_what_an_owner_does_not_show_leaves_its_version_alone(
    client: TestClient, owners: Owners, changes: dict[str, Any]
) -> None:
    TagFactory.create(name="tag")
    owners.create(10, 1)
    assert client.patch("/tags/1", json=changes).status_code == 200
    assert owners.versions() == {10: 1}


def test_a_deleted_tag_is_taken_off_every_owner(client: TestClient, tagged: Owners) -> None:
    assert client.delete("/tags/1").status_code == 204
    assert tagged.tags() == {10: set(), 11: {2}, 12: {2, 3}, 13: {4}, 14: set()}
    assert tagged.versions() == {10: 2, 11: 2, 12: 1, 13: 1, 14: 1}


def merge(client: TestClient, target: int, *sources: int, query: str = "") -> Response:
    return client.post(f"/tags/{target}/merge{query}", json={"source_ids": sources})


def test_whatever_had_a_source_has_the_target_once(client: TestClient, tagged: Owners) -> None:
    target = client.get("/tags/1").json()
    merged = merge(client, 1, 3, 2)
    assert (merged.status_code, merged.json()) == (200, target)
    assert merged.headers["etag"] == '"1"', "the target itself reads as before"
    assert tagged.tags() == {10: {1}, 11: {1}, 12: {1}, 13: {4}, 14: set()}
    assert tagged.versions() == {10: 1, 11: 2, 12: 2, 13: 1, 14: 1}
    assert [tag["id"] for tag in client.get("/tags?sort=id").json()["items"]] == [1, 4]


def test_a_merge_that_is_repeated_with_its_key_is_done_once(
    client: TestClient, tagged: Owners
) -> None:
    headers = {"Idempotency-Key": "k"}
    answers = [
        client.post("/tags/1/merge", json={"source_ids": [2]}, headers=headers) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert tagged.versions()[12] == 2


NO_SOURCES: list[tuple[object, list[str]]] = [
    ([1], ["/source_ids/0"]),
    ([2, 1], ["/source_ids/1"]),
    ([2, 4711], ["/source_ids/1"]),
    ([4711, 2, 1], ["/source_ids/0", "/source_ids/2"]),
    ([2, 2], ["/source_ids"]),
    ([], ["/source_ids"]),
    (list(range(2, 103)), ["/source_ids"]),
    ([0], ["/source_ids/0"]),
    ([2, "3", True], ["/source_ids/1", "/source_ids/2"]),
    ([2**53], ["/source_ids/0"]),
    (2, ["/source_ids"]),
    (None, ["/source_ids"]),
]


def test_a_merge_is_of_other_tags_and_all_or_nothing(
    client: TestClient, tagged: Owners, subtests: pytest.Subtests
) -> None:
    before = client.get("/tags").json()
    for sources, culprits in NO_SOURCES:
        with subtests.test(str(sources)):
            response = client.post("/tags/1/merge", json={"source_ids": sources})
            assert response.status_code == 422
            assert [error["pointer"] for error in response.json()["errors"]] == culprits
            assert client.get("/tags").json() == before
            assert set(tagged.versions().values()) == {1}


def test_a_hundred_tags_can_be_merged_at_once(client: TestClient, owners: Owners) -> None:
    TagFactory.create_batch(101)
    owners.create(10, *range(2, 102))
    assert merge(client, 1, *range(2, 102)).status_code == 200
    assert owners.tags() == {10: {1}}
    assert owners.versions() == {10: 2}


def test_a_dry_run_touches_no_owner(client: TestClient, tagged: Owners) -> None:
    before = tagged.tags()
    assert merge(client, 1, 2, 3, query="?dry_run=true").status_code == 200
    assert client.delete("/tags/1?dry_run=true").status_code == 204
    assert client.patch("/tags/1?dry_run=true", json={"name": "new"}).status_code == 200
    assert tagged.tags() == before
    assert set(tagged.versions().values()) == {1}


def test_tags_are_found_by_name_or_made_each_once_and_in_order(database: Database) -> None:
    TagFactory.create(name="Home")
    wanted = ["work", "HOME", "Straße", "home", "STRASSE"]
    for _ in range(2):
        with database.session(write=True) as session:
            tags = tags_named(session, iter(wanted), create=True)
            assert [tag.name for tag in tags] == ["Home", "Straße", "work"]
            assert [tag.id for tag in tags] == [1, 2, 3]
            session.commit()


def test_unknown_names_are_pointed_to_where_none_may_be_made(database: Database) -> None:
    TagFactory.create(name="home")
    with (
        database.session(write=False) as session,
        pytest.raises(ValidationFailed) as caught,
    ):
        tags_named(session, iter(["x", "HOME", "y"]), create=False, at="/tags")
    assert [fault["pointer"] for fault in caught.value.errors] == ["/tags/0", "/tags/2"]


def test_a_tag_that_was_made_by_name_is_like_any_other(
    client: TestClient, database: Database
) -> None:
    with database.session(write=True) as session:
        (tag,) = tags_named(session, ["Home"], create=True)
        session.commit()
        assert tag.id == 1
    made = client.get("/tags/1").json()
    assert made.pop("created_at") == made.pop("updated_at")
    assert made == {"id": 1, "name": "Home", "version": 1, "color": None, "description": ""}
