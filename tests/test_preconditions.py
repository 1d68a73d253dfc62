"""Conditional requests: ETag, If-Match and If-None-Match on the version of a resource."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from .operations import operations

MATCHING = [
    *('"2"', "*", ' "2" ', " * ", '"1", "2"', '"2","1"', '"1" ,"2" , "3"', ',, "2",', '"x,y", "2"'),
    *('W/"2", "2"', '"2", W/"1"', '"", "2"', '"\x80\xff", "2"'),
]
NOT_MATCHING = [
    *('"1"', '"3"', '"1", "3"', 'W/"2"', 'W/"2", "1"', '""', '"02"', '"2 "', "'2'", '"*"', "**"),
    *(
        "2",
        "",
        ",",
        '"',
        '"2',
        '2"',
        'w/"2"',
        'W"2"',
        'x"2"',
        '"2"x',
        '"2" "2"',
        '*, "2"',
        '"2", *',
    ),
]


@pytest.fixture
def specimen(specimens: TestClient) -> dict[str, Any]:
    """Create specimen 1, and change it to version 2."""
    specimens.post("/specimens", json={"label": "a"})
    changed: dict[str, Any] = specimens.patch("/specimens/1", json={"weight": 1}).json()
    return changed


def write(specimens: TestClient, method: str, if_match: str, query: str = "") -> Response:
    """Write to specimen 1 by this method, with an ``If-Match``."""
    path = "/specimens/1/weigh" if method == "POST" else "/specimens/1"
    body: Any = {} if method == "DELETE" else {"json": {"weight": 5}}
    headers = {b"If-Match": if_match.encode("latin-1")}
    return specimens.request(method, path + query, headers=headers, **body)


@pytest.mark.usefixtures("specimen")
@pytest.mark.parametrize("method", ["PATCH", "DELETE", "POST"])
def test_a_write_goes_on_when_its_condition_holds(specimens: TestClient, method: str) -> None:
    response = write(specimens, method, '"2"')
    assert response.status_code == (204 if method == "DELETE" else 200)
    assert response.headers.get("etag") == (None if method == "DELETE" else '"3"')


@pytest.mark.usefixtures("specimen")
def test_a_condition_holds_when_one_of_the_versions_is_current(specimens: TestClient) -> None:
    for if_match in MATCHING:
        response = write(specimens, "PATCH", if_match, query="?dry_run=true")
        assert response.status_code == 200, if_match


@pytest.mark.parametrize(
    ("method", "refused"),
    [
        ("PATCH", NOT_MATCHING),
        *((method, NOT_MATCHING[:5]) for method in ("DELETE", "POST")),
        *(
            pytest.param(method, NOT_MATCHING[5:], marks=pytest.mark.slow)
            for method in ("DELETE", "POST")
        ),
    ],
)
def test_a_write_is_refused_when_none_of_the_versions_is_current(
    specimens: TestClient, specimen: dict[str, Any], method: str, refused: list[str]
) -> None:
    for if_match in refused:
        response = write(specimens, method, if_match)
        assert response.status_code == 412, if_match
        assert response.headers["etag"] == '"2"'
    assert specimens.get("/specimens/1").json() == specimen


@pytest.mark.usefixtures("specimen")
def test_several_lines_of_if_match_are_one_list(specimens: TestClient) -> None:
    for lines, status in (
        ([("If-Match", '"1"'), ("If-Match", '"3"')], 412),
        ([("If-Match", '"1"'), ("If-Match", '"2"')], 200),
    ):
        response = specimens.patch("/specimens/1", json={"weight": 2}, headers=lines)
        assert response.status_code == status


@pytest.mark.usefixtures("specimen")
@pytest.mark.parametrize("if_match", ['"2"', "*", '"9"'])
def test_what_does_not_exist_is_not_found_on_any_condition(
    specimens: TestClient, if_match: str
) -> None:
    headers = {"If-Match": if_match}
    assert specimens.delete("/specimens/4711", headers=headers).status_code == 404
    response = specimens.patch("/specimens/4711", json={}, headers=headers)
    assert response.status_code == 404


@pytest.mark.usefixtures("specimen")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_current_representation_is_not_sent_again(specimens: TestClient, method: str) -> None:
    for etags in ('"2"', 'W/"2"', "*", '"1", "2"', 'W/"1",W/"2"'):
        response = specimens.request(method, "/specimens/1", headers={"If-None-Match": etags})
        assert (response.status_code, response.content) == (304, b""), etags
        assert response.headers["etag"] == '"2"'
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert "content-type" not in response.headers


def test_another_representation_is_sent(specimens: TestClient, specimen: dict[str, Any]) -> None:
    for etags in ('"1"', "2", "", "x", 'w/"2"', '"1", "3"'):
        response = specimens.get("/specimens/1", headers={"If-None-Match": etags})
        assert (response.status_code, response.json()) == (200, specimen), etags


@pytest.mark.usefixtures("specimen")
def test_a_condition_is_checked_where_the_contract_says_so_only(specimens: TestClient) -> None:
    assert specimens.get("/specimens", headers={"If-None-Match": "*"}).status_code == 200
    assert specimens.get("/specimens/1", headers={"If-Match": '"9"'}).status_code == 200
    headers = {"If-Match": '"9"', "If-None-Match": "*"}
    assert specimens.post("/specimens", json={"label": "b"}, headers=headers).status_code == 201


def test_a_version_grows_by_one_with_every_change_and_with_nothing_else(
    specimens: TestClient,
) -> None:
    created = specimens.post("/specimens", json={"label": "a", "weight": 1})
    assert (created.json()["version"], created.headers["etag"]) == (1, '"1"')
    assert created.json()["created_at"] == created.json()["updated_at"]
    for body in ({}, {"weight": 1}, {"label": " a "}, {"label": "a", "note": "", "weight": 1}):
        response = specimens.patch("/specimens/1", json=body)
        assert (response.status_code, response.json()) == (200, created.json())
        assert response.headers["etag"] == '"1"'
    changed = specimens.patch("/specimens/1", json={"label": "b", "weight": None, "note": "x"})
    assert (changed.json()["version"], changed.headers["etag"]) == (2, '"2"')
    assert changed.json()["updated_at"] > created.json()["updated_at"]
    assert changed.json()["created_at"] == created.json()["created_at"]
    assert specimens.get("/specimens/1").json() == changed.json()


def test_a_change_may_be_tried_on_a_condition(specimens: TestClient, specimen: Any) -> None:
    for if_match, status in (('"1"', 412), ('"2"', 200)):
        response = specimens.patch(
            "/specimens/1?dry_run=true", json={"weight": 9}, headers={"If-Match": if_match}
        )
        assert response.status_code == status
    assert specimens.get("/specimens/1").json() == specimen


def test_a_dry_run_responds_as_the_write_would_and_commits_nothing(
    specimens: TestClient, specimen: Any
) -> None:
    tried = specimens.post("/specimens?dry_run=true", json={"label": "b"})
    assert (tried.status_code, tried.json()["label"]) == (200, "b")
    changed = specimens.patch("/specimens/1?dry_run=true", json={"weight": 9})
    assert (changed.status_code, changed.json()["weight"]) == (200, 9)
    assert changed.json()["version"] == 3
    weighed = specimens.post("/specimens/1/weigh?dry_run=true", json={"weight": 9})
    assert (weighed.status_code, weighed.json()["weight"]) == (200, 9)
    assert specimens.delete("/specimens/1?dry_run=true").status_code == 204
    for response in (tried, changed, weighed):
        assert not {"etag", "location"} & set(response.headers)
    assert specimens.get("/specimens").json()["items"] == [specimen]


def test_a_dry_run_fails_as_the_write_would(specimens: TestClient, specimen: Any) -> None:
    taken = specimens.post("/specimens?dry_run=true", json={"label": specimen["label"]})
    assert taken.status_code == 409
    assert specimens.post("/specimens?dry_run=true", json={}).status_code == 422
    assert specimens.delete("/specimens/4711?dry_run=true").status_code == 404


def test_dry_run_false_is_a_write(specimens: TestClient) -> None:
    created = specimens.post("/specimens?dry_run=false", json={"label": "b"})
    assert (created.status_code, created.headers["location"]) == (201, "/specimens/1")


def test_every_operation_documents_the_conditions_that_it_takes(
    app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            headers = operation.parameters("header")
            answers = operation.spec["responses"]
            assert ("If-None-Match" in headers) == ("304" in answers)
            if "If-Match" in headers:
                assert operation.method != "GET"
                assert operation.parameters("path")
                assert "ETag" in answers["412"]["headers"]
            elif operation.writes:
                assert not operation.parameters("path")
