"""The boundary of the service: what happens to every request before and after its operation."""

import asyncio
import logging
import re
import time
from collections.abc import Collection
from functools import partial
from http import HTTPStatus
from random import getrandbits

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vibetracker.core.config import Settings
from vibetracker.core.http.compression import Compression
from vibetracker.core.http.cors import CORS
from vibetracker.core.http.problems import (
    CrossOrigin,
    InternalError,
    InvalidHost,
    Unavailable,
    render,
)
from vibetracker.core.logging import current_request_id

logger = logging.getLogger(__name__)
access = logging.getLogger("vibetracker.access")

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:[0-9]*)?")
"""A ``Host`` field value: name or address, and port (RFC 9110 7.2)."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
DRAINING = "draining"
"""In the state of a request: the event that is set when the server is about to end."""
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Boundary:
    """Wraps the application: request ids, hosts, origins, CORS, compression, HEAD, log lines.

    It also answers what no exception handler has caught, so that no exception reaches the server,
    which would close the connection without a word.
    """

    def __init__(self, app: ASGIApp, settings: Settings, any_host: Collection[str] = ()) -> None:
        app = Compression(app)
        self.cors = CORS(app, settings) if settings.cors_origins else None
        self.app = self.cors or app
        self.settings = settings
        self.any_host = any_host
        """Prefixes of the paths that are answered whatever the host."""

    def answers_any_host(self, path: str) -> bool:
        """Return whether a path is answered whatever the host, as those of probes are."""
        return any(f"{path}/".startswith(f"{prefix}/") for prefix in self.any_host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()


class _Exchange:
    def __init__(self, boundary: Boundary, scope: Scope, receive: Receive, send: Send) -> None:
        self.boundary = boundary
        self.settings = boundary.settings
        self.headers = Headers(scope=scope)
        self.method = scope["method"]
        self.scope = {**scope, "state": {**scope.get("state", {})}}
        if self.method == "HEAD":
            self.scope["method"] = "GET"
        sent_id = self.headers.get("x-request-id", "")
        self.request_id = sent_id if REQUEST_ID.fullmatch(sent_id) else f"{getrandbits(128):032x}"
        self.scope["state"]["request_id"] = self.request_id
        self.receive = receive
        self.send = send
        self.status: int | None = None
        self.is_over = False
        """Whether the response to a HEAD is complete."""

    async def run(self) -> None:
        started = time.perf_counter()
        token = current_request_id.set(self.request_id)
        try:
            await self._answer()
        finally:
            milliseconds = (time.perf_counter() - started) * 1000
            route = getattr(self.scope.get("route"), "path_format", None)
            line = (self.method, route or "(no route)", self.status or "aborted", milliseconds)
            members = {"method": self.method, "route": route, "status": self.status}
            members["duration_ms"] = round(milliseconds, 1)
            # Probes come every few seconds, and are worth a line only when they fail.
            is_probe = self.boundary.answers_any_host(route or "")
            is_well = self.status is not None and 200 <= self.status < 300
            level = logging.DEBUG if is_probe and is_well else logging.INFO
            access.log(level, "%s %s %s %.1f ms", *line, extra=members)
            current_request_id.reset(token)

    async def _answer(self) -> None:
        try:
            self._check_host()
            self._check_origin()
            await self.boundary.app(self.scope, self.receive, self._send)
        except ClientDisconnect:
            logger.info("the client went away before its request was complete")
        except asyncio.CancelledError:
            # The server ends, and its grace is over.
            await self._send_problem(Unavailable("The service ended before this request"))
        except HTTPException as error:
            await self._send_problem(error)
        except Exception:
            logger.exception("unexpected error")
            await self._send_problem(InternalError())

    async def _send_problem(self, error: HTTPException) -> None:
        if self.status is not None:
            return
        send: Send = self._send
        if self.boundary.cors is not None:
            send = partial(self.boundary.cors.send, send=send, request_headers=self.headers)
        await Compression(render(error, self.scope))(self.scope, self.receive, send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            sent = [*message["headers"], (b"x-request-id", self.request_id.encode()), *_RAW_HEADERS]
            if b"cache-control" not in dict(message["headers"]):
                sent.append((b"cache-control", b"no-store"))
            if self.status == HTTPStatus.NOT_MODIFIED:
                # As the 200 in its place would (RFC 9110 15.4.5).
                sent.append((b"vary", b"Accept-Encoding"))
            message = {**message, "headers": sent}
        elif self.method == "HEAD":
            if self.is_over:
                return
            # A stream, which may have no end, is then ended as if the client had disconnected.
            self.is_over = True
            message = {"type": message["type"], "body": b""}
        await self.send(message)

    def _check_host(self) -> None:
        hosts = self.headers.getlist("host")
        host = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if host:
            name = host[1].lower()
            allowed = self.settings.allowed_hosts
            if any(it == name or (it[0] == "*" and name.endswith(it[1:])) for it in allowed):
                return
        # HTTP/1.0, which some probes speak, has no Host (RFC 9112 3.2).
        if host or (self.scope["http_version"] == "1.0" and not hosts):
            path = self.scope["path"].removeprefix(self.scope.get("root_path", ""))
            if self.boundary.answers_any_host(path):
                return
        raise InvalidHost("Send one Host header with a name that this service answers to")

    def _check_origin(self) -> None:
        """Refuse writes that a page of another origin makes a browser send.

        ``Sec-Fetch-Site`` is the browser's own verdict; where it is missing, as on plain HTTP,
        the origin has to be the host.
        """
        origin = self.headers.get("origin")
        if self.scope["method"] in SAFE_METHODS or origin in self.settings.cors_origins:
            return
        site = self.headers.get("sec-fetch-site")
        if site is not None:
            foreign = site not in {"same-origin", "none"}
            why = "Sec-Fetch-Site says that the page is of another one"
        else:
            host = self.headers.get("host", "").lower()
            foreign = origin is not None and origin.lower().partition("://")[2] != host
            why = "Origin differs from Host, which a proxy has to leave as it is"
        if foreign and "*" not in self.settings.cors_origins:
            logger.warning("refused a write from an origin that CORS_ORIGINS lacks: %s", why)
            raise CrossOrigin("The page's origin is not one of those that may write here")
