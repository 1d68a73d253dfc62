"""Parameters of kinds that no feature here has, as a feature may declare them."""

from collections.abc import Iterator
from itertools import count
from typing import Annotated, Any

import pytest
from fastapi import Query
from pydantic import Field
from starlette.testclient import TestClient

from vibetracker.core.api.filters import Filters
from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import Output, UrlInt
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.discovery import Feature

router = Router("/echoes", description="Says what it was asked.")
numbers = count()


class EchoFilters(Filters):
    """Parameters of a model."""

    since: UrlInt | None = Field(None, alias="from")


class NumberedFilters(Filters):
    """A parameter with a default factory."""

    number: UrlInt = Field(default_factory=lambda: next(numbers))


class Echo(Output):
    """The parameters of a request."""

    since: int | None
    kind: str
    number: int
    other_number: int
    words: list[str]


@router.get("")
def list_echoes(
    filters: Annotated[EchoFilters, Query()],
    numbered: Annotated[NumberedFilters, Query()],
    other_number: Annotated[int, Query(default_factory=lambda: next(numbers))],
    kind: Annotated[str, Query(alias="class")] = "none",
    words: Annotated[list[str], Query()] = [],  # noqa: B006 - each request has a copy
) -> dict[str, Any]:
    """Return the parameters, and change a default that is mutable."""
    words.append("last")
    return {
        "since": filters.since,
        "kind": kind,
        "number": numbered.number,
        "other_number": other_number,
        "words": words,
    }


@pytest.fixture
def echoes() -> Iterator[TestClient]:
    """Yield a client of an application with this router."""
    settings = Settings(database_url="sqlite://", _env_file=None)
    with TestClient(create_app(settings, features=[Feature("echoes", "tests", router)])) as client:
        yield client


def test_a_parameter_may_be_sent_under_another_name(echoes: TestClient) -> None:
    assert echoes.get("/echoes?from=7").json()["since"] == 7
    assert echoes.get("/echoes?class=x").json()["kind"] == "x"
    both = echoes.get("/echoes?class=x&from=7").json()
    assert (both["since"], both["kind"]) == (7, "x")
    assert echoes.get("/echoes?since=7").status_code == 422


def test_defaults_are_made_for_each_request(echoes: TestClient) -> None:
    one, other = (echoes.get("/echoes").json() for _ in range(2))
    assert other["number"] > one["number"]
    assert other["other_number"] > one["other_number"]
    assert one["words"] == other["words"] == ["last"]
    assert echoes.get("/echoes?words=a&words=b").json()["words"] == ["a", "b", "last"]
