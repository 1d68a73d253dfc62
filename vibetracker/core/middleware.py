"""The boundary of the service: what happens to every request before and after its operation."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Collection
from functools import partial
from random import getrandbits

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vibetracker.core.config import Settings
from vibetracker.core.cors import CORS
from vibetracker.core.database import SAFE_METHODS
from vibetracker.core.logging import current_request_id
from vibetracker.core.problems import (
    ContentTooLarge,
    CrossOrigin,
    InternalError,
    InvalidHost,
    Problem,
    RequestTimeout,
    Unavailable,
    render,
)

logger = logging.getLogger(__name__)
access = logging.getLogger("vibetracker.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:[0-9]*)?")
"""A ``Host`` field value: name or address, and port (RFC 9110 7.2)."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class Boundary:
    """Wraps the application: request ids, limits, hosts, origins, CORS, HEAD, one log line each.

    It also answers what nobody else caught, so that no exception reaches the server, which would
    close the connection without a word.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        problem_of: Callable[[Exception, Scope], Problem | None],
        any_host: Collection[str] = (),
    ) -> None:
        self.cors = CORS(app, settings) if settings.cors_origins else None
        self.app = self.cors or app
        self.settings = settings
        self.problem_of = problem_of
        """Tells what an error means for the client; None for one that nobody expected."""
        self.any_host = any_host
        """Prefixes of the paths that are answered whatever the host."""
        self.receiving: dict[_Exchange, asyncio.Timeout] = {}
        """The requests whose bodies are arriving, the oldest first."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()


class _Exchange:
    """One request and its response."""

    def __init__(self, boundary: Boundary, scope: Scope, receive: Receive, send: Send) -> None:
        self.boundary = boundary
        self.settings = boundary.settings
        self.headers = Headers(scope=scope)
        self.is_head = scope["method"] == "HEAD"
        self.scope = {**scope, "state": {**scope.get("state", {})}}
        if self.is_head:
            self.scope["method"] = "GET"
        sent_id = self.headers.get("x-request-id", "")
        self.request_id = sent_id if REQUEST_ID.fullmatch(sent_id) else f"{getrandbits(128):032x}"
        self.scope["state"]["request_id"] = self.request_id
        self.receive = receive
        self.send = send
        self.status: int | None = None
        self.body: bytes | None = None

    async def run(self) -> None:
        started = time.perf_counter()
        token = current_request_id.set(self.request_id)
        try:
            await self._answer()
        finally:
            milliseconds = (time.perf_counter() - started) * 1000
            route = getattr(self.scope.get("route"), "path_format", None)
            access.info(
                "%s %s %s %.1f ms",
                "HEAD" if self.is_head else self.scope["method"],
                route or "(no route)",
                self.status or "aborted",
                milliseconds,
                extra={
                    "method": "HEAD" if self.is_head else self.scope["method"],
                    "route": route,
                    "status": self.status,
                    "duration_ms": round(milliseconds, 1),
                },
            )
            current_request_id.reset(token)

    async def _answer(self) -> None:
        try:
            self._check_host()
            self._check_origin()
            self.body = await self._read_body()
            self.scope["state"]["body"] = self.body
            await self.boundary.app(self.scope, self._replay_body, self._send)
        except ClientGoneError:
            logger.info("the client went away before its request was complete")
        except asyncio.CancelledError:
            # The server ends, and its grace is over.
            if self.status is None:
                await self._send_problem(Unavailable("The service ended before this request"))
        except Exception as error:
            problem = self.boundary.problem_of(error, self.scope)
            if problem is None or self.status is not None:
                logger.exception("unexpected error")
                detail = "The service failed; its log has the cause under this request id"
                problem = InternalError(detail)
            if self.status is None:
                await self._send_problem(problem)

    async def _send_problem(self, problem: Problem) -> None:
        send: Send = self._send
        if self.boundary.cors is not None:
            send = partial(self.boundary.cors.send, send=send, request_headers=self.headers)
        await render(problem, self.scope)(self.scope, self.receive, send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            sent = [*message["headers"], (b"x-request-id", self.request_id.encode()), *_RAW_HEADERS]
            if not any(name == b"cache-control" for name, _ in message["headers"]):
                sent.append((b"cache-control", b"no-store"))
            message = {**message, "headers": sent}
        elif self.is_head:
            message = {**message, "body": b""}
        await self.send(message)

    def _check_host(self) -> None:
        hosts = self.headers.getlist("host")
        if len(hosts) == 1 and (host := HOST.fullmatch(hosts[0])):
            name = host[1].lower()
            if any(_covers(allowed.lower(), name) for allowed in self.settings.allowed_hosts):
                return
            path = self.scope["path"].removeprefix(self.scope.get("root_path", ""))
            if any(f"{path}/".startswith(f"{prefix}/") for prefix in self.boundary.any_host):
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
        else:
            host = self.headers["host"].lower()
            foreign = origin is not None and origin.lower().partition("://")[2] != host
        if foreign and "*" not in self.settings.cors_origins:
            raise CrossOrigin("The page's origin is not one of those that may write here")

    async def _read_body(self) -> bytes:
        declared = self.headers.get("content-length", "0")
        if self.scope["method"] in SAFE_METHODS and (
            declared == "0" and "transfer-encoding" not in self.headers
        ):
            return b""
        limit = self.settings.max_body_size
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
            raise _too_large(limit)
        receiving = self.boundary.receiving
        try:
            async with asyncio.timeout(self.settings.body_timeout) as deadline:
                receiving[self] = deadline
                if len(receiving) > self.settings.max_uploads:
                    oldest = receiving.pop(next(iter(receiving)))
                    if not oldest.expired():
                        oldest.reschedule(0)
                try:
                    return await self._receive_all(limit)
                finally:
                    receiving.pop(self, None)
        except TimeoutError:
            raise RequestTimeout(
                "The body did not arrive in time", headers={"Connection": "close"}
            ) from None

    async def _receive_all(self, limit: int) -> bytes:
        body = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            body += message.get("body", b"")
            if len(body) > limit:
                raise _too_large(limit)
            if not message.get("more_body", False):
                return bytes(body)

    async def _replay_body(self) -> Message:
        if self.body is None:
            return await self.receive()
        body, self.body = self.body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _too_large(limit: int) -> ContentTooLarge:
    return ContentTooLarge(f"A body has at most {limit} bytes")


def _covers(allowed: str, name: str) -> bool:
    """Tell whether an entry of ``allowed_hosts`` is meant for a host of this name."""
    return allowed in {"*", name} or (allowed.startswith("*.") and name.endswith(allowed[1:]))
