"""The OpenAPI document: what it says is complete, and what the service does."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from vibetracker.core.api.openapi import MEMBERS
from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import TIMESTAMP_SCHEMA, Output
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.discovery import Feature
from vibetracker.core.http.problems import MEDIA_TYPE, ProblemRead

from .operations import Schema, operations


def objects_in(value: Any, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every schema of an object with members, and where in the document it is."""
    if isinstance(value, dict):
        if isinstance(value.get("properties"), dict) and "type" in value:
            yield path, value
        for name, member in value.items():
            yield from objects_in(member, f"{path}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from objects_in(item, f"{path}/{index}")


def test_it_says_what_it_describes(app: FastAPI) -> None:
    document = app.openapi()
    assert document["info"]["contact"] == {"name": "The vibetracker project"}
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert document["servers"] == [{"url": "/", "description": "This service"}]
    assert document["security"] == []
    assert {tag["name"] for tag in document["tags"] if tag["description"]} == {
        tag for operation in operations(app) for tag in operation.spec["tags"]
    }


def test_every_operation_has_a_name_and_summary_of_its_own(app: FastAPI) -> None:
    specs = [operation.spec for operation in operations(app)]
    for word in ("operationId", "summary"):
        words = [spec[word] for spec in specs]
        assert len(set(words)) == len(words)


class Shift(Output):
    """An answer with ``fields``, and without an ``ETag``."""

    id: int
    version: int


def test_an_operation_that_can_do_more_than_its_summary_says_it(app: FastAPI) -> None:
    router = Router("/shifts", description="Tested.")

    @router.get("")
    def get_shift() -> Shift:
        """Get a shift."""
        return Shift(id=1, version=1)

    settings = Settings(database_url="sqlite://", _env_file=None)
    other = create_app(settings, features=[Feature("shifts", __name__, router)])
    for operation in [*operations(app), *operations(other)]:
        headers = operation.spec["responses"].get("200", {}).get("headers", {})
        has_rule = "fields" in operation.parameters("query") and {"ETag", "Link"} & headers.keys()
        if not operation.writes and not has_rule:
            continue
        said = " ".join(operation.spec["description"].split()).rstrip(".")
        assert len(said) > len(operation.spec["summary"]), operation


def test_every_body_says_what_it_is(app: FastAPI) -> None:
    for operation in operations(app):
        assert operation.body is None or operation.spec["requestBody"]["description"], operation


def test_what_every_resource_has_needs_no_explanation_of_its_own(specimen_app: FastAPI) -> None:
    members = specimen_app.openapi()["components"]["schemas"]["SpecimenRead"]["properties"]
    assert {name for name, member in members.items() if "description" in member} == set(MEMBERS)


def test_every_object_has_a_name(app: FastAPI) -> None:
    document = app.openapi()
    places = [path for path, _ in objects_in(document)]
    assert places == [
        f"/components/schemas/{name}"
        for name in document["components"]["schemas"]
        if "properties" in document["components"]["schemas"][name]
    ]


def test_every_response_has_the_media_type_of_its_status(
    app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            for status, response in operation.spec["responses"].items():
                content = response.get("content", {})
                assert "X-Request-ID" in response["headers"]
                if status in {"204", "304"}:
                    assert not content
                elif status.startswith(("4", "5")):
                    assert list(content) == [MEDIA_TYPE]
                    # What a security scheme refuses is of no type.
                    for slug, example in content[MEDIA_TYPE].get("examples", {}).items():
                        problem = ProblemRead.model_validate(example["value"])
                        assert (problem.type, problem.status) == (f"/problems/{slug}", int(status))


def test_no_parameter_of_a_url_is_null(app: FastAPI) -> None:
    for operation in operations(app):
        for name, schema in operation.parameters("query").items():
            assert schema.get("default", ...) is not None, f"{operation} {name}"
            assert {"type": "null"} not in schema.get("anyOf", ()), f"{operation} {name}"


MEDIA_TYPES = {
    "application/json",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/problem+json",
    "application/x-www-form-urlencoded",
    "text/plain",
}


def test_the_documented_media_types_are_those_that_are_accepted(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        if operation.media_types and not operation.takes_file:
            with subtests.test(operation=str(operation)):
                refused = {
                    media_type
                    for media_type in MEDIA_TYPES
                    if client.request(
                        operation.method,
                        operation.url,
                        content=b"{}",
                        headers={"Content-Type": media_type},
                    ).status_code
                    == 415
                }
                assert MEDIA_TYPES & operation.media_types.keys() == MEDIA_TYPES - refused


@pytest.mark.parametrize(
    ("status", "query", "request_"),
    [
        (413, "", {"content": b" " * 1_048_577}),
        (415, "", {"content": b"{}", "headers": {"Content-Encoding": "gzip"}}),
        (400, "", {"content": b"{1"}),
        (422, "?nothing=known", {}),
        pytest.param(422, "", {"content": b"[1]"}, marks=pytest.mark.slow),
        pytest.param(400, "?a=%ff", {}, marks=pytest.mark.slow),
        pytest.param(400, "", {"headers": {"Host": ""}}, marks=pytest.mark.slow),
    ],
)
def test_a_get_responds_to_a_strange_request_as_documented(
    client: TestClient,
    app: FastAPI,
    subtests: pytest.Subtests,
    status: int,
    query: str,
    request_: dict[str, Any],
) -> None:
    # The client itself fails where the document lacks the response.
    for operation in operations(app):
        if operation.method == "GET":
            with subtests.test(operation=str(operation)):
                response = client.request("GET", operation.url + query, **request_)
                assert response.status_code == status


@pytest.mark.parametrize(
    ("instant", "fits"),
    [
        ("2026-02-28T12:00:00Z", True),
        ("2026-02-28t12:00:00.123456789z", True),
        ("1900-01-01T00:00:00-00:30", True),
        ("9998-12-31T23:59:59+14:00", True),
        ("1899-12-31T23:59:59Z", False),
        ("9999-01-01T00:00:00Z", False),
        ("2026-02-28T12:00:00", False),
        ("2026-02-28T12:00:60Z", False),
        ("2026-02-28 12:00:00Z", False),
        ("2026-02-28T12:00Z", False),
        ("2026-02-28", False),
        ("٢٠٢٦-02-28T12:00:00Z", False),
    ],
)
def test_the_pattern_of_an_instant_fits_what_is_accepted(
    specimens: TestClient, instant: str, *, fits: bool
) -> None:
    response = specimens.post("/specimens", json={"label": "a", "found_at": instant})
    assert response.status_code == (201 if fits else 422)
    assert (re.search(TIMESTAMP_SCHEMA["pattern"], instant) is not None) == fits
