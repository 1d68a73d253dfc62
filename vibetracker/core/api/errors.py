"""What an exception means for the client: the exception handlers of the application."""

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from vibetracker.core.api.parameters import collected
from vibetracker.core.db.failures import code_of, is_outage, log_outage, reason
from vibetracker.core.db.model import Base
from vibetracker.core.http.faults import faults
from vibetracker.core.http.problems import (
    Conflict,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Problem,
    Unavailable,
    ValidationFailed,
    render,
)

logger = logging.getLogger(__name__)

BROKEN_RULES = {"23502", "23514", "SQLITE_CONSTRAINT_NOTNULL", "SQLITE_CONSTRAINT_CHECK"}
"""Codes of the databases for a value that a row may not have."""


def handle_errors(app: FastAPI) -> None:
    """Add the exception handlers, which answer with a problem."""

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        if not isinstance(error, Problem):
            error = _framework_problem(error, request.scope)
        return render(error, request.scope)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> Response:
        errors = [*error.errors(), *collected(request)]
        return render(validation_failed(errors, error.body), request.scope)


def validation_failed(errors: Iterable[Mapping[str, Any]], body: object) -> ValidationFailed:
    """Return the problem for what Pydantic has found wrong."""
    found = faults(errors, body)
    count = f"{len(found)} rules" if len(found) > 1 else "a rule"
    return ValidationFailed(f"The request breaks {count}; see errors", errors=found)


def _framework_problem(error: HTTPException, scope: Scope) -> HTTPException:
    match error.status_code:
        case HTTPStatus.METHOD_NOT_ALLOWED if error.detail == HTTPStatus.METHOD_NOT_ALLOWED.phrase:
            allowed = _allowed_methods(scope)
            return MethodNotAllowed(
                f"Use {' or '.join(allowed)}", headers={"Allow": ", ".join(allowed)}
            )
        case HTTPStatus.NOT_FOUND:
            # Where no route matched, none is in the scope; a handler's own says what it says.
            detail = error.detail if "route" in scope else "There is nothing at this path"
            return NotFound(detail, headers=error.headers)
    return error


def _allowed_methods(scope: Scope) -> list[str]:
    methods: set[str] = set()
    for route in iter_route_contexts(scope["app"].routes):
        match, _ = route.original_route.matches(scope)
        if match is not Match.NONE:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)


def problem_of(error: SQLAlchemyError | OSError) -> Problem:
    """Return what a database or a disk that fails means for the client; the log has the cause.

    A constraint can bring its own problem type: ``info={"problem": TypeOfProblem}``.
    """
    if isinstance(error, IntegrityError):
        return _violation(error)
    if isinstance(error, DataError):
        # The message of the driver quotes the value.
        logger.warning("a value cannot be stored: %s", code_of(error))
        return ValidationFailed("A value is outside of what the database can store")
    if isinstance(error, StaleDataError):
        # Each try has found the row changed, by others or past its object by its own statements.
        logger.error("a row was changed while its object was used: %s", error, exc_info=error)
        return Conflict("What this request changes was changed meanwhile; read again and retry")
    if isinstance(error, DBAPIError) and not is_outage(error):
        logger.error("the database refused a statement: %s", reason(error), exc_info=error)
        return InternalError()
    if isinstance(error, (DBAPIError, PoolTimeoutError, OSError)):
        place = "temporary folder" if isinstance(error, OSError) else "database"
        log_outage(logger, f"the {place} is not available", error)
        return Unavailable(f"The {place} did not answer, or not in time; try again")
    logger.error("unexpected database error", exc_info=error)
    return InternalError()


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
