"""Many clients at once on the same tags."""

from collections import Counter
from random import Random

import pytest
from httpx2 import Response
from sqlalchemy import delete, event, insert
from starlette.testclient import TestClient

from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.features.tags.model import Tag
from vibetracker.features.tags.tagging import tags_named
from vibetracker.testing import at_once

SHARED = [f"shared {number}" for number in range(15)]


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """Return how often to race; SQLite's writers exclude each other, so that a few rounds do."""
    return 10 if request.config.getoption("postgres") else 2


def test_of_many_that_create_the_same_tag_one_succeeds(
    busy_client: TestClient, rounds: int
) -> None:
    spellings = ("straße", "STRASSE", "Straße", "strasse")

    def create(number: int) -> Response:
        return busy_client.post("/tags", json={"name": spellings[number % 4] + suffix})

    suffix = ""
    for _ in range(rounds):
        suffix += "!"
        answers = at_once(create)
        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 15}
        (made,) = (answer.json()["id"] for answer in answers if answer.status_code == 201)
        existing = {answer.json()["existing_id"] for answer in answers if answer.status_code == 409}
        assert existing == {made}


def test_all_that_need_the_same_new_tags_share_them(busy_database: Database, rounds: int) -> None:
    def need(number: int) -> list[int]:
        names = [name + suffix for name in SHARED]
        Random(number).shuffle(names)  # noqa: S311 - an order that is the same every time
        with busy_database.session(write=True) as session:
            ids = [tag.id for tag in tags_named(session, names, create=True)]
            session.commit()
        return ids

    suffix = ""
    for _ in range(rounds):
        suffix += "!"
        shared = at_once(need)
        assert len(shared[0]) == len(SHARED)
        assert all(ids == shared[0] for ids in shared)


def test_a_tag_that_goes_while_it_is_needed_is_made_again(
    database: Database, settings: Settings
) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("nobody writes between the statements of a transaction on SQLite")
    other = Database(settings)

    # A request that needs the tag looks for it, inserts it, and looks again: in between it is made,
    # and is gone again.
    row = {"name": "home", "key": "home", "search_key": "home", "version": 1, "description": ""}
    changes = iter([insert(Tag).values(row), delete(Tag)])

    def in_between(*_: object) -> None:
        if (change := next(changes, None)) is not None:
            with other.session(write=True) as session:
                session.execute(change)
                session.commit()

    event.listen(database.engine, "after_cursor_execute", in_between)
    try:
        with database.session(write=True) as session:
            (tag,) = tags_named(session, ["Home"], create=True)
            session.commit()
    finally:
        event.remove(database.engine, "after_cursor_execute", in_between)
    assert (tag.id, tag.name) == (3, "Home")
    other.dispose()


def test_two_merges_in_both_directions_leave_one_tag(busy_client: TestClient, rounds: int) -> None:
    def merge(number: int) -> int:
        target, source = ids if number % 2 else reversed(ids)
        body = {"source_ids": [source]}
        return busy_client.post(f"/tags/{target}/merge", json=body).status_code

    for round_ in range(rounds):
        ids = [
            busy_client.post("/tags", json={"name": f"{side} {round_}"}).json()["id"]
            for side in ("left", "right")
        ]
        answers = Counter(at_once(merge, workers=2))
        assert answers[200] == 1
        assert set(answers) <= {200, 404, 422}
        left = busy_client.get("/tags?limit=200").json()["items"]
        assert len([tag for tag in left if tag["id"] in ids]) == 1
