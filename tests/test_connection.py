"""The service on a real server and a real socket: limits, and connections that stay usable."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from vibetracker.core.api.routing import Router
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.discovery import Feature

from .processes import serving
from .specimens import FEATURE

BODY_TIMEOUT = 0.3
LIMIT = 4096
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Serve an application; yields the port."""
    settings = Settings(
        database_url="sqlite://",
        body_timeout=BODY_TIMEOUT,
        max_body_size=LIMIT,
        _env_file=None,
    )
    app = create_app(settings, features=[FEATURE])
    with serving(app) as (port, _):
        yield port


@pytest.fixture
def connection(port: int) -> Iterator[HTTPConnection]:
    """Yield one connection to the server, which is not opened again when it is lost."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.connect()
        connection.auto_open = 0
        yield connection


def chunks(number: int) -> Iterable[bytes]:
    return (b" " * 1024 for _ in range(number))


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "headers"),
    [
        (404, "GET", "/nowhere", None, {}),
        (405, "PUT", "/specimens", b"{}", {}),
        (400, "POST", "/specimens", b"{", JSON),
        (415, "POST", "/specimens", b"x=1", {"Content-Type": "text/plain"}),
        (422, "POST", "/specimens", b"{}", JSON),
        (413, "POST", "/specimens", b" " * (LIMIT + 1), JSON),
        (413, "POST", "/specimens", b" " * 50 * LIMIT, JSON),
        (413, "POST", "/specimens", chunks(200), JSON),
        (403, "POST", "/specimens", b"{}", {"Origin": "http://elsewhere.example"}),
        (500, "POST", "/specimens/1/drop", None, {}),
    ],
)
def test_the_connection_stays_usable_after_an_error(
    connection: HTTPConnection, status: int, method: str, path: str, body: Any, headers: Any
) -> None:
    connection.request("POST", "/specimens", b'{"label": "a"}', JSON)
    connection.getresponse().read()
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    assert response.status == status
    assert response.headers["content-type"] == "application/problem+json"
    response.read()
    connection.request("GET", "/specimens")
    assert connection.getresponse().status == 200


def exchange(port: int, request: bytes) -> HTTPResponse:
    """Send bytes as they are, and read one response."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(request)
        response = HTTPResponse(client)
        response.begin()
        response.read()
        return response


@pytest.mark.parametrize(
    "head",
    [
        b"GET /problems HTTP/1.1\r\n\r\n",
        b"GET /problems HTTP/1.0\r\n\r\n",
        b"GET /problems HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /problems HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /problems HTTP/1.1\r\nHost: a, b\r\n\r\n",
    ],
)
def test_a_request_names_one_host(port: int, head: bytes) -> None:
    response = exchange(port, head)
    assert response.status == 400
    assert response.headers["content-type"] == "application/problem+json"


def test_a_probe_of_http_1_0_names_no_host() -> None:
    router = Router("/probes", description="Tested.", any_host=True)

    @router.get("")
    def probe() -> str:
        return "well"

    @router.post("")
    def write() -> str:
        return "written"

    settings = Settings(database_url="sqlite://", _env_file=None)
    with serving(create_app(settings, features=[Feature("probes", __name__, router)])) as (port, _):
        assert exchange(port, b"GET /probes HTTP/1.0\r\n\r\n").status == 200
        assert exchange(port, b"GET /probes HTTP/1.1\r\n\r\n").status == 400
        assert exchange(port, b"GET /problems HTTP/1.0\r\n\r\n").status == 400
        head = b"POST /probes HTTP/1.0\r\nOrigin: http://elsewhere.example\r\n\r\n"
        assert exchange(port, head).status == 403


def test_a_body_that_is_announced_too_large_is_not_waited_for(port: int) -> None:
    head = b"POST /specimens HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % (LIMIT + 1)
    for expectation in (b"", b"Expect: 100-continue\r\n"):
        assert exchange(port, head + expectation + b"\r\n").status == 413


def test_a_body_in_chunks_is_read_to_its_end(connection: HTTPConnection) -> None:
    parts = [b'{"label":', b' "in ', b'chunks"', b"}"]
    connection.request("POST", "/specimens", iter(parts), JSON)
    response = connection.getresponse()
    assert response.status == 201
    assert b'"label":"in chunks"' in response.read()


def test_a_body_that_does_not_come_times_out(port: int) -> None:
    head = b"POST /specimens HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n"
    for begun in (b"", b'{"label": "a'):
        response = exchange(port, head + begun)
        assert response.status == 408
        assert response.headers["connection"] == "close"


def test_a_body_that_trickles_in_has_no_more_time(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=BODY_TIMEOUT / 4) as client:
        client.sendall(b"POST /specimens HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        answer = b""
        for _ in range(20):
            client.sendall(b" ")
            try:
                answer = client.recv(4096)
            except TimeoutError:
                continue
            break
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_body_beyond_max_uploads_ends_the_oldest_that_is_incomplete() -> None:
    settings = Settings(database_url="sqlite://", max_uploads=5, body_timeout=60, _env_file=None)
    head = b"POST /specimens HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    with serving(create_app(settings, features=[FEATURE])) as (port, _), ExitStack() as stack:
        stuck = []
        for _ in range(8):
            stuck.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            stack.enter_context(stuck[-1]).sendall(head + b"Content-Length: 20\r\n\r\n")
        for client in stuck[:3]:
            assert client.recv(4096).startswith(b"HTTP/1.1 408 ")
        body = b'{"label": "through"}'
        assert exchange(port, head + b"Content-Length: 20\r\n\r\n" + body).status == 201
        assert stuck[3].recv(4096).startswith(b"HTTP/1.1 408 ")
        stuck[7].sendall(body.replace(b"through", b"delayed"))
        assert stuck[7].recv(4096).startswith(b"HTTP/1.1 201 ")
        for client in stuck:
            client.close()


def test_a_client_that_disconnects_disturbs_nobody(connection: HTTPConnection, port: int) -> None:
    for begun in (b"", b'{"lab'):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(
                b"POST /specimens HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n" + begun
            )
    connection.request("GET", "/specimens")
    assert connection.getresponse().status == 200


def test_head_sends_no_body_that_the_next_response_would_begin_with(
    connection: HTTPConnection,
) -> None:
    for path, status in (("/specimens", 200), ("/nowhere", 404), ("/docs", 200)):
        connection.request("HEAD", path)
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, b"")
        assert int(response.headers["content-length"]) > 0
    connection.request("GET", "/specimens")
    assert connection.getresponse().status == 200
