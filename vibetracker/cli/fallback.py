"""The replacement of an application that does not load: it responds with the reason.

It imports nothing of the application, since that may be what is broken.
"""

import json
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send
    from uvicorn import Config

STATUS = 503


def fallback_config(reason: str) -> "Config":
    """Return the options of a server that responds to every request with the reason."""
    from uvicorn import Config

    return Config(
        fallback(reason),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )


def fallback(reason: str) -> "ASGIApp":
    """Return the application; its responses look like the service's own when it is unavailable."""

    async def app(scope: "Scope", _: "Receive", send: "Send") -> None:
        request_id = uuid4().hex
        problem = {
            "type": "/problems/unavailable",
            "title": "Temporarily unavailable",
            "status": STATUS,
            "detail": f"The service does not start: {reason}",
            "instance": quote(scope["path"], errors="replace"),
            "request_id": request_id,
        }
        body = json.dumps(problem, ensure_ascii=False).encode(errors="replace")
        headers = {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "retry-after": "1",
            "x-request-id": request_id,
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": STATUS, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    return app
