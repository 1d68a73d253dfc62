"""What happens to every request before and after its operation: ids, hosts, origins, HEAD, logs."""

import asyncio
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.testclient import TestClient

from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.testing import empty

from .operations import operations
from .specimens import FEATURE

GENERATED = re.compile(r"[0-9a-f]{32}")


def client_with(**settings: Any) -> TestClient:
    """Return a client of an application with these settings; its database is never used."""
    options = Settings(database_url="sqlite://", _env_file=None, **settings)
    return TestClient(create_app(options, features=[FEATURE]))


@pytest.mark.parametrize("request_id", ["a", "A-Z_a.z-09", "0" * 128, "-", "."])
def test_a_request_id_is_echoed(specimens: TestClient, request_id: str) -> None:
    for url in ("/specimens", "/nowhere", "/docs"):
        response = specimens.get(url, headers={"X-Request-ID": request_id})
        assert response.headers["x-request-id"] == request_id


@pytest.mark.parametrize(
    "request_id", ["", "0" * 129, "a b", "a/b", "é", "a\tb", "<x>", "a,b", '"a"']
)
def test_another_request_id_is_replaced(specimens: TestClient, request_id: str) -> None:
    response = specimens.get("/specimens", headers={b"X-Request-ID": request_id.encode()})
    assert GENERATED.fullmatch(response.headers["x-request-id"])


def test_each_request_without_an_id_gets_its_own(specimens: TestClient) -> None:
    ids = {specimens.get("/specimens").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


def test_every_get_responds_to_head_alike_and_without_a_body(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    urls = {operation.url for operation in operations(app) if operation.method == "GET"}
    for url in urls | {"/docs", "/openapi.json", "/"}:
        with subtests.test(url=url):
            got = client.get(url, follow_redirects=False)
            head = client.head(url, follow_redirects=False)
            assert (head.status_code, head.content) == (got.status_code, b"")
            own = {"x-request-id", "date"}
            assert {n: v for n, v in head.headers.items() if n not in own} == {
                n: v for n, v in got.headers.items() if n not in own
            }


@pytest.mark.slow
def test_head_of_a_stream_does_not_wait_for_its_end() -> None:
    made = []

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(10_000):
            made.append(number)
            yield b"x"
            await asyncio.sleep(0)

    app = create_app(Settings(database_url="sqlite://", _env_file=None), features=[])
    app.add_api_route("/stream", lambda: StreamingResponse(chunks()), methods=["GET"])
    client = TestClient(app)
    head = client.head("/stream")
    assert (head.status_code, head.content) == (200, b"")
    assert len(made) < 1000
    assert len(client.get("/stream").content) == 10_000


def test_a_path_with_a_trailing_slash_is_another_path(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            for url in (f"{operation.url}/", f"{operation.url}//"):
                response = client.request(operation.method, url, follow_redirects=False)
                assert response.status_code == 404, url
                assert "location" not in response.headers


def test_every_response_restricts_sniffing_framing_and_caching(specimens: TestClient) -> None:
    specimens.post("/specimens", json={"label": "a"})
    for url in ("/specimens", "/specimens/1", "/specimens/2", "/nowhere", "/docs"):
        headers = specimens.get(url).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        kept = "no-cache, no-transform" if url == "/specimens/1" else "no-store"
        assert headers["cache-control"] == kept, url


@pytest.fixture(scope="module")
def guarded() -> TestClient:
    """Return a client of an application that allows some hosts alone."""
    return client_with(allowed_hosts=["Api.example.org", "*.example.com", "[::1]"])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("api.example.org", 200), ("API.example.ORG", 200), ("api.example.org:8000", 200)),
        *(("a.example.com", 200), ("a.b.example.com:1", 200), ("[::1]", 200), ("[::1]:80", 200)),
        *(("example.com", 400), ("xexample.com", 400), ("example.org", 400), ("", 400)),
        *(("api.example.org.evil.example", 400), ("evil.example", 400), ("[::2]", 400)),
        *(("api.example.org@evil.example", 400), ("api.example.org/", 400), (" ", 400)),
        *(("api.example.org:x", 400), ("api.example.org evil.example", 400), ("[::1", 400)),
        *(("api.example.org,evil.example", 400), ("[", 400), ("]", 400), (":", 400)),
    ],
)
def test_a_host_has_to_be_one_of_those_that_are_allowed(
    guarded: TestClient, host: str, status: int
) -> None:
    assert guarded.get("/problems", headers={"Host": host}).status_code == status
    assert guarded.get("/nowhere", headers={"Host": host}).status_code == max(status, 400) + (
        4 if status == 200 else 0
    )


@pytest.mark.parametrize("host", ["", "a b", "a/b", "http://a", "a:b", "[", "[x]", "a@b", "\u00e9"])
def test_a_malformed_host_is_refused_even_where_all_are_allowed(host: str) -> None:
    response = client_with().get("/problems", headers={b"Host": host.encode("latin-1")})
    assert response.status_code == 400
    assert response.json()["type"] == "/problems/invalid-host"


