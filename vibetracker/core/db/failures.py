"""What a failure of the database is, by its code: an outage, a lost race, or a mistake."""

import re
from logging import Logger

from psycopg2 import OperationalError as DriverError
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeoutError,
)
from sqlalchemy.orm.exc import StaleDataError

MAX_ATTEMPTS = 4
"""How often one request tries its transaction."""
LOST_RACES = {"40001", "40P01"}
"""SQLSTATEs of a serialization failure and of a deadlock."""
OUTAGES = ("08", "25006", "3D000", "53", "55", "57", "58")
"""Beginnings of SQLSTATEs: connection, read-only, no such database (yet), resources, object in
use, operator intervention, system error."""
LOGIN_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|not permitted to log in"
    r"|permission denied for database|FATAL: +(role|database) \".*\" does not exist"
)
"""In what PostgreSQL says: before the login its driver has no SQLSTATE to go by."""
PARAMETER_REFUSED = re.compile(
    r"unsupported startup parameter|invalid (port number|value for parameter|\w+ value:)"
)
"""What no time mends."""


class NoAnswerError(DriverError):
    """The server has kept silent for as long as a connection waits."""


def reason(error: Exception) -> str:
    """Return what the driver said in one line, without SQL and parameters."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__


def log_outage(logger: Logger, effect: str, error: Exception) -> None:
    """Log why the database cannot be used: an error where somebody has to mend the login."""
    why = reason(error)
    if LOGIN_REFUSED.search(why):
        logger.error("%s: the database refuses the login: %s", effect, why)
    else:
        logger.warning("%s: %s", effect, why)


def code_of(error: DBAPIError) -> str:
    """Return the SQLSTATE, or SQLite's name of the error; empty where the driver has neither."""
    code = getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlite_errorname", None)
    return code or ""


def is_refused(error: Exception) -> bool:
    """Return whether a driver, a pooler or a server does not take a parameter of a connection."""
    return PARAMETER_REFUSED.search(str(error)) is not None


def is_outage(error: SQLAlchemyError) -> bool:
    """Return whether the same statement may succeed later, once the database has recovered."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    code = code_of(error)
    if error.connection_invalidated or not code:
        return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))
    if code.startswith("SQLITE_"):
        return isinstance(error, OperationalError) and code != "SQLITE_ERROR"
    return code.startswith(OUTAGES) or code in LOST_RACES


def is_worth_another_try(error: SQLAlchemyError, attempt: int) -> bool:
    """Return whether running the same transaction again can end differently.

    Once for a constraint: whoever won the race has committed, so that the next try sees its rows
    and answers with a problem that says what is in the way.
    """
    if attempt == MAX_ATTEMPTS:
        return False
    if isinstance(error, StaleDataError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or isinstance(error, IntegrityError):
        # Another one would wait as long for a server that keeps silent.
        return attempt == 1 and not isinstance(error.orig, NoAnswerError)
    return code_of(error) in LOST_RACES
