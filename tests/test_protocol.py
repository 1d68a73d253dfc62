"""Slow and hostile clients on real sockets: what a connection may send, hold and leave unread."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPResponse

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Server

from vibetracker.cli import protocol
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings

from .processes import serving
from .specimens import FEATURE

PATIENCE = 0.25
LARGE = 16 * 1024 * 1024
"""Bytes of a response, more than the buffers of the system hold."""
MOST_CONNECTIONS = 20
MOST_UNREAD = 3 * LARGE
LARGE_GET = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"
GET = b"GET /specimens HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /specimens HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[int, Server]]:
    """Serve an application with a large response, under short timeouts and low limits."""
    specimens = create_app(Settings(database_url="sqlite://", _env_file=None), features=[FEATURE])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != "/large":
            await specimens(scope, receive, send)
            return
        length = (b"content-length", str(LARGE).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": bytes(LARGE)})

    with pytest.MonkeyPatch.context() as patch, serving(app) as served:
        patch.setattr(protocol, "PATIENCE", PATIENCE)
        patch.setattr(protocol, "MAX_CONNECTIONS", MOST_CONNECTIONS)
        patch.setattr(protocol, "MAX_UNREAD", MOST_UNREAD)
        yield served


@pytest.fixture
def port(served: tuple[int, Server]) -> int:
    """Return the port of that server."""
    return served[0]


@pytest.fixture
def server(served: tuple[int, Server]) -> Server:
    """Return that server, once the connections of earlier tests are closed."""
    _, server = served
    wait_until(lambda: not server.server_state.connections, "the connections have ended")
    server.server_state.total_requests = 0
    return server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Yield a stack that closes its connections after the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def client(port: int) -> Iterator[socket.socket]:
    """Yield a connection."""
    with connect(port) as client:
        yield client


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def send(client: socket.socket, data: bytes) -> None:
    """Send as much as the server accepts before it closes the connection."""
    with suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(data)


def send_for(seconds: float, client: socket.socket) -> None:
    """Send zeros for this many seconds, or until the connection is lost."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        client.sendall(bytes(2**20))


def rest_of(client: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    received = bytearray()
    with suppress(ConnectionResetError):
        while part := client.recv(65_536):
            received += part
    return bytes(received)


def refusal(client: socket.socket) -> tuple[int, str]:
    """Read the problem that closes a connection, and return its status and type."""
    response = HTTPResponse(client)
    response.begin()
    problem = json.loads(response.read())
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["connection"] == "close"
    assert response.headers["x-request-id"] == problem["request_id"]
    assert response.headers["x-content-type-options"] == "nosniff"
    # Closed in order, and not by a reset, which can discard the response.
    assert client.recv(1) == b""
    return response.status, problem["type"]


def is_served(port: int) -> bool:
    with connect(port) as client:
        client.sendall(GET + b"Connection: close\r\n\r\n")
        return rest_of(client).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X-Long: " + b"a" * 70_000 + b"\r\n\r\n",
        GET + b"X: a\r\n" * 20_000 + b"\r\n",
        b"GET /specimens?q=" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        GET + b"X-Endless: " + b"a" * 500_000,
        GET + b"a" * 500_000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX-Endless: " + b"a" * 500_000,
    ],
    ids=["one field", "many fields", "address", "endless value", "endless name", "trailer"],
)
def test_the_size_of_a_head_is_limited(client: socket.socket, head: bytes) -> None:
    send(client, head)
    assert refusal(client) == (431, "/problems/head-too-large")


