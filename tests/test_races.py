"""Many clients at once: one wins, the others get an error, and no update is lost."""

from collections import Counter

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from vibetracker.testing import at_once


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """Return how often to race; SQLite's writers exclude each other, so that a few rounds do."""
    return 30 if request.config.getoption("postgres") else 3


def test_of_many_writes_with_one_version_one_succeeds(
    busy_specimens: TestClient, rounds: int
) -> None:
    version = busy_specimens.post("/specimens", json={"label": "a"}).headers["etag"]

    def change(number: int) -> Response:
        return busy_specimens.patch(
            "/specimens/1", json={"note": f"{version} {number}"}, headers={"If-Match": version}
        )

    for _ in range(rounds):
        answers = at_once(change)
        assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 15}
        (winner,) = (answer for answer in answers if answer.status_code == 200)
        version = winner.headers["etag"]
        assert {answer.headers["etag"] for answer in answers} == {version}
        assert busy_specimens.get("/specimens/1").json() == winner.json()


def test_of_many_requests_with_one_key_one_has_an_effect(
    busy_specimens: TestClient, rounds: int
) -> None:
    def create(_: int) -> Response:
        while True:
            answer = busy_specimens.post("/specimens", json=body, headers=headers)
            if answer.status_code == 201:
                return answer
            assert answer.status_code == 409
            assert answer.json()["type"] == "/problems/idempotency-key-in-flight"
            assert int(answer.headers["retry-after"]) >= 1

    for number in range(rounds // 3):
        body = {"label": f"specimen {number}"}
        headers = {"Idempotency-Key": f"key-{number}"}
        answers = at_once(create)
        assert len({(answer.content, answer.headers["location"]) for answer in answers}) == 1
        assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len(busy_specimens.get("/specimens").json()["items"]) == rounds // 3


def test_of_many_creations_that_exclude_each_other_one_succeeds(
    busy_specimens: TestClient, rounds: int
) -> None:
    def create(_: int) -> Response:
        return busy_specimens.post("/specimens", json=body)

    for number in range(rounds // 3):
        body = {"label": f"specimen {number}"}
        answers = at_once(create)
        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 15}


def test_changes_of_different_fields_without_a_condition_all_survive(
    busy_specimens: TestClient, rounds: int
) -> None:
    busy_specimens.post("/specimens", json={"label": "a"})

    def change(number: int) -> Response:
        return busy_specimens.patch("/specimens/1", json=bodies[number])

    for round_ in range(1, rounds + 1):
        bodies = [{"note": f"{round_}"}, {"weight": round_}, {"label": f"{round_}"}]
        answers = at_once(change, workers=3)
        assert {answer.status_code for answer in answers} == {200}
        specimen = busy_specimens.get("/specimens/1").json()
        assert (specimen["note"], specimen["label"]) == (f"{round_}", f"{round_}")
        assert (specimen["weight"], specimen["version"]) == (round_, 1 + 3 * round_)


def test_no_increment_is_lost_with_a_condition(busy_specimens: TestClient, rounds: int) -> None:
    busy_specimens.post("/specimens", json={"label": "a", "weight": 0})

    def increment(_: int) -> None:
        done = 0
        while done < rounds // 3:
            now = busy_specimens.get("/specimens/1")
            weight = now.json()["weight"] + 1
            headers = {"If-Match": now.headers["etag"]}
            answer = busy_specimens.patch("/specimens/1", json={"weight": weight}, headers=headers)
            assert answer.status_code in {200, 412}
            done += answer.status_code == 200

    at_once(increment, workers=6)
    assert busy_specimens.get("/specimens/1").json()["weight"] == 6 * (rounds // 3)


def test_a_storm_of_changes_and_deletions_is_no_server_error(
    busy_specimens: TestClient, rounds: int
) -> None:
    def storm(number: int) -> int:
        if number % 2:
            return busy_specimens.delete(url).status_code
        return busy_specimens.patch(url, json={"weight": number}).status_code

    for number in range(rounds):
        created = busy_specimens.post("/specimens", json={"label": f"{number}"})
        url = created.headers["location"]
        answers = Counter(at_once(storm))
        assert answers[204] == 1
        assert set(answers) <= {200, 204, 404}
        assert busy_specimens.get(url).status_code == 404
