"""Lists: sorting, keyset paging, cursors bound to their query, and the way to the next page."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from random import Random
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import func, insert, select
from starlette.testclient import TestClient

from vibetracker.core.api.cursors import Binding
from vibetracker.core.api.paging import Page, PageDep, PageQuery, PageRequest, Rows, paginate
from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import Output
from vibetracker.core.api.session import SessionDep
from vibetracker.core.api.sorting import Key, Sorting
from vibetracker.core.db.database import Database

from .operations import errors_of, operations
from .specimens import Colour, Specimen, SpecimenFactory, Tile

START = datetime(2026, 1, 1, tzinfo=UTC)
NUMBER = 16
SORTS = [
    *("id", "-id", "label", "-label", "weight", "-weight", "found_at", "-found_at"),
    *("created_at", "-created_at", "weight,found_at", "-weight,found_at,-label"),
    *("found_at,-weight", "-found_at,-id", "weight,-id,label", "-created_at,weight,-found_at"),
]
ROW_BY_ROW = {"-id", "found_at,-weight", "-weight,found_at,-label"}
"""Those that are walked through with pages of one row, too."""

type Item = dict[str, Any]


@pytest.fixture
def collection(specimens: TestClient, database: Database) -> TestClient:
    """Return a client of a collection with many equal sort values and many nulls."""
    random = Random(7)  # noqa: S311 - seeded
    rows = [
        {
            "label": f"{number:03}",
            "note": "",
            "weight": random.choice([None, -1, 0, 1, 2**31 - 1]),
            "found_at": random.choice([None, START, START + timedelta(microseconds=1)]),
            "created_at": START + timedelta(seconds=number // 4),
            "updated_at": START,
            "version": 1,
        }
        for number in range(NUMBER)
    ]
    with database.engine.begin() as connection:
        connection.execute(insert(Specimen), rows)
    return specimens


def pages(client: TestClient, query: str, limit: int = 7) -> Iterator[list[Item]]:
    """Yield the items of each page, from the first to the last."""
    cursor = ""
    while True:
        page = client.get(f"/specimens?{query}&limit={limit}{cursor}").json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"


def items_of(client: TestClient, query: str = "sort=id") -> list[Item]:
    items: list[Item] = client.get(f"/specimens?{query}&limit=200").json()["items"]
    return items


def in_order(items: list[Item], sort: str) -> list[Item]:
    """Sort as the contract says: nulls last in both directions, ties by id."""
    for term in reversed([*sort.split(","), "id"]):
        name = term.removeprefix("-")
        present = [item for item in items if item[name] is not None]
        present.sort(key=lambda item: _comparable(item[name]), reverse=term != name)
        items = present + [item for item in items if item[name] is None]
    return items


def _comparable(value: Any) -> Any:
    # As texts, 00:00Z comes after 00:00.5Z.
    is_timestamp = isinstance(value, str) and value.endswith("Z")
    return datetime.fromisoformat(value) if is_timestamp else value


@pytest.mark.parametrize("sort", SORTS)
def test_a_list_is_sorted_and_a_walk_sees_each_row_once(collection: TestClient, sort: str) -> None:
    expected = [item["id"] for item in in_order(items_of(collection), sort)]
    assert [item["id"] for item in items_of(collection, f"sort={sort}")] == expected
    for limit in (1, 5, NUMBER) if sort in ROW_BY_ROW else (5, NUMBER):
        walked = list(pages(collection, f"sort={sort}", limit))
        assert [item["id"] for page in walked for item in page] == expected
        assert len(walked) == -(-NUMBER // limit)


@pytest.mark.parametrize(
    "sort",
    [
        *("weight", "found_at,-label"),
        *(pytest.param(sort, marks=pytest.mark.slow) for sort in ("-weight", "-created_at", "-id")),
    ],
)
def test_what_comes_and_goes_during_a_walk_hides_no_other_row(
    collection: TestClient, sort: str
) -> None:
    stays = {item["id"] for item in items_of(collection) if item["id"] % 3}
    goes = [item["id"] for item in items_of(collection) if item["id"] % 3 == 0]
    seen: list[int] = []
    for number, page in enumerate(pages(collection, f"sort={sort}", 3)):
        seen += [item["id"] for item in page]
        if goes:
            # The last row of a page too, whose values the cursor has.
            gone = next((id_ for id_ in goes if id_ == page[-1]["id"]), goes[0])
            goes.remove(gone)
            assert collection.delete(f"/specimens/{gone}").status_code == 204
        weight = (None, 0, -5)[number % 3]
        new = {"label": f"new {number}", "weight": weight}
        assert collection.post("/specimens", json=new).status_code == 201
        # A change that leaves the sort values alone moves nothing.
        id_ = min(stays)
        assert collection.patch(f"/specimens/{id_}", json={"note": f"{number}"}).is_success
    assert [id_ for id_ in seen if id_ in stays] == [
        item["id"] for item in in_order([i for i in items_of(collection) if i["id"] in stays], sort)
    ]
    assert len(seen) == len(set(seen))


def test_items_are_the_resources_that_their_ids_return(collection: TestClient) -> None:
    for item in items_of(collection)[:5]:
        assert collection.get(f"/specimens/{item['id']}").json() == item


def test_the_default_order_is_the_documented_one(collection: TestClient) -> None:
    assert items_of(collection, "") == items_of(collection, "sort=-created_at")


@pytest.mark.parametrize(
    "sort",
    [
        *(
            "",
            ",",
            "id,",
            ",id",
            "-",
            "--id",
            "%2Bid",
            "ID",
            "%20id",
            "id%20",
            "id%20asc",
            "id;label",
        ),
        *("id,id", "id,-id", "label,weight,label", "nothing", "note", "version", "metadata"),
        *("specimens.id", "__class__", "id)--", "%00", "id%0A", "weight%20desc,id"),
    ],
)
def test_another_sort_is_refused(specimens: TestClient, sort: str) -> None:
    (error,) = errors_of(specimens, "GET", f"/specimens?sort={sort}")
    assert error["parameter"] == "sort"


@pytest.mark.parametrize(("limit", "number"), [(1, 1), (NUMBER, NUMBER), (200, NUMBER)])
def test_a_page_has_at_most_as_many_items_as_asked_for(
    collection: TestClient, limit: int, number: int
) -> None:
    page = collection.get(f"/specimens?limit={limit}").json()
    assert len(page["items"]) == number
    assert (page["next_cursor"] is None) == (number == NUMBER)


def test_a_page_has_fifty_items_unless_asked_for_more(
    specimens: TestClient, database: Database
) -> None:
    row = {"note": "", "created_at": START, "updated_at": START, "version": 1}
    with database.engine.begin() as connection:
        connection.execute(
            insert(Specimen), [{**row, "label": f"{number}"} for number in range(201)]
        )
    assert len(specimens.get("/specimens").json()["items"]) == 50
    page = specimens.get("/specimens?limit=200").json()
    assert len(page["items"]) == 200
    assert page["next_cursor"] is not None


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1.5", "", "x", "10000000000000000000000"])
def test_another_limit_is_refused(specimens: TestClient, limit: str) -> None:
    (error,) = errors_of(specimens, "GET", f"/specimens?limit={limit}")
    assert error["parameter"] == "limit"


def test_the_total_counts_every_page_and_comes_when_asked_for(collection: TestClient) -> None:
    page = collection.get("/specimens?limit=7").json()
    assert page.keys() == {"items", "next_cursor"}
    assert collection.get("/specimens?include_total=false").json().keys() == page.keys()
    for query in ("", f"&cursor={page['next_cursor']}", "&sort=weight"):
        counted = collection.get(f"/specimens?limit=7&include_total=true{query}").json()
        assert counted["total"] == NUMBER
    light = [item for item in items_of(collection) if item["weight"] in {0, 1}]
    query = "/specimens?weight=0&weight=1&limit=1&include_total=true"
    assert collection.get(query).json()["total"] == len(light)


def test_an_empty_list_is_a_page(specimens: TestClient) -> None:
    response = specimens.get("/specimens?include_total=true")
    assert response.json() == {"items": [], "next_cursor": None, "total": 0}
    assert "link" not in response.headers


def test_the_link_leads_to_the_next_page(collection: TestClient) -> None:
    query = "sort=-weight,label&weight=0&weight=1&limit=3&include_total=true"
    url: str | None = f"/specimens?{query}"
    walked: list[Item] = []
    while url:
        response = collection.get(url)
        walked += response.json()["items"]
        cursor = response.json()["next_cursor"]
        assert ("link" in response.headers) == (cursor is not None)
        assert "etag" not in response.headers
        match = re.fullmatch(
            r'<(/specimens\?[!-;=?-~]+)>; rel="next"', response.headers.get("link", "")
        )
        assert bool(match) == (cursor is not None)
        url = match[1] if match else None
        assert url is None or (f"cursor={cursor}" in url and url.count("cursor=") == 1)
        assert "total" in response.json()
    assert walked == items_of(collection, "sort=-weight,label&weight=0&weight=1")


def test_the_link_keeps_the_prefix_that_a_proxy_took_off(
    collection: TestClient, specimen_app: FastAPI
) -> None:
    # As ``uvicorn --root-path`` does: the path that the application is given has the prefix.
    behind = TestClient(specimen_app, root_path="/api")
    response = behind.get("/api/specimens?limit=7")
    assert response.headers["link"].startswith("</api/specimens?")
    created = behind.post("/api/specimens", json={"label": "new"})
    assert created.headers["location"] == f"/api/specimens/{created.json()['id']}"
    assert behind.get("/api/", follow_redirects=False).headers["location"] == "/api/docs"
    assert collection.get("/specimens").is_success


@pytest.fixture
def cursor(collection: TestClient) -> str:
    """Return a cursor for the list sorted by weight and filtered."""
    url = "/specimens?sort=weight&heavier_than=0&limit=3"
    found: str = collection.get(url).json()["next_cursor"]
    return found


def test_a_cursor_may_be_used_again_and_with_another_limit(
    collection: TestClient, cursor: str
) -> None:
    url = f"/specimens?sort=weight&heavier_than=0&cursor={cursor}"
    page = collection.get(f"{url}&limit=3").json()
    assert collection.get(f"{url}&limit=3").json() == page
    assert collection.get(f"{url}&limit=2").json()["items"] == page["items"][:2]
    total = collection.get(f"{url}&limit=3&include_total=true").json()["total"]
    assert total > len(page["items"])


@pytest.mark.parametrize(
    "query",
    [
        *("", "sort=weight", "sort=-weight&heavier_than=0", "sort=weight,id&heavier_than=1"),
        *("sort=weight&heavier_than=1", "sort=weight,label&heavier_than=0", "heavier_than=0"),
        *("sort=weight&heavier_than=0&weight=1", "sort=weight&weight=0", "sort=id&heavier_than=0"),
    ],
)
def test_a_cursor_is_refused_with_another_query(
    collection: TestClient, cursor: str, query: str
) -> None:
    (error,) = errors_of(collection, "GET", f"/specimens?{query}&cursor={cursor}")
    assert (error["parameter"], error["code"]) == ("cursor", "cursor")


def test_an_altered_cursor_is_refused(collection: TestClient, cursor: str) -> None:
    def altered() -> Iterator[str]:
        for place, character in islice(enumerate(cursor), 0, None, 3):
            for other in ("A", "B", ""):
                if other != character:
                    yield cursor[:place] + other + cursor[place + 1 :]
        for length in range(len(cursor)):
            yield cursor[:length]
        for end in ("=", "==", "A", "%20", "%0A", "%C3%A9", "%00"):
            yield cursor + end
            yield end + cursor
        yield from ("null", "1", "W10", "e30", cursor.swapcase(), cursor[::-1])

    for other in altered():
        url = f"/specimens?sort=weight&heavier_than=0&cursor={other}"
        (error,) = errors_of(collection, "GET", url)
        assert error["parameter"] == "cursor"


def test_a_cursor_has_values_of_every_kind_that_columns_sort_by() -> None:
    binding = Binding("/things", ())
    values: list[object] = [None, True, 7, 0.5, "x", START, START.date(), time(9, 30)]
    values += [Decimal("1.50"), UUID(int=7), timedelta(days=-40, microseconds=1)]
    assert binding.decode("id", binding.encode("id", values)) == values
    with pytest.raises(TypeError, match="a list cannot be sorted by a bytes"):
        binding.encode("id", [b"x"])


@pytest.mark.parametrize("key", ["code", "drying", "colour", "paint"])
def test_a_list_is_sorted_by_columns_of_any_type(
    mount: Callable[[Router], TestClient], database: Database, key: str
) -> None:
    class TileRead(Output):
        id: int

    colours = [Colour.RED, Colour.BLUE, Colour.GREEN, Colour.RED]
    with database.session(write=True) as session:
        for number, colour in enumerate(colours):
            drying = timedelta(days=-number, microseconds=1)
            code = UUID(int=2**127 >> number)
            session.add(Tile(code=code, drying=drying, colour=colour, paint=colour))
        session.commit()
    router = Router("/tiles", description="Tested.")
    sorting = Sorting("id", id=Key(Tile.id), key=Key(getattr(Tile, key)))

    @router.get("", response_model=Page[TileRead])
    def list_tiles(session: SessionDep, page: PageDep, sort: Annotated[str, sorting]) -> Rows:
        return paginate(session, TileRead.select(Tile), page, sorting, sort)

    client = mount(router)
    for sort in ("key", "-key"):
        whole = client.get(f"/tiles?sort={sort}").json()["items"]
        walked = []
        cursor: str | None = ""
        while cursor is not None:
            more = f"&cursor={cursor}" if cursor else ""
            page = client.get(f"/tiles?sort={sort}&limit=1{more}").json()
            walked += page["items"]
            cursor = page["next_cursor"]
        assert walked == whole


@pytest.mark.parametrize(
    "payload", [b"[" * 12_000, b"\xff" * 40, b"{}", b'[{"t": "x"}]', b"[1]", b"null", b"", b"\0"]
)
def test_a_cursor_that_somebody_made_up_is_refused(specimens: TestClient, payload: bytes) -> None:
    cursor = urlsafe_b64encode(b"ninebytes" + payload).decode().rstrip("=")
    (error,) = errors_of(specimens, "GET", f"/specimens?cursor={cursor}")
    assert error["parameter"] == "cursor"
    (error,) = errors_of(specimens, "GET", f"/specimens?cursor={'A' * 20_001}")
    assert error["parameter"] == "cursor"


def test_every_list_is_paged_alike(app: FastAPI, subtests: pytest.Subtests) -> None:
    for operation in operations(app):
        if "cursor" in operation.parameters("query"):
            with subtests.test(operation=str(operation)):
                parameters = operation.parameters("query")
                assert {"limit", "cursor", "include_total", "sort"} <= parameters.keys()
                assert (parameters["limit"]["minimum"], parameters["limit"]["maximum"]) == (1, 200)
                assert parameters["limit"]["default"] == 50
                members = operation.answer(200)["properties"]
                assert members.keys() == {"items", "next_cursor", "total"}
                assert "Link" in operation.spec["responses"]["200"]["headers"]


def test_every_list_starts_empty_and_sorts_by_each_of_its_keys(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        parameters = operation.parameters("query")
        if "cursor" in parameters and not operation.parameters("path"):
            with subtests.test(operation=str(operation)):
                found = re.search(r"\((.+?)\)", parameters["sort"]["pattern"])
                assert found
                for key in found[1].split("|"):
                    for sort in (key, f"-{key}"):
                        page = client.get(f"{operation.url}?sort={sort}")
                        assert page.json() == {"items": [], "next_cursor": None}, sort


def test_the_total_counts_rows_and_not_what_they_are_made_of(database: Database) -> None:
    SpecimenFactory.create_batch(3, note="same")
    page = PageRequest(PageQuery(include_total=True), Binding("/", ()))
    first = func.min(Specimen.id)
    notes = select(first.label("id"), Specimen.note).group_by(Specimen.note)
    with database.session(write=False) as session:
        rows = paginate(session, notes, page, Sorting("id", id=Key(first)), "id")
    assert (len(rows.items), rows.total) == (1, 1)
