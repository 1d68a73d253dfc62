"""The health operations: alive, ready, and both for people."""

import logging
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from vibetracker import __version__
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.session import DatabaseDep
from vibetracker.core.db.database import Database
from vibetracker.core.db.failures import log_outage
from vibetracker.core.http.problems import Unavailable

from .schema import Health, Liveness

logger = logging.getLogger(__name__)
router = Router(
    "/health", description="Is the service alive, and can it do its work?", any_host=True
)


@router.get("", responses=raising(Unavailable))
def get_health(database: DatabaseDep) -> Health:
    """Return whether the service is ready, its version, and what was checked.

    The problem of a service that is not ready has `version` and `checks` too.
    """
    _check(database, version=__version__, checks={"database": "unavailable"})
    return Health(version=__version__, checks={"database": "ok"})


@router.get("/live")
def get_liveness() -> Liveness:
    """Return that the process serves; touches nothing else."""
    return Liveness()


@router.get("/ready", responses=raising(Unavailable))
def get_readiness(database: DatabaseDep) -> Liveness:
    """Return whether requests can be answered, by going to the database and back.

    The verdict comes within two seconds, also when the database does not answer.
    """
    _check(database)
    return Liveness()


def _check(database: Database, **extensions: Any) -> None:
    try:
        database.ping()
    except SQLAlchemyError as error:
        log_outage(logger, "not ready", error)
        raise Unavailable("The database does not answer", **extensions) from None
