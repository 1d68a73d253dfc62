"""Responses are compressed for clients that ask for it, and are otherwise the same."""

from collections.abc import Iterator

import pytest
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.sse import EventSourceResponse
from httpx2 import Response
from starlette.testclient import TestClient

from vibetracker.core.api.routing import Router
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.discovery import Feature

from .specimens import FEATURE

GZIP = {"Accept-Encoding": "gzip"}
IDENTITY = {"Accept-Encoding": "identity"}
LONG = "\N{SEEDLING}" * 200
"""More than a kibibyte in a response."""

router = Router("/answers", description="Answers of each kind.")


@router.get("/of/{size}", response_class=PlainTextResponse)
def get_answer(size: int) -> PlainTextResponse:
    """Get a response of this many bytes."""
    return PlainTextResponse("a" * size)


@router.get("/stream", response_class=StreamingResponse)
def get_stream() -> StreamingResponse:
    """Get a response of unknown length."""
    return StreamingResponse(iter(["a" * 600] * 10), media_type="text/csv")


@router.get("/events", response_class=EventSourceResponse)
def get_events() -> Iterator[str]:
    """Get events."""
    yield from ("a" * 600 for _ in range(10))


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """Yield a client that sends no ``Accept-Encoding`` by itself."""
    settings = Settings(database_url="sqlite://", _env_file=None)
    features = [FEATURE, Feature("answers", "tests.answers", router)]
    with TestClient(create_app(settings, features=features)) as client:
        del client.headers["accept-encoding"]
        for number in range(20):
            client.post("/specimens", json={"label": f"specimen {number}", "note": "é" * 100})
        yield client


@pytest.fixture(scope="module")
def plain(client: TestClient) -> Response:
    """Return what a client gets that does not ask for a coding."""
    response: Response = client.get("/specimens")
    return response


@pytest.mark.parametrize(
    ("field", "coding"),
    [
        *(("gzip", "gzip"), ("GZIP", "gzip"), ("br, gzip;q=0.5, *;q=0", "gzip"), ("*", "gzip")),
        *(("gzip, deflate", "gzip"), ("deflate,gzip ; q=1.0", "gzip"), ("gzip;Q=0.001", "gzip")),
        *(("gzip;q=1.0, identity; q=0.5, *;q=0", "gzip"), ("identity;q=0, gzip", "gzip")),
        *((None, None), ("", None), ("identity", None), ("br, deflate, zstd", None)),
        *(("gzip;q=0", None), ("gzip; q=0.000", None), ("*, gzip;q=0", None), ("*;q=0", None)),
        *(("identity, gzip;q=0.5", None), ("gzip;q=1.2.3", None), ("gzip;level=9", None)),
        *(("gzipped", None), ("br;gzip", None), (",;=", None), ("gzip " * 12_000, None)),
        pytest.param(f"{'a' * 60_000}!", None, marks=pytest.mark.slow),
        pytest.param("a;" * 30_000, None, marks=pytest.mark.slow),
    ],
)
def test_who_asks_for_gzip_gets_it(
    client: TestClient, plain: Response, field: str | None, coding: str | None
) -> None:
    response = client.get("/specimens", headers={"Accept-Encoding": field} if field else {})
    assert response.headers.get("content-encoding") == coding
    assert response.json() == plain.json()
    sent = int(response.headers["content-length"])
    assert sent < len(plain.content) / 3 if coding else sent == len(plain.content)


def test_a_small_response_is_not_compressed(client: TestClient) -> None:
    for size, coding in ((0, None), (1023, None), (1024, "gzip"), (200_000, "gzip")):
        response = client.get(f"/answers/of/{size}", headers=GZIP)
        assert (response.headers.get("content-encoding"), len(response.content)) == (coding, size)


def test_a_stream_is_compressed_as_it_comes_and_events_never(client: TestClient) -> None:
    with client.stream("GET", "/answers/stream", headers=GZIP) as response:
        assert response.headers["content-encoding"] == "gzip"
        assert "content-length" not in response.headers
        assert response.read() == b"a" * 6000
    with client.stream("GET", "/answers/events", headers=GZIP) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in response.headers
        assert response.read().count(b"a" * 600) == 10


@pytest.mark.parametrize(
    "url", ["/specimens", "/specimens/1", "/specimens?x=1", "/openapi.json", "/docs", "/problems"]
)
def test_vary_names_accept_encoding_and_head_agrees(client: TestClient, url: str) -> None:
    is_small = len(client.get(url).content) < 1024
    for asked in ({}, GZIP, IDENTITY):
        got, head = client.get(url, headers=asked), client.head(url, headers=asked)
        assert got.headers.get("vary") == (None if is_small else "Accept-Encoding")
        for name in ("content-encoding", "content-length", "content-type", "etag", "vary"):
            assert got.headers.get(name) == head.headers.get(name)
        assert head.content == b""


def test_the_entity_tag_is_that_of_the_version(client: TestClient) -> None:
    created = client.post("/specimens", json={"label": LONG[:40], "note": LONG}, headers=GZIP)
    url = created.headers["location"]
    compressed = client.get(url, headers=GZIP)
    assert compressed.headers["content-encoding"] == "gzip"
    etag = compressed.headers["etag"]
    assert etag == created.headers["etag"] == client.get(url).headers["etag"] == '"1"'
    unchanged = client.get(url, headers={**GZIP, "If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in unchanged.headers
    changed = client.patch(url, json={"note": "y"}, headers={**GZIP, "If-Match": etag})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')


def test_problems_are_compressed_too(client: TestClient) -> None:
    unknown = client.get("/specimens", params={f"unknown{n}": "1" for n in range(40)}, headers=GZIP)
    nowhere = client.get(f"/{'a' * 2000}", headers=GZIP)
    nobody = client.get(f"/{'a' * 2000}", headers={**GZIP, "Host": "a/b"})
    for response, status in ((unknown, 422), (nowhere, 404), (nobody, 400)):
        assert response.status_code == response.json()["status"] == status
        assert response.headers["content-encoding"] == "gzip"
        assert response.headers["content-type"] == "application/problem+json"


def test_a_replayed_response_is_compressed_if_the_retry_asks_for_it(client: TestClient) -> None:
    body = {"label": f"x{LONG[:39]}", "note": LONG}
    key = {"Idempotency-Key": "compressed"}
    first = client.post("/specimens", json=body, headers={**key, **GZIP})
    assert first.headers["content-encoding"] == "gzip"
    for asked in ({}, GZIP):
        again = client.post("/specimens", json=body, headers={**key, **asked})
        assert (again.status_code, again.content) == (201, first.content)


def test_vary_names_origin_too_for_a_page_of_another_origin() -> None:
    settings = Settings(
        database_url="sqlite://", cors_origins=["https://page.example"], _env_file=None
    )
    with TestClient(create_app(settings, features=[FEATURE])) as page:
        for asked in (GZIP, IDENTITY):
            response = page.get("/problems", headers={**asked, "Origin": "https://page.example"})
            vary = [name.strip() for name in response.headers["vary"].split(",")]
            assert sorted(vary) == ["Accept-Encoding", "Origin"]
