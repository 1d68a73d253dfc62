"""Puts the application together: settings, database, boundary, errors and features."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, override

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from fastapi_standalone_docs import (  # type: ignore[import-untyped] # it has no stubs
    StandaloneDocs,
)
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Scope

import vibetracker
from vibetracker.core import logging, openapi, pages, telemetry
from vibetracker.core.config import Settings
from vibetracker.core.database import Database
from vibetracker.core.discovery import Feature, discover
from vibetracker.core.failures import problem_of
from vibetracker.core.middleware import Boundary
from vibetracker.core.problems import (
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    Problem,
    ValidationFailed,
    faults,
)

DESCRIPTION = """\
What this server's features offer, each under a path and a tag of its own.

Every operation keeps the same rules. Unknown parameters and members are refused, errors are
problem details (RFC 9457), lists are paged by cursor, single resources carry an `ETag` for
`If-Match`, and every POST takes an `Idempotency-Key`.
"""


def create_app(
    settings: Settings | None = None, features: Sequence[Feature] | None = None
) -> FastAPI:
    """Make an application; without arguments as the environment sets it, with every feature."""
    settings = settings or Settings()
    features = discover(settings.disabled_features) if features is None else features
    app = Application(
        title="vibetracker",
        version=vibetracker.__version__,
        summary="A lightweight REST API for task tracking",
        description=DESCRIPTION,
        contact={"name": "The vibetracker project"},
        license_info={"name": "MIT", "identifier": "MIT"},
        lifespan=_lifespan,
        redirect_slashes=False,
        telemetry=telemetry.configuration(),
    )
    StandaloneDocs(app)
    app.state.settings = settings
    app.state.database = Database(settings)
    app.state.features = features
    any_host = [feature.router.prefix for feature in features if feature.router.any_host]
    app.add_middleware(Boundary, settings=settings, problem_of=_problem_of, any_host=any_host)
    app.add_route("/", _to_docs, include_in_schema=False)
    routers = [*(feature.router for feature in features), pages.router]
    # As they are, since FastAPI matches a router that is included twice; and first, since they are
    # looked for the most.
    app.router.routes[:0] = [route for router in routers for route in router.routes]
    tags = [
        {"name": router.prefix.removeprefix("/"), "description": router.description}
        for router in routers
    ]
    app.openapi = _once(partial(openapi.build, app, tags))  # type: ignore[method-assign] # FastAPI's documented way to customise it
    return app


class Application(FastAPI):
    """FastAPI with nothing around its routes but the boundary.

    That answers whatever they raise, and bounds and closes what they read: the layers for it that
    FastAPI would add have nothing left to do, and each takes its time.
    """

    @override
    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = self.router
        for middleware in reversed(self.user_middleware):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        return app


def _once(build: partial[dict[str, Any]]) -> partial[dict[str, Any]]:
    cache: list[dict[str, Any]] = []

    def cached() -> dict[str, Any]:
        if not cache:
            cache.append(build())
        return cache[0]

    return partial(cached)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    logging.configure(app.state.settings)
    database: Database = app.state.database
    with telemetry.exporting(database.engine):
        async with _prepared(app, database):
            yield
    database.dispose()


@asynccontextmanager
async def _prepared(app: FastAPI, database: Database) -> AsyncIterator[None]:
    """Prepare what every request needs, the database as soon as it is there."""
    await database.prepare_or_wait()
    # What exists now lives as long as the process; the collector need not look at it again.
    app.openapi()
    gc.collect()
    gc.freeze()
    preparing = asyncio.create_task(database.prepare_when_reachable())
    yield
    preparing.cancel()
    with suppress(asyncio.CancelledError):
        await preparing


async def _to_docs(request: Request) -> RedirectResponse:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


def _problem_of(error: Exception, scope: Scope) -> Problem | None:
    """Tell the client what an error means; None for one that nobody expected."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            found = faults(error.errors(), error.body)
            count = f"{len(found)} rules" if len(found) > 1 else "a rule"
            return ValidationFailed(f"The request breaks {count}; see errors", errors=found)
        case SQLAlchemyError():
            return problem_of(error)
        case HTTPException():
            return _framework_problem(error, scope)
    return None


def _framework_problem(error: HTTPException, scope: Scope) -> Problem | None:
    if isinstance(error.__cause__, Problem):
        # FastAPI wraps whatever goes wrong while it reads a body.
        return error.__cause__
    match error.status_code:
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = _allowed_methods(scope)
            return MethodNotAllowed(
                f"Use {' or '.join(allowed)}", headers={"Allow": ", ".join(allowed)}
            )
        case HTTPStatus.NOT_FOUND:
            return NotFound("There is nothing at this path")
        case HTTPStatus.BAD_REQUEST:
            return MalformedRequest("The request cannot be read")
    return None


def _allowed_methods(scope: Scope) -> list[str]:
    methods: set[str] = set()
    for route in iter_route_contexts(scope["app"].routes):
        match, _ = route.original_route.matches(scope)
        if match is not Match.NONE:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)