def test_a_head_that_is_large_is_read(client: socket.socket) -> None:
    client.sendall(GET + b"Connection: close\r\nCookie: " + b"a" * 60_000 + b"\r\n\r\n")
    assert rest_of(client).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        GET + b"a b: c\r\n\r\n",
        POST + b"Content-Length: x\r\n\r\n",
        POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
    ],
)
def test_what_is_no_http_is_a_problem(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    assert refusal(client) == (400, "/problems/malformed-request")


@pytest.mark.parametrize("begun", [b"G", GET, GET + b"X: "])
def test_a_head_that_does_not_come_times_out(client: socket.socket, begun: bytes) -> None:
    client.sendall(begun)
    assert refusal(client) == (408, "/problems/request-timeout")


def test_a_head_that_trickles_in_has_no_more_time(client: socket.socket) -> None:
    client.sendall(GET + b"X: ")
    client.settimeout(PATIENCE / 8)
    answer = b""
    for _ in range(80):
        client.sendall(b"a")
        with suppress(TimeoutError):
            answer = client.recv(4096)
            break
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_sends_nothing_is_disconnected_without_a_response(
    client: socket.socket,
) -> None:
    assert rest_of(client) == b""


def test_what_follows_a_refused_request_is_not_read_for_ever(client: socket.socket) -> None:
    client.sendall(POST + b"Content-Length: 1000000000000\r\n\r\n")
    with pytest.raises(ConnectionError):
        send_for(10, client)


@pytest.mark.parametrize(("requests", "answers"), [(20, 20), (5000, 21)])
def test_the_number_of_pipelined_requests_is_limited(
    client: socket.socket, requests: int, answers: int
) -> None:
    send(client, GET + b"\r\n" + (GET + b"\r\n") * (requests - 1))
    if requests == answers:
        send(client, GET + b"Connection: close\r\n\r\n")
        answers += 1
    assert rest_of(client).count(b"HTTP/1.1 200 ") == answers


LABEL = b'{"label": "abcd"}'
FRAMED = {
    "length": b"Content-Length: 17\r\n\r\n" + LABEL,
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n11\r\n" + LABEL + b"\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", FRAMED.values(), ids=FRAMED)
@pytest.mark.parametrize("offer", [b"h2c", b"websocket"])
def test_an_upgrade_is_ignored(port: int, offer: bytes, body: bytes) -> None:
    """Java's own client offers one with each of its requests."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + offer + b"\r\n"
    request = POST.replace(b"specimens", b"specimens?dry_run=true") + upgrade + body
    for cut in (len(request), 40, -5):
        with connect(port) as client:
            client.sendall(request[:cut])
            client.sendall(request[cut:] + GET + upgrade + b"\r\n")
            client.sendall(GET + b"Connection: close\r\n\r\n")
            answers = rest_of(client)
        assert answers.count(b"HTTP/1.1 200 ") == 3, answers
        assert answers.count(b'"label":"abcd"') == 1


def test_a_connection_has_no_tunnel(client: socket.socket) -> None:
    client.sendall(b"CONNECT /specimens HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n")
    answers = rest_of(client)
    assert answers.startswith(b"HTTP/1.1 405 ")
    assert answers.count(b"HTTP/1.1 ") == 1


def test_a_trailer_field_is_no_header_field(client: socket.socket) -> None:
    client.sendall(
        POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'11\r\n{"label": "efgh"}\r\n0\r\nIdempotency-Key: \xff\r\n\r\n'
    )
    answer = rest_of(client)
    assert answer.startswith(b"HTTP/1.1 201 "), answer


def test_white_space_around_a_value_is_no_part_of_it(client: socket.socket) -> None:
    client.sendall(GET + b"X-Request-ID: \t abc \t \r\nConnection: close\r\n\r\n")
    assert b"\r\nx-request-id: abc\r\n" in rest_of(client).lower()


def test_the_longest_idle_connection_is_closed_for_a_new_one(
    port: int, server: Server, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 600)
    clients = []
    for _ in range(MOST_CONNECTIONS + 5):
        clients.append(stack.enter_context(connect(port)))
        assert is_served(port)
    for client in clients[:5]:
        assert rest_of(client) == b""
    assert len(server.server_state.connections) <= MOST_CONNECTIONS
    clients[-1].sendall(GET + b"Connection: close\r\n\r\n")
    assert rest_of(clients[-1]).startswith(b"HTTP/1.1 200 ")


def test_a_response_that_is_not_read_is_aborted(
    client: socket.socket, port: int, server: Server
) -> None:
    client.sendall(LARGE_GET)
    client.recv(1, socket.MSG_PEEK)
    wait_until(lambda: not server.server_state.connections, "the connection is gone")
    assert is_served(port)
    assert len(rest_of(client)) < LARGE


def test_a_response_that_is_read_arrives(client: socket.socket) -> None:
    client.sendall(LARGE_GET)
    response = HTTPResponse(client)
    response.begin()
    assert len(response.read()) == LARGE


def test_the_size_of_all_unread_responses_is_limited(
    port: int, server: Server, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 600)
    clients = [stack.enter_context(connect(port)) for _ in range(8)]
    for client in clients:
        client.sendall(LARGE_GET)
        # One after the other, so that it is known which is idle the longest.
        client.recv(1, socket.MSG_PEEK)
    wait_until(lambda: server.server_state.total_requests >= 8, "all have been answered")
    unread = sum(c.transport.get_write_buffer_size() for c in server.server_state.connections)
    assert LARGE < unread <= MOST_UNREAD
    assert len(rest_of(clients[0])) < LARGE
    assert is_served(port)
