"""What a feature adds to another one's list is there while the feature is, and no longer."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any, ClassVar

import pytest
from fastapi import Depends, FastAPI, Path
from pydantic import Field, create_model, field_serializer
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from vibetracker.core.api.additions import Addition
from vibetracker.core.api.filters import Filters, Where, holds
from vibetracker.core.api.includes import Include, Includes, Reads
from vibetracker.core.api.paging import Page, PageDep, Rows, paginate
from vibetracker.core.api.parameters import FromQuery
from vibetracker.core.api.preconditions import check, read_any
from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import Output, UrlBool, UrlId, UrlInt
from vibetracker.core.api.session import SessionDep, get_database
from vibetracker.core.api.support import UnsupportedError
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import Feature, FeatureError, addition_faults
from vibetracker.testing import Client

from .contract import Contract, breaches, with_additions
from .specimens import SORTING, Specimen, SpecimenFactory, SpecimenRead


class ShelfFilters(Filters):
    """The filters of a list that is open."""

    heavy: Annotated[
        UrlBool | None, holds(Specimen.weight > 10), Field(description="Weighs more than 10.")
    ] = None


def lengths(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    rows = session.execute(
        select(Specimen.id, func.length(Specimen.label).label("length")).where(Specimen.id.in_(ids))
    )
    return {row.id: row.length for row in rows}


class ShelfIncludes(Includes):
    """The members that ``include`` can add to its resources."""

    answer: ClassVar[type[Output]] = SpecimenRead

    length: Annotated[int, Reads(lengths, name="label_length"), Field(description="Of the label.")]


FiltersDep = Annotated[ShelfFilters, Depends(FromQuery(ShelfFilters))]
IncludeDep = Annotated[Include, Depends(FromQuery(ShelfIncludes.query()))]

router = Router("/shelf", description="A list that is open.")


@router.get("", response_model=Page[SpecimenRead])
def list_shelf(
    session: SessionDep, page: PageDep, filters: FiltersDep, include: IncludeDep
) -> Rows:
    """List what is on the shelf."""
    statement = SpecimenRead.select(Specimen).where(*filters.conditions())
    rows = paginate(session, statement, page, SORTING, "id")
    include.add_to(session, rows.items)
    return rows


@router.get("/{specimen_id}", response_model=SpecimenRead)
def get_shelf(
    session: SessionDep, specimen_id: Annotated[UrlId, Path()], include: IncludeDep
) -> dict[str, Any]:
    """Get something from the shelf."""
    specimen = read_any(session, SpecimenRead, Specimen, specimen_id)
    if include:
        return include.view(session, specimen)
    check(session, specimen["version"])
    return specimen


class Twin(Output):
    """Another specimen."""

    id: int
    label: str


def twins(session: Session, ids: Sequence[int]) -> Mapping[int, Twin]:
    twin = select(Specimen).where(Specimen.twin_id.in_(ids))
    return {it.twin_id or 0: Twin(id=it.id, label=it.label) for it in session.scalars(twin)}


class LongerFilters(ShelfFilters):
    """A filter that another feature adds."""

    weighing: Annotated[
        list[UrlInt],
        Where(lambda weights, _: Specimen.weight.in_(weights)),
        Field(description="Weighs one of these."),
    ] = []


class TwinIncludes(ShelfIncludes):
    """Members that another feature adds."""

    twin: Annotated[Twin | None, Reads(twins), Field(description="Its twin.")]
    has_twin: Annotated[
        bool,
        Reads(lambda session, ids: dict.fromkeys(twins(session, ids), True), otherwise=False),
        Field(description="Whether there is one."),
    ]


SHELF = Feature("shelf", "tests.shelf", router)


def other(*additions: Addition, name: str = "other") -> Feature:
    """Return a feature that adds to the shelf, and does nothing else."""
    empty = Router(f"/{name}", description="Adds to others.")
    return Feature(name, f"tests.{name}", empty, additions=additions)


OTHER = other(LongerFilters, TwinIncludes)


def app_of(*features: Feature) -> FastAPI:
    """Create an application of these features."""
    return create_app(Settings(database_url="sqlite://", _env_file=None), features)


@pytest.fixture(scope="module")
def apps() -> Iterator[tuple[TestClient, TestClient]]:
    """Run two applications of one process: the first has what the second one has not."""
    both = app_of(SHELF, OTHER), app_of(SHELF)
    with Client(both[0]) as first, Client(both[1]) as second:
        yield first, second


@pytest.fixture
def clients(
    apps: tuple[TestClient, TestClient], database: Database
) -> tuple[TestClient, TestClient]:
    """Return clients of both on the same database, with a specimen of each kind."""
    for client in apps:
        app: Any = client.app
        app.dependency_overrides[get_database] = lambda: database
    first = SpecimenFactory.create(label="heavy", weight=20)
    SpecimenFactory.create(label="light", weight=1, twin_id=first.id)
    return apps


def ids(client: TestClient, query: str) -> list[int]:
    """Return the ids of a list."""
    return [item["id"] for item in client.get(f"/shelf?{query}").json()["items"]]


def test_a_filter_of_another_feature_narrows_the_list_down(
    clients: tuple[TestClient, TestClient],
) -> None:
    with_it, without = clients
    assert ids(with_it, "weighing=1&weighing=7") == [2]
    assert ids(with_it, "weighing=1&heavy=true") == []
    assert ids(with_it, "") == [1, 2]
    assert ids(without, "heavy=true") == [1]
    wrong = with_it.get("/shelf?weighing=much")
    assert (wrong.status_code, wrong.json()["errors"][0]["parameter"]) == (422, "weighing")
    unknown = without.get("/shelf?weighing=1")
    assert (unknown.status_code, unknown.json()["errors"][0]["code"]) == (422, "extra_forbidden")


def test_a_member_of_another_feature_is_there_where_it_is_asked_for(
    clients: tuple[TestClient, TestClient],
) -> None:
    with_it, without = clients
    plain, *_ = without.get("/shelf").json()["items"]
    assert with_it.get("/shelf").json()["items"][0] == plain
    both = "include=twin&include=label_length&include=twin"
    first, second = with_it.get(f"/shelf?{both}").json()["items"]
    assert first == {**plain, "length": 5, "twin": {"id": 2, "label": "light"}}
    assert second["twin"] is None
    assert with_it.get("/shelf/2?include=has_twin").json()["has_twin"] is False
    unknown = without.get("/shelf?include=twin")
    assert (unknown.status_code, unknown.json()["errors"][0]["code"]) == (422, "literal_error")


def test_a_response_with_more_members_has_no_etag(clients: tuple[TestClient, TestClient]) -> None:
    with_it, _ = clients
    headers = {"If-None-Match": '"1"'}
    assert with_it.get("/shelf/1", headers=headers).status_code == 304
    answer = with_it.get("/shelf/1?include=twin", headers=headers)
    assert (answer.status_code, answer.headers.get("etag")) == (200, None)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "query", "count"),
    [
        ("/shelf", "", 1),
        ("/shelf", "weighing=1", 1),
        ("/shelf", "include=twin", 2),
        ("/shelf", "include=twin&include=twin", 2),
        ("/shelf", "include=twin&include=label_length&heavy=true", 3),
        ("/shelf", "include=twin&weighing=5", 1),
        ("/shelf/1", "", 1),
        ("/shelf/1", "include=has_twin", 2),
    ],
)
def test_what_is_asked_for_takes_one_statement_and_what_is_not_takes_none(
    clients: tuple[TestClient, TestClient],
    statements: list[tuple[str, Any]],
    path: str,
    query: str,
    count: int,
) -> None:
    statements.clear()
    assert clients[0].get(f"{path}?{query}").status_code == 200
    reads = [sql for sql, _ in statements if sql.startswith("SELECT")]
    assert len(reads) == count, reads


def test_each_application_documents_what_it_takes(apps: tuple[TestClient, TestClient]) -> None:
    found: list[Any] = []
    for client in apps:
        document = client.get("/openapi.json").json()
        parameters = {it["name"]: it for it in document["paths"]["/shelf"]["get"]["parameters"]}
        include = parameters["include"]["schema"]["items"]
        members = document["components"]["schemas"]["SpecimenRead"]["properties"]
        found.append((parameters.get("weighing"), include, members.get("twin"), members["length"]))
    (weighing, names, twin, length), without = found
    assert weighing["description"].startswith("Weighs one of these.")
    assert names["enum"] == ["label_length", "twin", "has_twin"]
    assert twin["description"] == "Its twin. Only with `include=twin`."
    assert length["description"] == "Of the label. Only with `include=label_length`."
    assert without == (None, {"const": "label_length", "type": "string"}, None, length)


def test_a_contract_has_what_a_feature_adds_to_the_operations_of_others() -> None:
    plain, extended = app_of(SHELF).openapi(), app_of(SHELF, OTHER).openapi()
    nothing: Contract = {"operations": {}, "schemas": {}}
    assert with_additions(deepcopy(nothing), plain, deepcopy(plain)) == nothing
    contract = with_additions(deepcopy(nothing), plain, deepcopy(extended))
    entries = contract["operations"]["GET /shelf"]
    assert entries.keys() == {
        "id",
        "query parameter weighing",
        "query parameter include",
        "answer 200",
    }
    assert contract["schemas"]["SpecimenRead"]["properties"].keys() == {"twin", "has_twin"}
    assert "Twin" in contract["schemas"]
    members = extended["components"]["schemas"]["SpecimenRead"]["properties"]
    del members["has_twin"]
    found = breaches(contract, with_additions(nothing, plain, extended))
    assert "GET /shelf: answer 200/items/*/has_twin is gone" in found
    assert "GET /shelf/{specimen_id}: answer 200/has_twin is gone" in found
    lost = breaches(contract, {"operations": {}, "schemas": {}})
    assert lost == ["GET /shelf is gone", "GET /shelf/{specimen_id} is gone"]


class Unrelated(Filters):
    """Filters of no list."""

    colour: Annotated[str | None, holds(Specimen.weight > 1), Field(description="Its colour.")] = (
        None
    )


class OwnName(ShelfFilters):
    """A filter that the list has itself."""

    heavy: Annotated[UrlBool | None, holds(Specimen.weight > 1), Field(description="Is it?")] = None


class NameOfPaging(ShelfFilters):
    """A filter called like a parameter that every list has."""

    limit: Annotated[UrlInt | None, holds(Specimen.weight > 1), Field(description="It.")] = None


class NameOfMember(ShelfIncludes):
    """A member called like one that every response has."""

    label: Annotated[str, Reads(lengths), Field(description="It.")]


class NameOfInclude(ShelfIncludes):
    """A member with the name that another one has for ``include``."""

    size: Annotated[int, Reads(lengths, name="label_length"), Field(description="It.")]


class Unread(ShelfIncludes):
    """A member without a function that reads it."""

    colour: Annotated[str, Field(description="It.")]


@pytest.mark.parametrize(
    ("features", "fault"),
    [
        ([other(Unread)], "'other': it does not say how to read 'colour'"),
        ([other(Unrelated)], "'other': its Unrelated adds to no list that is open"),
        ([other(OwnName)], "'other': it adds 'heavy', a name that the list itself has already"),
        ([other(NameOfPaging)], "'other': it adds 'limit', a name that the list itself has"),
        ([other(NameOfMember)], "'other': it adds 'label', a name that the list itself has"),
        ([other(NameOfInclude)], "'other': it adds 'label_length', a name that the list itself"),
        (
            [OTHER, other(LongerFilters, name="third")],
            "'third': it adds 'weighing', a name that feature 'other' has already; give it another",
        ),
        (
            [OTHER, other(TwinIncludes, name="third")],
            "'third': it adds 'has_twin', a name that feature 'other' has already",
        ),
    ],
)
def test_additions_to_no_list_and_names_in_use_are_refused(
    features: list[Feature], fault: str
) -> None:
    assert not list(addition_faults([SHELF, OTHER]))
    first, *_ = addition_faults([SHELF, *features])
    assert isinstance(first, FeatureError)
    assert str(first).startswith(f"feature {fault}")
    assert "\n" not in str(first)


def test_another_feature_may_have_a_model_of_the_name_of_an_answer() -> None:
    another = Router("/another", description="Has a model of that name.")

    @another.get("/one", response_model=create_model("SpecimenRead", id=(int, ...)))
    def get_another() -> dict[str, int]:
        return {"id": 1}

    document = app_of(SHELF, Feature("another", "tests.another", another)).openapi()
    shown = [
        schema["properties"].keys()
        for name, schema in document["components"]["schemas"].items()
        if schema.get("title") == "SpecimenRead"
    ]
    assert sorted("length" in names for names in shown) == [False, True]


def test_a_response_model_with_a_serializer_takes_no_includes() -> None:
    class Shouted(SpecimenRead):
        """A response model with a serializer."""

        @field_serializer("label")
        def _shout(self, label: str) -> str:
            return label.upper()

    def get_loud(session: SessionDep, include: IncludeDep) -> dict[str, Any]:
        """Get it."""
        return include.view(session, {})

    with pytest.raises(UnsupportedError, match="include adds to what is written as it is read"):
        SHELF.router.get("/loud", response_model=Shouted)(get_loud)
