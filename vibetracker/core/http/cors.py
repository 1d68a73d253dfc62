"""CORS: which pages of other origins a browser lets read the answers; none, unless set."""

from typing import override

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from vibetracker.core.config import Settings
from vibetracker.core.http.problems import CrossOrigin

EXPOSED = [
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "Retry-After",
    "X-Request-ID",
]


class CORS(CORSMiddleware):
    """Answers preflights, and marks the answers that a page of an allowed origin may read."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
            # https://wicg.github.io/private-network-access: who may call, may from outside too.
            allow_private_network=True,
        )

    @override
    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if not self.is_allowed_origin(request_headers["origin"]):
            raise CrossOrigin("The page's origin is not one of those that may call from elsewhere")
        if response.status_code >= 400:
            raise CrossOrigin("Access-Control-Request-Method names a method that there is not")
        return response