def test_no_response_repeats_the_host_of_its_request(specimens: TestClient) -> None:
    headers = {"Host": "evil.example"}
    created = specimens.post("/specimens", json={"label": "a"}, headers=headers)
    specimens.post("/specimens", json={"label": "b"})
    page = specimens.get("/specimens?limit=1", headers=headers)
    root = specimens.get("/", headers=headers, follow_redirects=False)
    for response in (created, page, root, specimens.get("/nowhere", headers=headers)):
        assert "evil.example" not in str(response.headers) + response.text


OWN = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://testserver"},
    {"Origin": "https://testserver"},
    {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"},
]
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "anything"},
    {"Origin": "http://elsewhere.example"},
    {"Origin": "http://testserver.elsewhere.example"},
    {"Origin": "http://testserver:8000"},
    {"Origin": "testserver"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://["},
    {"Origin": "http://[::1"},
    {"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", OWN)
def test_a_page_of_the_same_origin_may_write(
    specimens: TestClient, headers: dict[str, str]
) -> None:
    response = specimens.post("/specimens", json={"label": "a"}, headers=headers)
    assert response.status_code == 201


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_origin_may_not_write(
    specimens: TestClient, headers: dict[str, str]
) -> None:
    response = specimens.post("/specimens", json={"label": "a"}, headers=headers)
    assert response.status_code == 403
    assert response.json()["type"] == "/problems/cross-origin"
    read = specimens.get("/specimens", headers=headers)
    assert read.json()["items"] == []
    assert not [name for name in read.headers if name.startswith("access-control")]


def test_a_page_of_another_origin_may_not_write_anywhere(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        if operation.method != "GET":
            with subtests.test(operation=str(operation)):
                headers = {"Origin": "http://elsewhere.example"}
                response = client.request(operation.method, operation.url, headers=headers)
                assert response.status_code == 403


PRIVATE = {"Access-Control-Request-Private-Network": "true"}
PREFLIGHT = {
    "Origin": "http://page.example",
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "content-type,if-match",
}


def test_without_allowed_origins_options_is_an_unsupported_method(specimens: TestClient) -> None:
    response = specimens.options("/specimens/1", headers=PREFLIGHT)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.fixture(scope="module")
def _page() -> Iterator[TestClient]:
    with client_with(cors_origins=["http://page.example", "http://other.example"]) as client:
        client.headers["Origin"] = "http://page.example"
        client.headers["Sec-Fetch-Site"] = "cross-site"
        yield client


@pytest.fixture
def page(_page: TestClient) -> TestClient:
    """Return a client that sends the header fields of a page of an allowed origin."""
    app: Any = _page.app
    empty(app.state.database)
    return _page


def test_a_page_of_an_allowed_origin_may_write_and_read_all_it_needs(page: TestClient) -> None:
    response = page.post("/specimens", json={"label": "a"})
    assert response.status_code == 201
    assert response.headers["access-control-allow-origin"] == "http://page.example"
    assert "Origin" in response.headers["vary"]
    exposed = response.headers["access-control-expose-headers"].lower()
    for name in ("etag", "location", "link", "x-request-id", "retry-after", "idempotency-replayed"):
        assert name in exposed
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (404, {"url": "/nowhere"}),
        (405, {"method": "PUT"}),
        (413, {"method": "POST", "content": b" " * 1_048_577}),
        (422, {"method": "POST", "json": {}}),
        (400, {"headers": {"Host": "a/b"}}),
        (500, {"method": "POST", "url": "/specimens/1/drop"}),
    ],
)
def test_a_page_of_an_allowed_origin_may_read_errors_too(
    page: TestClient, status: int, request_: dict[str, Any]
) -> None:
    page.post("/specimens", json={"label": "a"})
    response = page.request(**{"method": "GET", "url": "/specimens", **request_})
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == "http://page.example"


