"""The health operations: alive, ready, and both for people."""

import logging
from typing import Any

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError

from vibetracker import __version__
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.session import DatabaseDep
from vibetracker.core.db.database import Database
from vibetracker.core.db.failures import log_outage
from vibetracker.core.http.problems import Unavailable

from .draining import draining
from .schema import Health, Liveness

logger = logging.getLogger(__name__)
router = Router(
    "/health",
    description="Is the service alive, and can it do its work?",
    any_host=True,
    lifespan=draining,
)


@router.get("", responses=raising(Unavailable))
def get_health(request: Request, database: DatabaseDep) -> Health:
    """Return whether the service is ready, its version, and what was checked.

    The problem of a service that is not ready has `version` and `checks` too.
    """
    _check(request, database, version=__version__, checks={"database": "unavailable"})
    return Health(version=__version__, checks={"database": "ok"})


@router.get("/live")
def get_liveness() -> Liveness:
    """Return that the process serves; touches nothing else."""
    return Liveness()


@router.get("/ready", responses=raising(Unavailable))
def get_readiness(request: Request, database: DatabaseDep) -> Liveness:
    """Return whether requests can be answered, by going to the database and back.

    The verdict comes within two seconds, also when the database does not answer.
    """
    _check(request, database)
    return Liveness()


def _check(request: Request, database: Database, **extensions: Any) -> None:
    if getattr(request.app.state, "is_draining", False):
        raise Unavailable("The service is about to end", **extensions)
    try:
        database.ping()
    except SQLAlchemyError as error:
        log_outage(logger, "not ready", error)
        raise Unavailable("The database does not answer", **extensions) from None
