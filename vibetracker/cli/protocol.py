"""A client's connection, with limits that protect the others from slow and hostile clients."""

import asyncio
import logging
import resource
from collections import deque
from http import HTTPStatus
from typing import Any, cast, override
from uuid import uuid4

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from vibetracker.core.http.boundary import DRAINING, HEADERS
from vibetracker.core.http.problems import (
    MalformedRequest,
    Problem,
    RequestTimeout,
    render,
)
from vibetracker.core.logging import current_request_id

logger = logging.getLogger(__name__)

MAX_HEAD = 65_536
"""Bytes of a request's first line and header fields."""
MAX_PIPELINED = 20
"""Requests that may wait on one connection for the response to the one before them."""
MAX_CONNECTIONS = 1000
"""Connections of one worker; for a further one that which is idle the longest is closed."""
OWN_FILES = 100
"""Open files of a worker that are no connections of clients."""
MAX_UNREAD = 128 * 1024 * 1024
"""Bytes of responses that all clients of a worker together may leave unread."""
PATIENCE = 10
"""Seconds that a client has to send a whole head, and to read ``LEAST_READ`` of a response."""
LEAST_READ = 32_768
"""Bytes; also, the rest of a response if that is less."""
LINGER = 2
"""Seconds for which a refused client may go on sending; closed at once, it misses its response."""
DROPPED = cast("list[tuple[bytes, bytes]]", deque(maxlen=0))
"""Replaces the list of header fields: what is appended to it is dropped."""