def test_a_preflight_of_an_allowed_origin_is_granted(page: TestClient) -> None:
    response = page.options("/specimens/1", headers=PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "http://page.example"
    assert "PATCH" in response.headers["access-control-allow-methods"]
    assert "if-match" in response.headers["access-control-allow-headers"].lower()
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_of_an_allowed_origin_may_call_into_a_private_network(
    page: TestClient, method: str
) -> None:
    asked = {"Access-Control-Request-Method": method, **PRIVATE}
    response = page.options("/specimens", headers={**PREFLIGHT, **asked})
    assert response.status_code == 200
    assert response.headers["access-control-allow-private-network"] == "true"
    foreign = {"Origin": "http://elsewhere.example"}
    refused = page.options("/specimens", headers={**PREFLIGHT, **asked, **foreign})
    assert refused.status_code == 403
    assert "access-control-allow-private-network" not in refused.headers


def test_a_preflight_for_an_unknown_method_is_refused(page: TestClient) -> None:
    response = page.options(
        "/specimens", headers={**PREFLIGHT, "Access-Control-Request-Method": "FETCH"}
    )
    assert response.status_code == 403
    assert "Access-Control-Request-Method" in response.json()["detail"]


def test_the_log_says_why_a_write_counts_as_cross_origin(
    specimens: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    for headers, why in (
        ({"Origin": "http://elsewhere.example"}, "Origin differs from Host"),
        ({"Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site"),
    ):
        caplog.clear()
        specimens.post("/specimens", json={"label": "a"}, headers=headers)
        (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert why in line.getMessage()
        assert "elsewhere" not in line.getMessage()


def test_an_origin_that_is_not_listed_is_refused_with_a_problem(page: TestClient) -> None:
    foreign = {"Origin": "http://elsewhere.example"}
    for response in (
        page.options("/specimens/1", headers={**PREFLIGHT, **foreign}),
        page.post("/specimens", json={"label": "a"}, headers=foreign),
    ):
        assert response.status_code == 403
        assert response.json()["type"] == "/problems/cross-origin"
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["x-request-id"] == response.json()["request_id"]


def test_every_origin_may_be_allowed() -> None:

    with client_with(cors_origins=["*"]) as client:
        response = client.post("/specimens", json={"label": "a"}, headers=FOREIGN[0])
        assert response.status_code == 201
        response = client.post("/specimens", json={"label": "b"}, headers=FOREIGN[3])
        assert response.headers["access-control-allow-origin"] == "*"


def test_the_access_log_has_one_line_a_request_and_no_values(
    specimens: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    specimens.post("/specimens", json={"label": "a"})
    requests: list[tuple[str, str, str | None, int]] = [
        ("GET", "/specimens?weight=31415", "/specimens", 200),
        ("GET", "/specimens/27182?x=31415", "/specimens/{specimen_id}", 422),
        ("HEAD", "/specimens/1", "/specimens/{specimen_id}", 200),
        ("GET", "/nowhere/31415", None, 404),
        ("PUT", "/specimens/31415", "/specimens/{specimen_id}", 405),
    ]
    for method, url, route, status in requests:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            specimens.request(method, url, headers={"X-Request-ID": "r1", "User-Agent": "31415"})
        (record,) = [record for record in caplog.records if record.name == "vibetracker.access"]
        seen = record.__dict__
        assert (seen["method"], seen["route"], seen["status"]) == (method, route, status)
        assert seen["duration_ms"] >= 0
        assert "31415" not in record.getMessage()
        assert "27182" not in record.getMessage()


@pytest.fixture
def untouched_loggers() -> Iterator[None]:
    """Restore the loggers of the whole process after a test that configures them."""
    names = ("vibetracker", "uvicorn", "uvicorn.access", "sqlalchemy.engine")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers = handlers
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.mark.usefixtures("untouched_loggers")
def test_every_line_of_a_json_log_is_an_object_with_the_request_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with client_with(log_format="json") as client:
        client.post("/specimens", json={"label": "é"})
        capsys.readouterr()
        headers = {"X-Request-ID": "the-very-one"}
        assert client.post("/specimens/1/drop", headers=headers).status_code == 500
    *_, failure, line = map(json.loads, capsys.readouterr().err.splitlines())
    assert failure["level"] == "error"
    assert "Traceback" in failure["exception"]
    assert "RuntimeError" in failure["exception"]
    assert line.keys() >= {"time", "level", "logger", "message"}
    assert (line["method"], line["route"], line["status"]) == (
        "POST",
        "/specimens/{specimen_id}/drop",
        500,
    )
    assert isinstance(line["duration_ms"], float)
    assert failure["request_id"] == line["request_id"] == "the-very-one"


@pytest.mark.usefixtures("untouched_loggers")
def test_every_line_of_a_text_log_has_the_request_id(capsys: pytest.CaptureFixture[str]) -> None:
    with client_with(log_format="text") as client:
        capsys.readouterr()
        client.get("/specimens", headers={"X-Request-ID": "the-very-one"})
    (line,) = capsys.readouterr().err.splitlines()
    assert "[the-very-one] GET /specimens 200" in line


@pytest.mark.usefixtures("untouched_loggers")
@pytest.mark.parametrize(
    ("is_terminal", "no_color", "level"),
    [(True, "", "\x1b[32mINFO\x1b[0m:     "), (True, "1", "INFO:     "), (False, "", "INFO:     ")],
)
def test_levels_are_coloured_on_terminals_unless_unwanted(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_terminal: bool,
    no_color: str,
    level: str,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    monkeypatch.setenv("NO_COLOR", no_color)
    with client_with() as client:
        client.get("/specimens", headers={"X-Request-ID": "the-very-one"})
    assert f" {level}[the-very-one] GET /specimens 200" in capsys.readouterr().err


@pytest.mark.usefixtures("untouched_loggers")
def test_debugging_logs_statements_and_never_their_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with client_with(debug=True) as client:
        client.post("/specimens", json={"label": "hush-hush"}, headers={"X-Request-ID": "r1"})
    log = capsys.readouterr().err
    assert "[r1] INSERT INTO specimens" in log
    assert "hush-hush" not in log
