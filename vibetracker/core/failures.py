"""What a failure of the database means for the client, told by its code and never by its text."""

import logging

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeoutError,
)
from sqlalchemy.orm.exc import StaleDataError

from vibetracker.core.database import LOST_RACES, code_of, is_outage, reason
from vibetracker.core.model import Base
from vibetracker.core.problems import (
    Conflict,
    InternalError,
    Problem,
    Unavailable,
    ValidationFailed,
)

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 4
"""How often one request tries its transaction."""

BROKEN_RULES = {"23502", "23514", "SQLITE_CONSTRAINT_NOTNULL", "SQLITE_CONSTRAINT_CHECK"}


def is_worth_another_try(error: SQLAlchemyError, attempt: int) -> bool:
    """Tell whether running the same transaction again can end differently.

    Once for a constraint: whoever won the race has committed, so that the next try sees its rows
    and answers with a problem that says what is in the way. Not for an error of COMMIT itself,
    which leaves open whether there was one.
    """
    if isinstance(error, StaleDataError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or isinstance(error, IntegrityError):
        return attempt == 1
    return code_of(error) in LOST_RACES


def problem_of(error: SQLAlchemyError) -> Problem:
    """Tell the client what a database error means; the cause goes to the log alone.

    A constraint can bring its own problem type: ``info={"problem": TypeOfProblem}``.
    """
    if isinstance(error, IntegrityError):
        return _violation(error)
    if isinstance(error, DataError):
        return ValidationFailed("A value is outside of what the database can store")
    if isinstance(error, DBAPIError) and not is_outage(error):
        logger.error("the database refused a statement: %s", reason(error), exc_info=error)
        return InternalError("The service failed; its log has the cause under this request id")
    if isinstance(error, (DBAPIError, PoolTimeoutError, StaleDataError)):
        logger.warning("the database is not available: %s", reason(error))
        return Unavailable("The database did not answer, or not in time; try again")
    logger.error("unexpected database error", exc_info=error)
    return InternalError("The service failed; its log has the cause under this request id")


def _violation(error: IntegrityError) -> Problem:
    name = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    logger.warning("a constraint refused a write: %s", name or code_of(error))
    for table in Base.metadata.tables.values():
        for constraint in table.constraints:
            if name is not None and constraint.name == name and "problem" in constraint.info:
                problem_type: type[Problem] = constraint.info["problem"]
                return problem_type("Another request got there first")
    if code_of(error) in BROKEN_RULES:
        return ValidationFailed("The result would break a rule of the stored data")
    return Conflict("Another request changed what this one depends on; read again and retry")