class HeadTooLarge(Problem):
    """The first line and the header fields of the request are larger than the service accepts."""

    title = "The head of the request is too large"
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class Parser(HttpRequestParser):
    """Ignores the offer of an upgrade (RFC 9110 section 7.8), after which it would read no body."""

    def __init__(self, protocol: "BoundedProtocol") -> None:
        super().__init__(protocol)
        # As uvicorn does it, for the first of several requests to be answered.
        self.set_dangerous_leniencies(lenient_data_after_close=True)
        self.protocol = protocol

    @override
    def feed_data(self, data: Any) -> None:
        try:
            super().feed_data(data)
        except HttpParserUpgrade as upgrade:
            if not self.offers_upgrade:
                raise
            (end_of_head,) = upgrade.args
            head = self._head_without_offer()
            self.protocol.parser = Parser(self.protocol)
            self.protocol.parser.feed_data(head + data[end_of_head:])

    @property
    def offers_upgrade(self) -> bool:
        """Whether the client goes on with what it offers to leave, which a CONNECT does not."""
        return self.should_upgrade() and self.get_method() != b"CONNECT"

    def _head_without_offer(self) -> bytes:
        line = self.get_method(), self.protocol.url, self.get_http_version().encode()
        fields = (b"%b: %b\r\n" % it for it in self.protocol.headers if it[0] != b"upgrade")
        return b"%b %b HTTP/%b\r\n" % line + b"".join(fields) + b"\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's connection of a client, where uvicorn bounds neither size nor time.

    Its other implementation, ``h11``, bounds the size of heads and nothing else, and takes longer.
    """

    idle_since = 0.0
    """The loop's time at the last response, or at the connection where there was none yet."""
    _came = 0
    """Bytes that were received last."""
    _held = 0
    """Bytes that the parser, which has no limit of its own, may still hold."""
    _refusal: Problem | None = None
    _is_refused = False
    _unread: int | None = None
    """Bytes of the current response that were unread at the last check."""

    @override
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser: Parser = Parser(self)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    @property
    def is_late(self) -> bool:
        """Whether the next request has not arrived in time."""
        return self.is_idle and self.loop.time() - self.idle_since >= PATIENCE

    @property
    def _is_in_head(self) -> bool:
        return isinstance(self.headers, list)

    @property
    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    @property
    def unread(self) -> int:
        """The bytes of responses that the client has left unread."""
        return self.transport.get_write_buffer_size()

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        self._look = self.loop.call_later(PATIENCE, self._look_after)
        if len(self.connections) > _max_connections():
            next(c for c in self._longest_idle_first() if c.is_idle).drop()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._look.cancel()

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._came = len(data)
        self._held += self._came
        super().data_received(data)
        if self._held > MAX_HEAD and not self._is_refused:
            self._refuse(_too_large())

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        # The parser leaves the white space behind a value (RFC 9110 section 5.5).
        super().on_header(name, value.rstrip(b" \t"))

    @override
    def on_headers_complete(self) -> None:
        if max(self._held, self._came) > MAX_HEAD < self._head_size:
            self._refusal = _too_large()
        elif len(self.pipeline) >= MAX_PIPELINED:
            self._refusal = MalformedRequest("Wait for the answers")
        if self._refusal is not None:
            raise ValueError(self._refusal.detail)  # reaches send_400_response
        if self.parser.offers_upgrade:
            return
        super().on_headers_complete()
        self._held = 0
        if self.parser.should_upgrade():
            # After a CONNECT the parser reads nothing.
            self.cycle.keep_alive = False
        # Trailer fields would be merged into the header fields, without limit (RFC 9110 6.5).
        self.headers = DROPPED

    @override
    def on_body(self, body: bytes) -> None:
        self._held = 0
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if not self.parser.offers_upgrade:
            super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.idle_since = self.loop.time()
        self._unread = None
        if self.unread:
            self._bound_unread()

    @override
    def shutdown(self) -> None:
        super().shutdown()
        # Responses without an end are ended by it.
        if draining := self.app_state.get(DRAINING):
            draining.set()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread = None

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or MalformedRequest("This is no HTTP request"))

    def _refuse(self, problem: Problem) -> None:
        """Read nothing more, and send the problem unless another response comes first."""
        self._is_refused = True
        if self.is_idle:
            if not self._is_in_head or self.transport.is_closing():
                self.transport.close()
                return
        elif self.pipeline or self.cycle.response_started or not self.cycle.more_body:
            self.cycle.keep_alive = False
            return
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        request_id = uuid4().hex
        token = current_request_id.set(request_id)
        logger.info("refused: %s", problem.detail)
        current_request_id.reset(token)
        response = render(problem, {"path": "", "state": {"request_id": request_id}})
        fields = [
            *self.server_state.default_headers,
            *response.raw_headers,
            *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
            (b"x-request-id", request_id.encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        head = STATUS_LINE[response.status_code] + b"".join(
            b"%b: %b\r\n" % field for field in fields
        )
        self.transport.write(head + b"\r\n" + bytes(response.body))
        self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.abort)

    def _look_after(self) -> None:
        """Disconnect a client that does not send its request, or does not read its response."""
        unread = self.unread
        if unread and self._unread is not None and unread > self._unread - LEAST_READ:
            self.drop()
        elif not (self._is_refused or unread) and self.is_late:
            self._refuse(RequestTimeout(f"The head did not arrive within {PATIENCE} s"))
        self._unread = unread or None
        self._look = self.loop.call_later(PATIENCE, self._look_after)

    def _longest_idle_first(self) -> list["BoundedProtocol"]:
        connections = cast("set[BoundedProtocol]", self.connections)
        return sorted(connections, key=lambda connection: connection.idle_since)

    def _bound_unread(self) -> None:
        reading = [c for c in self._longest_idle_first() if c.unread]
        unread = sum(connection.unread for connection in reading)
        for connection in reading:
            if unread <= MAX_UNREAD:
                break
            unread -= connection.unread
            connection.drop()

    def drop(self) -> None:
        """Close the connection at once."""
        # Not to be chosen again: ``connection_lost`` is called only later by the event loop.
        self.connections.discard(self)
        self.transport.abort()


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(f"The first line and the header fields have at most {MAX_HEAD} bytes")


def _max_connections() -> int:
    """Return the limit of connections that leaves enough file descriptors for everything else."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, limit - OWN_FILES))
