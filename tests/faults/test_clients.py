"""Many slow and hostile clients at once, while others are served."""

import resource
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from threading import Event

import pytest

from vibetracker.testing import PostgresServer

from .conftest import Figures
from .load import Load
from .service import Client, Service
from .test_database import finish
from .test_process import GRACE

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
GROWTH = 384 * MIB
"""Memory that all of them together may take; unread responses may take a third of it."""
IDLE = 3900
CHUNK = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
GET = b"GET /tasks HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /tasks HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Yield a stack that closes its connections after the test; raises the limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        yield stack
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(service: Service, stack: ExitStack, begin: bytes, times: int) -> list[socket.socket]:
    """Open connections, and send the same on each."""
    clients = []
    for _ in range(times):
        client = socket.create_connection(("127.0.0.1", service.port), timeout=10)
        clients.append(stack.enter_context(client))
        with suppress(ConnectionError):
            client.sendall(begin)
    return clients


def flood(service: Service, begin: bytes, part: bytes, size: int) -> int:
    """Send the same part repeatedly, up to ``size`` bytes; returns how many were accepted."""
    sent = 0
    address = ("127.0.0.1", service.port)
    with suppress(OSError), socket.create_connection(address, timeout=10) as client:
        client.sendall(begin)
        while sent < size:
            sent += client.send(part)
    return sent


def drip(clients: list[socket.socket], stopped: Event) -> None:
    """Send a byte now and then on each connection."""
    while not stopped.wait(0.5):
        for client in clients:
            with suppress(OSError):
                client.sendall(b"a")


def fill(service: Service) -> None:
    """Create forty tasks with long descriptions."""
    with closing(Client(service.port)) as client:
        for number in range(40):
            task = {"title": f"long {number}", "description": "x" * 50_000}
            assert client.request("POST", "/tasks", task).status == 201


def test_hostile_clients_take_bounded_memory_and_others_are_served(
    server: PostgresServer, stack: ExitStack, figures: Figures
) -> None:
    service = stack.enter_context(Service(server.url()))
    fill(service)
    stopped = Event()
    with Load([service.port], clients=4) as load, ThreadPoolExecutor() as pool:
        load.go_on(50)
        before, threads = service.memory, service.threads
        connect(service, stack, b"", IDLE)
        connect(service, stack, GET, 100)
        drips = connect(service, stack, GET + b"X: ", 100)
        connect(service, stack, POST + b"Content-Length: 100\r\n\r\n{", 300)
        drips += connect(service, stack, POST + b"Content-Length: 1000\r\n\r\n", 100)
        connect(service, stack, b"GET /tasks?limit=200 HTTP/1.1\r\nHost: a\r\n\r\n", 100)
        dripping = pool.submit(drip, drips, stopped)
        floods = [
            (GET, b"X-Field: " + b"a" * 1000 + b"\r\n", 50 * MIB),
            (GET + b"X-Endless: ", b"a" * 65_536, 50 * MIB),
            (POST + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK, 500 * MIB),
            (POST + b"Content-Length: 1000000000\r\n\r\n", b"a" * 65_536, 500 * MIB),
            (b"", GET + b"\r\n", 50 * MIB),
        ]
        pending = [pool.submit(flood, service, *one) for one in floods for _ in range(4)]
        load.go_on(50, within=30)
        for future in pending:
            future.result(60)
        stopped.set()
        dripping.result(10)
        load.go_on(50, within=30)
        assert service.descriptors < 1100
        assert service.threads <= threads + 40
    memory = (before, service.peak)
    assert memory[1] - memory[0] < GROWTH
    fault = "hostile clients, 4,600 connections"
    finish(fault, load, server, service, figures, memory=memory, liveness=3)


def test_sigterm_ends_within_its_grace_whatever_clients_hold_open(
    server: PostgresServer, stack: ExitStack
) -> None:
    service = stack.enter_context(Service(server.url()))
    fill(service)
    connect(service, stack, b"", 50)
    connect(service, stack, GET, 50)
    stuck = connect(service, stack, POST + b"Content-Length: 100\r\n\r\n{", 50)
    unread = b"GET /tasks?limit=200 HTTP/1.1\r\nHost: a\r\n\r\n"
    for reader in connect(service, stack, unread, 20):
        reader.recv(1)
    assert service.terminate() < GRACE + 2
    for waiting in stuck:
        assert waiting.recv(4096).startswith(b"HTTP/1.1 503 ")
    assert "Traceback" not in service.log.read_text()
