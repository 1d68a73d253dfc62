"""Puts the application together: settings, database, boundary, errors and features."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache, partial

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi_standalone_docs import (  # type: ignore[import-untyped] # it has no stubs
    StandaloneDocs,
)
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

import vibetracker
from vibetracker.core import logging, telemetry
from vibetracker.core.api import document, problem_types
from vibetracker.core.api.additions import extended
from vibetracker.core.api.errors import handle_errors
from vibetracker.core.api.representations import reader
from vibetracker.core.config import Settings
from vibetracker.core.db.changes import Listeners
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import Feature, discover
from vibetracker.core.http.bodies import Uploads
from vibetracker.core.http.boundary import DRAINING, Boundary

OTHER_THREADS = 40
"""Threads for work that needs no database connection: as many as AnyIO has by default."""
DESCRIPTION = """\
What this server's features offer, each under a path and a tag of its own.

Every operation keeps the same rules. Unknown parameters and members are refused, errors are
problem details (RFC 9457), lists are paged by cursor, single resources carry an `ETag` for
`If-Match`, and every POST that writes takes an `Idempotency-Key`.
"""


def create_app(
    settings: Settings | None = None, features: Sequence[Feature] | None = None
) -> FastAPI:
    """Create an application; without arguments as the environment sets it, with every feature."""
    if settings is None:
        settings = Settings()
        telemetry.read_env_file()
    features = discover(settings.disabled_features) if features is None else features
    routers = [*(feature.router for feature in features), problem_types.router]
    app = FastAPI(
        title="vibetracker",
        version=vibetracker.__version__,
        summary="A lightweight REST API for task tracking",
        description=DESCRIPTION,
        contact={"name": "The vibetracker project"},
        license_info={"name": "MIT", "identifier": "MIT"},
        openapi_tags=[
            {"name": router.prefix.removeprefix("/"), "description": router.description}
            for router in routers
        ],
        servers=[{"url": "/", "description": "This service"}],
        lifespan=_lifespan,
        redirect_slashes=False,
        telemetry=telemetry.configuration(),
    )
    app.state.settings = settings
    app.state.database = Database(settings)
    app.state.database.listeners = _listeners(features)
    app.state.uploads = Uploads(settings)
    app.state.features = features
    app.state.extended = extended(it for feature in features for it in feature.additions)
    any_host = [router.prefix for router in routers if router.any_host]
    app.add_middleware(Boundary, settings=settings, any_host=any_host)
    handle_errors(app)
    # Routers are matched in this order, route by route: first those that have the most.
    for router in sorted(routers, key=lambda router: -len(router.routes)):
        app.include_router(router)
    StandaloneDocs(app)
    app.state.home = next((router.prefix for router in routers if router.home), "/docs")
    app.add_route("/", _to_home, include_in_schema=False)
    # In front of FastAPI's own, which lists the path of a proxy and `/` as well.
    app.router.routes.insert(0, Route("/openapi.json", _show_openapi, include_in_schema=False))
    app.openapi = cache(partial(document.build, app))  # type: ignore[method-assign] # FastAPI's documented way to customise it
    return app


def _listeners(features: Sequence[Feature]) -> Listeners | None:
    functions = [feature.listener for feature in features if feature.listener is not None]
    resources = [pair for feature in features for pair in feature.resources.items()]
    readers = {resource: reader(resource, output) for resource, output in resources}
    return Listeners(functions, readers) if functions else None


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
    logging.configure(app.state.settings)
    database: Database = app.state.database
    # A request that has reserved a connection gets a thread at once, whatever else is going on.
    current_default_thread_limiter().total_tokens = OTHER_THREADS + database.size
    try:
        with telemetry.exporting(database.engine):
            await database.prepare_or_wait()
            # What exists now lives as long as the process; the collector need not look at it again.
            app.openapi()
            gc.collect()
            gc.freeze()
            preparing = asyncio.create_task(database.prepare_when_reachable())
            yield {DRAINING: asyncio.Event()}
            preparing.cancel()
            with suppress(asyncio.CancelledError):
                await preparing
    finally:
        database.dispose()


async def _show_openapi(request: Request) -> JSONResponse:
    document = request.app.openapi()
    if path := request.scope.get("root_path"):
        document = {**document, "servers": [{"url": path, "description": "This service"}]}
    return JSONResponse(document)


async def _to_home(request: Request) -> RedirectResponse:
    """Redirect people to the page of a feature, if one has a page, and clients to ``/docs``."""
    path = request.app.state.home if "text/html" in request.headers.get("accept", "") else "/docs"
    return RedirectResponse(
        f"{request.scope.get('root_path', '')}{path}", headers={"Vary": "Accept"}
    )
